"""One clock for every kind of file: sound to a sample, picture to half a frame, in what is stored.

`benchmarks/clock.py` prints the same list as a table, at more frame rates and of longer films.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.video.reformatter import ColorPrimaries, ColorTrc
from clips import clicks, peaks
from clock_errors import Row, compare, measure
from clock_films import Film, number, picture, write_film
from clock_list import VP8, Case, case_list, encoders

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.media.ffmpeg import mux, mux_clip
from pipeline.media.hdr import hlg_nits, pq_nits, to_rgb
from pipeline.media.mp4_edits import unplayable_edits
from pipeline.media.reader import (
    FrameRequest,
    MediaError,
    frame_times,
    probe,
    read_audio,
    read_frames,
)

FPS, SECONDS = Fraction(30000, 1001), Fraction(31, 10)
CASES = case_list()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Film]:
    folder = tmp_path_factory.mktemp("clock") / "films"
    able = [case for case in CASES if case.encoders <= encoders()]
    return {case: write_film(case, folder, FPS, SECONDS) for case in able}


@pytest.fixture(scope="module")
def rows(films: dict[Case, Film], tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Row]:
    found = measure(list(films.values()), tmp_path_factory.mktemp("built"))
    return {row.case: row for row in found}


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_sound_and_picture_lie_where_they_were_put(case: Case, rows: dict[Case, Row]) -> None:
    if case not in rows:
        pytest.skip(f"this ffmpeg has no encoder {', '.join(sorted(case.encoders - encoders()))}")
    row = rows[case]
    assert row.outcome == case.outcome, row.message
    assert row.unread == 0 and row.looks == 64
    assert row.picture_error <= 0.5 and row.beyond <= 0.01
    if not case.outcome:
        assert row.segments == 1 and row.clicks >= 5
        assert row.sound_error <= 1
    assert row.good


def test_every_kind_of_file_of_the_list_is_there() -> None:
    assert len({case.slug for case in CASES}) == len(CASES) >= 50
    about = {case.about for case in CASES}
    assert about == {
        "start offsets", "edit lists", "B-frames", "variable frame rate", "rotation", "sound",
        "sound's span", "10-bit, HDR", "interlaced", "VP9, AV1, WebM, GIF", "odd sizes",
    }  # fmt: skip


@pytest.mark.long
def test_files_are_what_their_names_say(films: dict[Case, Film]) -> None:
    seen = {(film.case.about, film.case.name): film.path for film in films.values()}

    def frame(about: str, name: str) -> av.VideoFrame:
        with av.open(str(seen[about, name])) as container:
            return next(container.decode(video=0))

    assert frame("interlaced", "H.264, top field first").interlaced_frame
    assert frame("interlaced", "MPEG-2, mkv").interlaced_frame
    dark = frame("10-bit, HDR", "PQ, BT.2020, H.265")
    assert (dark.format.name, dark.color_trc) == ("yuv420p10le", ColorTrc.SMPTE2084)
    assert frame("10-bit, HDR", "HLG, BT.2020, H.265").color_trc == ColorTrc.ARIB_STD_B67
    assert [probe(seen["rotation", f"{d} degrees"]).rotation_deg for d in (90, 180, 270)] == [
        90, 180, 270,
    ]  # fmt: skip
    odd = probe(seen["odd sizes", "97x65, VP9, webm"])
    assert (odd.width, odd.height) == (97, 65)
    assert probe(seen["sound", "AAC 5.1, 48 kHz"]).channels == 6
    assert probe(seen["sound", "FLAC 96 kHz, mkv"]).sample_rate_hz == 96_000
    uneven = frame_times(seen["variable frame rate", "mp4, B-frames"])
    assert len({b - a for a, b in pairwise(uneven)}) >= 3
    with av.open(str(seen["B-frames", "H.264, AAC"])) as container:
        assert any(p.dts is not None and p.pts > p.dts for p in container.demux(video=0))


@pytest.mark.long
@pytest.mark.parametrize("name", ["-ss 0.73 -c copy", "-ss 0.73 -c copy, B-frames"])
def test_an_edit_list_that_begins_between_two_frames_leaves_them_there(
    films: dict[Case, Film], name: str
) -> None:
    (film,) = (film for case, film in films.items() if case.name == name)
    shown_s = [t for t in film.times_s if t >= 0]
    error_s = [abs(a - b) for a, b in zip(frame_times(film.path), shown_s, strict=True)]
    assert max(error_s) < Fraction(1, 100_000)
    # libavformat alone begins with a frame at 0.
    with av.open(str(film.path)) as container:
        packets = [p for p in container.demux(video=0) if p.size and not p.is_discard]
    assert min(packet.pts for packet in packets) == 0 and shown_s[0] > Fraction(1, 1000)
    assert abs(probe(film.path).video_start_s - shown_s[0]) < Fraction(1, 100_000)
    span_s = (Fraction(1), Fraction(3, 2))
    times_s = frame_times(film.path, span_s=span_s)
    assert times_s == [t for t in frame_times(film.path) if span_s[0] <= t < span_s[1]]
    wanted = {"part": FrameRequest(times_s)}
    numbers = [number(frame) for frame in read_frames(film.path, wanted, span_s=span_s)["part"]]
    assert numbers == [k for k, t in film.frames_s.items() if span_s[0] <= t < span_s[1]]


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    while start < stop:
        end = start + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], start, end
        start = end


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def with_edits(path: Path, out: Path, edits: list[tuple[int, int, int]]) -> Path:
    """Write `path`, whose header comes last, with other edit lists: (duration, since, rate)."""
    data = path.read_bytes()
    *_, (name, moov, end) = boxes(data, 0, len(data))
    assert (name, end) == (b"moov", len(data))
    listed = b"".join(struct.pack(">IiI", *edit) for edit in edits)
    edts = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + listed))
    header = b""
    for kind, start, stop in boxes(data, moov + 8, end):
        if kind == b"trak":
            parts = [(k, data[a:b]) for k, a, b in boxes(data, start + 8, stop)]
            assert b"edts" in dict(parts)
            track = b"".join(edts if k == b"edts" else part for k, part in parts)
            header += box(b"trak", track)
        else:
            header += data[start:stop]
    out.write_bytes(data[:moov] + box(b"moov", header))
    return out


@pytest.mark.long
@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([(2_000_000, 0, 65536)], ""),
        ([(500_000, -1, 65536), (2_000_000, 0, 65536)], ""),
        ([(1_000_000, 0, 65536), (1_000_000, 60_000, 65536)], "joins 2 parts"),
        ([(1_000_000, 0, 65536), (500_000, -1, 65536)], "joins 2 parts"),
        ([(2_000_000, 0, 32768)], "plays a part at 0.5 times the normal speed"),
    ],
)
def test_edits_that_no_decoder_plays_to_the_frame_are_refused(
    films: dict[Case, Film], tmp_path: Path, edits: list[tuple[int, int, int]], words: str
) -> None:
    (film,) = (f for c, f in films.items() if c.name == "picture 200 ms late, PCM, mov")
    path = with_edits(film.path, tmp_path / "edited.mov", edits)
    if not words:
        found, sound = probe(path), read_audio(path)
        late_s = Fraction(edits[0][0], 1_000_000) if edits[0][1] < 0 else 0
        assert found.video_start_s == sound.start_s == late_s
        return
    with pytest.raises(MediaError, match=f"edit list {words}") as caught:
        probe(path)
    assert caught.value.code == "undecodable"


@pytest.mark.long
def test_damaged_headers_do_not_stop_the_look_at_their_edits(
    films: dict[Case, Film], tmp_path: Path
) -> None:
    (film,) = (f for c, f in films.items() if c.name == "picture 200 ms late, PCM, mov")
    data, path = film.path.read_bytes(), tmp_path / "damaged.mov"
    header, random = data.index(b"moov") - 4, np.random.default_rng(0)
    found = set()
    for index in range(300):
        damaged = bytearray(data)
        for at in random.integers(header, len(data), index % 8):
            damaged[at] = random.choice([0, 1, 255, int(random.integers(256))])
        at = data.index(b"elst", header) + int(random.integers(4, 24))
        damaged[at] = int(random.integers(256))
        cut_at = int(random.integers(header, len(data))) if index % 3 == 0 else len(data)
        path.write_bytes(damaged[:cut_at])
        with open(path, "rb") as file:
            found.add((unplayable_edits(file) or "none").split()[0])
    assert found <= {"none", "joins", "plays"} and len(found) > 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["-ss 0.73 -c copy", "-ss 0.73 -c copy, B-frames"])
def test_new_sound_is_put_on_the_same_clock(
    films: dict[Case, Film], tmp_path: Path, name: str
) -> None:
    (film,) = (film for case, film in films.items() if case.name == name)
    wav, whole, part = tmp_path / "new.wav", tmp_path / "whole.mp4", tmp_path / "part.mp4"
    soundfile.write(wav, clicks(30_000, [1000, 11_000]), SAMPLE_RATE_HZ)
    start_s = probe(film.path).video_start_s
    mux(film.path, wav, start_s, whole)
    since_s = [t for t in film.times_s if t >= 0][7]
    mux_clip(film.path, wav, (float(since_s), float(since_s + 1)), (0, 0, 96, 64), part)
    for out, picture_s, sound_s in ((whole, Fraction(0), start_s), (part, since_s, Fraction(0))):
        sound, times_s = read_audio(out), frame_times(out)
        for k, at in zip(peaks(sound.samples, 2), (1000, 11_000), strict=True):
            assert abs((sound.start_s - sound_s) * SAMPLE_RATE_HZ + k - at) <= 1
        frames = read_frames(out, {"all": FrameRequest(times_s)})["all"]
        error_s = [
            abs(film.frames_s[number(frame)] - picture_s - t)
            for frame, t in zip(frames, times_s, strict=True)
        ]
        assert len(times_s) >= 29 and max(error_s) < Fraction(1, 10_000)


UNEVEN = "lt(mod(n*37\\,100)\\,45)"
PCM = ("-c:a", "pcm_s16le")
PRORES = ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", *PCM)
CHANGED = [
    ("vp8", Case("changed", "VP8", "webm", (*VP8, "-c:a", "libvorbis"))),
    ("vp8", Case("changed", "VP8, hidden, uneven, late", "webm",
                 (*VP8, "-auto-alt-ref", "1", "-lag-in-frames", "16", "-c:a", "libvorbis"),
                 keep=UNEVEN, picture_late_s=Fraction(1, 5))),
    ("prores", Case("changed", "ProRes, late", "mov", PRORES,
                    picture_late_s=Fraction(454, 10_000))),
    ("prores", Case("changed", "ProRes, cut", "mov", PRORES, cut_s=Fraction(73, 100))),
    ("prores", Case("changed", "ProRes, turned", "mov", PRORES, turn_deg=90)),
    ("h263", Case("changed", "H.263", "mov", ("-c:v", "h263", "-q:v", "2", *PCM),
                  size_px=(176, 144))),
    ("vvc", Case("changed", "VVC", "mp4",
                 ("-c:v", "libvvenc", "-preset", "faster", "-qp", "12", "-g", "1",
                  "-pix_fmt", "yuv420p10le", "-c:a", "aac"))),
    ("mjpeg", Case("changed", "Motion JPEG, 4:4:4, odd, uneven", "mkv",
                   ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj444p", *PCM), keep=UNEVEN,
                   size_px=(97, 65))),
    ("ffv1", Case("changed", "FFV1, odd", "mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv420p", *PCM),
                  size_px=(65, 97))),
    ("gif", Case("changed", "GIF", "gif", ("-c:v", "gif", "-pix_fmt", "gray", "-an"))),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "case"), CHANGED, ids=lambda value: getattr(value, "slug", None))
def test_a_picture_that_mp4_has_no_place_for_is_encoded_anew_on_the_same_clock(
    tmp_path: Path, codec: str, case: Case
) -> None:
    if not case.encoders <= encoders():
        pytest.skip(f"this ffmpeg has no encoder {', '.join(sorted(case.encoders - encoders()))}")
    film = write_film(case, tmp_path / "films", FPS, Fraction(2))
    wav, out, start_s = tmp_path / "new.wav", tmp_path / "out.mp4", Fraction(3, 10)
    soundfile.write(wav, clicks(30_000, [1000, 11_000]), SAMPLE_RATE_HZ)
    assert mux(film.path, wav, start_s, out) == codec
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        coding = stream.codec_context
        assert (coding.name, coding.pix_fmt) == ("h264", "yuv420p")
    found = probe(out)
    assert found.rotation_deg == 0
    assert (found.width, found.height) == tuple(
        side // 2 * 2 for side in (case.size_px[::-1] if case.turn_deg else case.size_px)
    )
    sound, times_s = read_audio(out), frame_times(out)
    for k, at in zip(peaks(sound.samples, 2), (1000, 11_000), strict=True):
        assert abs((sound.start_s - start_s) * SAMPLE_RATE_HZ + k - at) <= 1
    frames = read_frames(out, {"all": FrameRequest(times_s)})["all"]
    shown_s = {k: t for k, t in film.frames_s.items() if t >= 0}
    assert [number(frame) for frame in frames] == list(shown_s)
    error_s = [abs(a - b) for a, b in zip(times_s, shown_s.values(), strict=True)]
    assert max(error_s) < Fraction(1, 10_000)


@pytest.mark.long
def test_the_packets_of_a_cut_copy_tell_where_its_sound_starts(films: dict[Case, Film]) -> None:
    for film in films.values():
        if film.case.cut_s:
            error_s = probe(film.path).audio_start_s - read_audio(film.path).start_s
            assert abs(error_s) <= Fraction(1, 1000)


@pytest.mark.long
def test_matroska_s_whole_milliseconds_do_not_move_the_sound(films: dict[Case, Film]) -> None:
    (film,) = (film for case, film in films.items() if case.name == "sound 1/3 s late, AAC, mkv")
    error_s = read_audio(film.path).start_s - Fraction(1, 3)
    assert abs(error_s) < Fraction(1, 2 * SAMPLE_RATE_HZ)


def test_hdr_light_is_that_of_the_standards() -> None:
    # BT.2408: diffuse white of 203 cd/m² is 58 % of PQ's range and 75 % of HLG's.
    assert pq_nits(np.array([0.0, 0.58, 1.0])) == pytest.approx([0, 203, 10_000], rel=0.01)
    assert hlg_nits(np.full((1, 3), 0.75))[0] == pytest.approx([203] * 3, rel=0.01)
    assert hlg_nits(np.ones((1, 3)))[0] == pytest.approx([1000] * 3, rel=0.01)


def test_hdr_keeps_hues_and_grey() -> None:
    # BT.709's red of 203 cd/m² in the primaries of BT.2020 (BT.2087), and its PQ code.
    light = np.array([0.6274, 0.0691, 0.0164]) * 203
    grid = np.linspace(0, 1, 65536)
    code = np.searchsorted(pq_nits(grid), light).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(np.tile(code, (16, 16, 1)), format="rgb48le")
    frame.color_trc, frame.color_primaries = ColorTrc.SMPTE2084, ColorPrimaries.BT2020
    assert to_rgb(frame, 16, 16)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=16)


def test_the_measure_sees_a_picture_turned_dimmed_or_of_another_time() -> None:
    good = picture(77, (96, 64))
    assert number(good) == 77
    for wrong in (good[::-1], good[:, ::-1], np.rot90(good), good // 2, good // 2 + 64):
        assert number(np.ascontiguousarray(wrong)) != 77
    assert number(good[::-1]) is None and number(good // 2) is None


def test_the_measure_sees_sound_and_picture_that_are_off() -> None:
    case = CASES[0]
    film = Film(
        case, Path("none"), Fraction(30), {k: Fraction(k, 30) for k in range(60)}, [Fraction(1)]
    )
    looks_s = [Fraction(k, 30) for k in range(60)]
    frames = np.stack([picture(k, (96, 64)) for k in range(60)])
    pcm = np.zeros(44_100, np.int16)
    pcm[22_050] = 30_000
    exact = compare(film, [Fraction(0)], [pcm], looks_s, frames)
    assert exact.good and (exact.sound_error, exact.picture_error) == (0, 0)
    late = compare(film, [Fraction(0)], [np.roll(pcm, 2)], looks_s, np.roll(frames, 1, axis=0))
    assert late.sound_error == pytest.approx(2) and late.picture_error >= 1 and not late.good
    assert not replace(exact, unread=1).good and not replace(exact, outcome="undecodable").good
