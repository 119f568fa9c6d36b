"""Frames are counted by what a decoder shows, also where packets and frames differ in number."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from builds import ends, options
from clips import HEIGHT, WIDTH, clicks, ffmpeg, frames, number, write
from field_pictures import FPS, grey, stream

from pipeline.build import build
from pipeline.curate.run import CurateOptions, curate
from pipeline.media.container import DEFAULTS, opened, video_stream
from pipeline.media.decode import decoded, time_s
from pipeline.media.ffmpeg import encode
from pipeline.media.h264_fields import FieldPairs
from pipeline.media.reader import (
    FrameRequest,
    MediaError,
    Video,
    frame_times,
    probe,
    read_audio,
    read_frames,
)

X264 = (
    "-c:v",
    "libx264",
    "-x264-params",
    "open-gop=1:keyint=25:min-keyint=25:scenecut=0:bframes=3",
)
X265 = (
    "-c:v",
    "libx265",
    "-x265-params",
    "open-gop=1:keyint=25:min-keyint=25:scenecut=0:log-level=0",
)
OPEN_GROUPS = {
    "H.264, mkv": (X264, "1.5", "mkv"),
    "H.264, lost references, mp4": (X264, "1.5", "mp4"),
    "H.265, mkv": (X265, "1.5", "mkv"),
    "MPEG-2, mkv": (
        ("-c:v", "mpeg2video", "-enc_time_base:v", "1/25", "-bf", "2", "-g", "12"),
        "2.2",
        "mkv",
    ),
    "MPEG-4, mkv": (
        ("-c:v", "mpeg4", "-enc_time_base:v", "1/25", "-bf", "2", "-g", "12"),
        "2.2",
        "mkv",
    ),
}


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function that gives the part of an open-GOP video that a copying cut leaves."""
    folder = tmp_path_factory.mktemp("cut")

    def of(name: str) -> Path:
        coding, since_s, suffix = OPEN_GROUPS[name]
        out = folder / f"{coding[1]}-{since_s}.{suffix}"
        if not out.is_file():
            whole = out.with_suffix(".whole.mkv")
            write(
                whole, Fraction(25), 200, clicks(8 * 22050, [9000]), 22050, *coding, "-c:a", "aac"
            )
            ffmpeg("-ss", since_s, "-i", whole, "-c", "copy", out)
        return out

    return of


@pytest.fixture(scope="module")
def field_coded(tmp_path_factory) -> Path:
    """4.2 s of H.264 whose frames are coded as two fields, a packet each, with sound."""
    folder = tmp_path_factory.mktemp("fields")
    (folder / "picture.h264").write_bytes(stream(105))
    soundfile.write(folder / "sound.wav", clicks(round(4.2 * 44100), [5000, 90_000]), 44100)
    path = folder / "fields.mp4"
    inputs = ("-r", str(2 * FPS), "-i", folder / "picture.h264", "-i", folder / "sound.wav")
    ffmpeg(*inputs, "-c:v", "copy", "-c:a", "aac", path)
    return path


def all_read(path: Path) -> int:
    """Check that packets and decoder tell the same frames; return how many they are."""
    found, times_s = probe(path), frame_times(path)
    assert found.frames == len(times_s) and found.video_start_s == times_s[0]
    assert times_s == Video(path).decoded_times() == sorted(set(times_s))
    return found.frames


def packets(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(p.size > 0 and not p.is_discard for p in container.demux(video=0))


@pytest.mark.parametrize("name", OPEN_GROUPS)
def test_pictures_that_lost_what_they_are_predicted_from_are_not_counted(cut, name: str) -> None:
    path = cut(name)
    assert all_read(path) <= packets(path)
    assert probe(path).fps == 25
    seen = read_frames(path, {"all": FrameRequest(frame_times(path))})["all"]
    numbers = [number(frame) for frame in seen]
    assert numbers == list(range(200 - len(numbers), 200))


def test_damage_in_a_cut_open_group_still_fails(cut, tmp_path: Path) -> None:
    source, path = cut("H.264, mkv"), tmp_path / "damaged.mkv"
    with av.open(str(source)) as container:
        found = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for index in (5, 40):  # in the group whose references were cut away, and later
        position, size = found[index]
        data = bytearray(source.read_bytes())
        data[position + size // 3 : position + size] = bytes(size - size // 3)
        path.write_bytes(data)
        with pytest.raises(MediaError, match=r"damaged|decoder stopped"):
            Video(path).decoded_times()


def test_two_fields_are_one_frame(field_coded: Path) -> None:
    assert packets(field_coded) == 210
    assert all_read(field_coded) == 105
    found = probe(field_coded)
    assert found.fps == FPS and found.video_stop_s - found.video_start_s == Fraction(105, FPS)
    seen = read_frames(field_coded, {"all": FrameRequest(frame_times(field_coded))})["all"]
    luma = [round(float(frame.mean())) for frame in seen]
    expected = [round((grey(k) - 16) * 255 / 219) for k in range(105)]
    assert np.abs(np.subtract(luma, expected)).max() <= 2
    middle_s = (Fraction(1), Fraction(2))
    assert len(frame_times(field_coded, span_s=middle_s)) == FPS


def test_interlaced_frames_of_one_packet_are_one_frame_each(tmp_path: Path) -> None:
    path = tmp_path / "mbaff.mkv"
    coding = ("-flags", "+ilme+ildct", "-x264-params", "interlaced=1:cqm=jvt")
    write(path, Fraction(25), 60, clicks(60 * 882, [900]), 22050, "-c:v", "libx264", *coding)
    assert packets(path) == all_read(path) == 60


def test_damaged_field_parameters_end_without_an_error_of_ours() -> None:
    for extradata in (b"", b"\1", b"\1" * 9, b"\0\0\1g" + b"\xff" * 40, b"\0\0\1g" + b"\0" * 40):
        pairs = FieldPairs(extradata)
        assert not pairs.is_second(b"\0\0\1\x65" + b"\0" * 70) and not pairs.is_second(b"")


def test_hidden_vp8_frames_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "hidden.webm"
    coding = ("-c:v", "libvpx", "-deadline", "good", "-cpu-used", "4", "-auto-alt-ref", "1")
    coding += ("-lag-in-frames", "16", "-b:v", "300k", "-passlogfile", tmp_path / "log")
    for number_of_pass in ("1", "2"):  # the encoder hides frames in the second only
        picture = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=6")
        ffmpeg(*picture, *coding, "-pass", number_of_pass, path)
    assert packets(path) > all_read(path) == 150


def test_openpose_files_are_compared_with_the_frames_that_are_shown(
    cut, field_coded: Path, tmp_path: Path
) -> None:
    sources = [field_coded, cut("H.264, mkv"), cut("H.265, mkv")]
    wanted = {}
    for path in sources:
        (tmp_path / path.name).symlink_to(path)
        wanted[path.name] = _poses(tmp_path / "openpose" / path.stem, _shown_by_av(path))
    one_less = wanted[field_coded.name][-1]
    one_less.unlink()
    report = build(options(tmp_path, tmp_path / "out", motion="openpose"))
    assert set(ends(report).values()) == {"ok"}, [row["message"] for row in report.rows]
    wanted[field_coded.name][50].unlink()
    for file in wanted[sources[1].name][-30:]:
        file.unlink()
    report = build(options(tmp_path, tmp_path / "again", motion="openpose"))
    said = {row["path"]: row["message"] for row in report.rows if row["code"] == "bad_motion"}
    assert said.keys() == {field_coded.name, sources[1].name}
    assert "no file for frame 50" in said[field_coded.name]
    assert "another" in said[sources[1].name]


def _shown_by_av(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _poses(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    joints = [value for k in range(25) for value in (8 + k / 9, 8 + k / 5, 0.9)]
    files = [folder / f"x_{index:012d}_keypoints.json" for index in range(count)]
    for file in files:
        file.write_text(json.dumps({"people": [{"pose_keypoints_2d": joints}]}), encoding="utf-8")
    return files


@pytest.mark.long
def test_curation_reads_field_coded_and_cut_videos(cut, field_coded: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for path in (field_coded, cut("H.264, mkv")):
        (tmp_path / "in" / path.name).symlink_to(path)
    curation = curate(CurateOptions("tiktok", tmp_path / "out", tmp_path / "in", engine="local"))
    assert not curation.report.counts["failed"], curation.report.table()


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def test_an_encrypted_mp4_is_said_to_be_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "plain.mp4"
    encode(frames(30), 30, (WIDTH, HEIGHT), clicks(22050, [9]), 22050, path)
    whole = path.read_bytes()
    for entry, encrypted in ((b"avc1", b"encv"), (b"mp4a", b"enca"), (b"avc1", b"drmi")):
        at = whole.index(entry, whole.index(b"stsd"))
        path.write_bytes(whole[:at] + encrypted + whole[at + 4 :])
        with pytest.raises(MediaError, match="encrypted") as caught:
            probe(path)
        assert caught.value.code == "undecodable"
    path.write_bytes(whole.replace(b"isom", b"encv"))  # the word alone says nothing
    assert probe(path).frames == 30


def element(name: bytes, body: bytes) -> bytes:
    return name + (0x10000000 | len(body)).to_bytes(4, "big") + body


def test_an_encrypted_webm_is_said_to_be_encrypted(tmp_path: Path) -> None:
    encryption = element(b"\x50\x35", element(b"\x47\xe1", b"\5"))
    encodings = element(b"\x6d\x80", element(b"\x62\x40", encryption))
    for inside, said in ((encodings, "encrypted"), (b"", "expected a readable")):
        tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", element(b"\xd7", b"\1") + inside))
        head = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"webm"))
        path = tmp_path / "film.webm"
        path.write_bytes(head + element(b"\x18\x53\x80\x67", tracks) + b"\0" * 64)
        with pytest.raises(MediaError, match=said):
            probe(path)


TAILS = {
    "a line's end": b"\n",
    "three bytes": b"abc",
    "a music tag": b"TAG" + b"x" * 125,
    "half a free box": b"\0\0\1\0free12",
    "a box of no size": b"\0\0\0\3mdat1234",
    "zeros": bytes(700),
    "a camera maker's notes": b"SEFHk\0\0\0" + b"\1" * 40 + b"SEFT",
}


@pytest.mark.parametrize("flags", ["", "+faststart", "+frag_keyframe+empty_moov"])
def test_bytes_behind_a_whole_mp4_are_harmless(tmp_path: Path, flags: str) -> None:
    path = tmp_path / "clip.mp4"
    coding = ("-c:a", "aac", *(("-movflags", flags) if flags else ()))
    write(path, Fraction(25), 50, clicks(44100, [900]), 22050, *coding)
    whole, found = path.read_bytes(), probe(path)
    for name, tail in TAILS.items():
        path.write_bytes(whole + tail)
        assert probe(path) == found, name
        assert len(read_audio(path).samples) > 44000, name
    for cut_at in (len(whole) // 2, len(whole) // 2 + 3, len(whole) * 9 // 10):
        path.write_bytes(whole[:cut_at])
        with pytest.raises(MediaError):
            Video(path).decoded_times()


def test_a_cut_mp4_with_a_box_of_another_name_is_still_found_out(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    coding = ("-bf", "0", "-c:a", "aac", "-movflags", "+faststart")
    write(path, Fraction(25), 100, clicks(4 * 22050, [900]), 22050, *coding)
    whole = path.read_bytes()
    assert whole.index(b"free") < whole.index(b"mdat")
    with av.open(str(path)) as container:
        cut_at = [packet.pos for packet in container.demux() if packet.size][100]
    to_the_end = whole.index(b"mdat") - 4
    for data in (
        whole.replace(b"free", b"abcd", 1),
        whole[:to_the_end] + bytes(4) + whole[to_the_end + 4 :],
    ):
        path.write_bytes(data)
        assert probe(path).frames == 100
        path.write_bytes(data[:cut_at])
        with pytest.raises(MediaError, match="cut short"):
            probe(path)


def test_a_short_table_of_samples_is_no_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    for body in (b"", bytes(4), bytes(7)):
        table = box(b"stco", body)
        for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
            table = box(name, table)
        path.write_bytes(box(b"ftyp", b"isom") + table + struct.pack(">I4s", 900, b"mdat"))
        with pytest.raises(MediaError, match="cut short"):
            probe(path)


def test_a_still_or_slide_show_is_said_to_be_no_moving_picture(tmp_path: Path) -> None:
    path = tmp_path / "slides.mp4"
    for fps, count in ((Fraction(1, 3), 4), (Fraction(1, 9), 1)):
        write(path, fps, count, clicks(22050 * 9, [9]), 22050, "-c:a", "aac")
        with pytest.raises(MediaError, match=r"this is a still or a slide show"):
            probe(path)


def test_the_span_of_a_field_coded_video_is_read(field_coded: Path) -> None:
    with opened(field_coded, DEFAULTS) as container:
        picture = video_stream(field_coded, container, DEFAULTS)
        with closing(decoded(field_coded, container, picture, Fraction(3))) as found:
            assert [time_s(frame) for frame in found][-1] == frame_times(field_coded)[-1]
