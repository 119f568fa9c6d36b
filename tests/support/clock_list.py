"""The clock list: files whose every frame and click is known, and what a build makes of them.

A frame says its number in two greys (above) over black and white (below), so that a number is read
only from a picture that is upright and as bright as it was. Clicks are single samples. Both are
known in seconds of the file's own clock; the errors are of what the build stores: the segments'
sound, and the frames as the visual stage gets them.
"""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from clips import clicks, ffmpeg, peaks

from model.contract.segment import SAMPLE_RATE_HZ, segment_key
from model.contract.shards import read_shard
from model.contract.wav import read_wav
from pipeline.build import BuildOptions, build, list_inputs, make_settings, ready
from pipeline.features.extract import Extract
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Work
from pipeline.features.visual.base import Visual
from pipeline.features.visual.stage import clip_request
from pipeline.media.program import binary
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.report.report import Report
from pipeline.sources.folder import Folder
from pipeline.sources.manifest import hash_inputs

BLACK, WHITE, STEP = 8, 233, 15
NEAR = 7
"""Greys closer than this are the same: half a step."""
CLICK_EVERY_S = (0.29, 0.37, 0.31)
CLOCK_HZ = 240_000
"""A clock that holds a frame of any common rate exactly."""
TICKS_S = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "gif": Fraction(1, 100)}
"""What these containers count in; a frame's time is not known better than that."""
WINDOWS = 8
"""Clips of 8 frames in each segment: 32 looks a second."""
WHITE_NITS = 203
"""Diffuse white of HDR pictures (ITU-R BT.2408)."""

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p")
B_FRAMES = ("-bf", "3", "-preset", "medium", "-g", "40")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:qp=6")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "8", "-b:v", "0")
VP8 = ("-c:v", "libvpx", "-deadline", "good", "-cpu-used", "4", "-crf", "4", "-b:v", "2M")
SVT = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "12", "-svtav1-params", "enable-overlays=0")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-enc_time_base:v", "0")
AOM = ("-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "8", "-usage", "realtime")
PCM, AAC = ("-c:a", "pcm_s16le"), ("-c:a", "aac", "-b:a", "192k")
OPUS = ("-c:a", "libopus", "-b:a", "160k")
BT2020 = ("-colorspace", "bt2020nc")
TRANSFER = {"pq": "smpte2084", "hlg": "arib-std-b67"}


@dataclass(frozen=True)
class Case:
    """One file of the list; `coding` are ffmpeg's output options, later ones win.

    `keep` is ffmpeg's select expression for the frames of a variable frame rate. `cut_s` is where a
    copy without encoding begins; the file's clock is then `cut_s` behind the film's, or `clock_s`
    before it, where the container moves both streams. `turn_deg` is what the display matrix turns
    clockwise, `outcome` the code of a film that cannot become segments.
    """

    about: str
    name: str
    suffix: str = "mp4"
    coding: tuple[str, ...] = (*X264, *AAC)
    rate_hz: int = 44_100
    channels: int = 2
    size_px: tuple[int, int] = (96, 64)
    keep: str = "1"
    turn_deg: int = 0
    light: str = "sdr"
    picture_late_s: Fraction = Fraction(0)
    sound_late_s: Fraction = Fraction(0)
    sound_stop_s: Fraction | None = None
    cut_s: Fraction = Fraction(0)
    clock_s: Fraction | None = None
    outcome: str = ""

    @property
    def slug(self) -> str:
        return re.sub(r"\W+", "-", f"{self.about} {self.name}").strip("-")

    @property
    def encoders(self) -> set[str]:
        """The encoders that count: the last named of each kind."""
        options = list(zip(self.coding, self.coding[1:], strict=False))
        last = {key: value for key, value in options if key in ("-c:v", "-c:a")}
        return {value for value in last.values() if value != "copy"}


def case_list() -> list[Case]:
    """Return the list, in the order of the table."""
    ms = lambda n: Fraction(n, 1000)  # noqa: E731
    offset, edit, vfr = "start offsets", "edit lists", "variable frame rate"
    pcm = (*X264, *PCM)
    uneven = "lt(mod(n*37\\,100)\\,45)"
    return [
        Case(offset, "picture 45.4 ms late, AAC", picture_late_s=Fraction(454, 10_000)),
        Case(offset, "picture 200 ms late, PCM, mov", "mov", pcm, picture_late_s=ms(200)),
        Case(offset, "sound 310 ms late, AAC", sound_late_s=ms(310)),
        Case(offset, "sound 310 ms late, PCM, mkv", "mkv", pcm, sound_late_s=ms(310)),
        Case(offset, "sound 123 ms late, AAC, mkv", "mkv", sound_late_s=ms(123)),
        Case(offset, "sound 1/3 s late, AAC, mkv", "mkv", sound_late_s=Fraction(1, 3)),
        Case(
            offset, "picture 200, sound 50 ms late", picture_late_s=ms(200), sound_late_s=ms(50)
        ),
        Case(
            offset,
            "sound 310 ms late, fragmented",
            coding=(*X264, *AAC, "-movflags", "+frag_keyframe+delay_moov", "-g", "10"),
            sound_late_s=ms(310),
        ),
        Case(edit, "AAC priming"),
        Case(edit, "AAC priming, mkv", "mkv"),
        Case(
            edit, "AAC priming, no edit list",
            coding=(*X264, *AAC, "-use_editlist", "0"), clock_s=Fraction(1024, 44_100),
        ),
        Case(edit, "-ss 0.73 -c copy", cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, B-frames", coding=(*X264, *B_FRAMES, *AAC), cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, PCM, mov", "mov", pcm, cut_s=ms(730)),
        Case(edit, "-ss 0.73 -c copy, mkv", "mkv", pcm, cut_s=ms(730), clock_s=ms(0)),
        Case(edit, "MP3 in mp4", coding=(*X264, "-c:a", "libmp3lame", "-b:a", "192k")),
        Case("B-frames", "H.264, AAC", coding=(*X264, *B_FRAMES, *AAC), rate_hz=48_000),
        Case("B-frames", "H.264, AAC, mkv", "mkv", (*X264, *B_FRAMES, *AAC)),
        Case(
            "B-frames",
            "H.264, negative offsets",
            coding=(*X264, *B_FRAMES, *AAC, "-movflags", "+negative_cts_offsets"),
        ),
        Case("B-frames", "H.265", coding=(*X265, "-bf", "4", "-tag:v", "hvc1", *AAC)),
        Case(vfr, "mp4", keep=uneven),
        Case(vfr, "mp4, B-frames", coding=(*X264, *B_FRAMES, *AAC), keep=uneven),
        Case(vfr, "mkv", "mkv", pcm, keep=uneven),
        *(
            Case("rotation", f"{deg} degrees", turn_deg=deg, coding=(*X264, *B_FRAMES, *AAC))
            for deg in (90, 180, 270)
        ),
        Case("sound", "AAC 5.1, 48 kHz", rate_hz=48_000, channels=6),
        Case("sound", "PCM 5.1, 48 kHz, mkv", "mkv", pcm, 48_000, 6),
        Case(
            "sound", "AC-3 5.1, 48 kHz",
            coding=(*X264, "-c:a", "ac3", "-b:a", "448k"), rate_hz=48_000, channels=6,
        ),
        Case("sound", "PCM 8 bit, 22.05 kHz, mov", "mov", (*X264, "-c:a", "pcm_u8"), 22_050, 1),
        Case("sound", "PCM 8 bit, 8 kHz, mov", "mov", (*X264, "-c:a", "pcm_u8"), 8_000, 1),
        Case("sound", "PCM 24 bit, 96 kHz, mov", "mov", (*X264, "-c:a", "pcm_s24le"), 96_000),
        Case("sound", "FLAC 96 kHz, mkv", "mkv", (*X264, "-c:a", "flac"), 96_000),
        Case("sound", "AAC 96 kHz", rate_hz=96_000),
        Case("sound", "ALAC, mov", "mov", (*X264, "-c:a", "alac")),
        Case("sound", "Opus in mp4", coding=(*X264, *OPUS), rate_hz=48_000),
        Case("sound", "Opus in mkv", "mkv", (*X264, *OPUS), 48_000),
        Case("sound's span", "starts 700 ms late", sound_late_s=ms(700)),
        Case("sound's span", "ends 500 ms early, AAC", sound_stop_s=ms(-500)),
        Case("sound's span", "ends 500 ms early, PCM, mkv", "mkv", pcm, sound_stop_s=ms(-500)),
        Case(
            "10-bit, HDR", "H.264 High 10",
            coding=(*X264, "-preset", "veryfast", "-pix_fmt", "yuv420p10le", *AAC),
        ),
        Case("10-bit, HDR", "H.265 Main 10", coding=(*X265, "-pix_fmt", "yuv420p10le", *AAC)),
        Case(
            "10-bit, HDR", "PQ, BT.2020, H.265",
            coding=(*X265, "-pix_fmt", "yuv420p10le", *BT2020, *AAC),
            light="pq",
        ),
        Case(
            "10-bit, HDR", "HLG, BT.2020, H.265",
            coding=(*X265, "-pix_fmt", "yuv420p10le", *BT2020, *AAC),
            light="hlg",
        ),
        Case(
            "10-bit, HDR", "PQ, BT.2020, VP9 profile 2, webm", "webm",
            (*VP9, "-pix_fmt", "yuv420p10le", *BT2020, *OPUS),
            48_000, light="pq",
        ),
        Case(
            "interlaced", "H.264, top field first",
            coding=(*X264, "-preset", "veryfast", "-x264-params", "tff=1", *AAC),
            size_px=(128, 64),
        ),
        Case(
            "interlaced", "H.264, bottom first, B-frames, mkv", "mkv",
            (*X264, *B_FRAMES, "-x264-params", "bff=1", *AAC), size_px=(128, 64),
        ),
        Case(
            "interlaced", "MPEG-2, mkv", "mkv",
            (*MPEG2, "-flags", "+ildct+ilme", "-bf", "2", *PCM),
        ),
        Case("VP9, AV1, WebM, GIF", "VP9, Opus, webm", "webm", (*VP9, *OPUS), 48_000),
        Case("VP9, AV1, WebM, GIF", "VP8, Vorbis, webm", "webm", (*VP8, "-c:a", "libvorbis")),
        Case(
            "VP9, AV1, WebM, GIF", "VP8 with hidden frames, webm", "webm",
            (*VP8, "-auto-alt-ref", "1", "-lag-in-frames", "16", "-c:a", "libvorbis"),
        ),
        Case(
            "VP9, AV1, WebM, GIF", "VP9 with hidden frames, mp4", "mp4",
            (*VP9, "-deadline", "good", "-auto-alt-ref", "1", "-lag-in-frames", "16", *AAC),
        ),
        Case("VP9, AV1, WebM, GIF", "AV1 (SVT), mp4", "mp4", (*SVT, *AAC)),
        Case("VP9, AV1, WebM, GIF", "AV1 (libaom), Opus, webm", "webm", (*AOM, *OPUS), 48_000),
        Case("VP9, AV1, WebM, GIF", "GIF has no sound", "gif",
             ("-c:v", "gif", "-pix_fmt", "gray", "-an"), outcome="no_audio"),
        Case("odd sizes", "97x65, H.264 4:4:4", coding=(*X264, "-pix_fmt", "yuv444p", *AAC),
             size_px=(97, 65)),
        Case("odd sizes", "97x65, VP9, webm", "webm", (*VP9, *OPUS), 48_000, size_px=(97, 65)),
        Case("odd sizes", "65x97, FFV1, mkv", "mkv",
             ("-c:v", "ffv1", "-pix_fmt", "yuv420p", *PCM), size_px=(65, 97)),
        Case("odd sizes", "106x70, H.264", size_px=(106, 70)),
        Case("odd sizes", "101x67 turned by 90 degrees",
             coding=(*X264, "-pix_fmt", "yuv444p", *AAC), size_px=(101, 67), turn_deg=90),
    ]  # fmt: skip


@cache
def encoders() -> frozenset[str]:
    """Return the encoders that the ffmpeg program has."""
    command = [binary(), "-hide_banner", "-encoders"]
    listed = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", errors="replace"
    ).stdout
    return frozenset(line.split()[1] for line in listed.splitlines() if len(line.split()) > 1)


# --- files -------------------------------------------------------------------------------------


def picture(index: int, size_px: tuple[int, int]) -> np.ndarray:
    """Return a frame, uint8 (H, W, 3), that says its number (< 256) over black and white."""
    width, height = size_px
    frame = np.empty((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = BLACK + STEP * (index % 16)
    frame[: height // 2, width // 2 :] = BLACK + STEP * (index // 16)
    frame[height // 2 :, : width // 2] = BLACK
    frame[height // 2 :, width // 2 :] = WHITE
    return frame


def number(frame: np.ndarray) -> int | None:
    """Return what `picture` wrote; None where the picture is not upright, or has other greys."""
    high, wide = frame.shape[0] // 4, frame.shape[1] // 4
    spots = [(high, wide), (high, -wide), (-high, wide), (-high, -wide)]
    greys = [frame[y - 4 : y + 4, x - 4 : x + 4].mean((0, 1)) for y, x in spots]
    steps = [round(float(grey.mean() - BLACK) / STEP) for grey in greys]
    off = max(np.abs(g - (BLACK + STEP * s)).max() for g, s in zip(greys, steps, strict=True))
    upright = steps[2:] == [0, 15] and all(0 <= step <= 15 for step in steps)
    return steps[0] + 16 * steps[1] if upright and off <= NEAR else None


def pq(frame: np.ndarray) -> np.ndarray:
    """Return a grey frame as light of up to 203 nits in the PQ code, uint16 (H, W, 3)."""
    light = (frame / 255.0) ** 2.4 * WHITE_NITS / 10_000
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = light**m1
    return np.round(((c1 + c2 * power) / (1 + c3 * power)) ** m2 * 65535).astype(np.uint16)


def hlg(frame: np.ndarray) -> np.ndarray:
    """Return a grey frame as light of up to 203 nits in the HLG code, uint16 (H, W, 3)."""
    light = (frame / 255.0) ** 2.4 * WHITE_NITS / 1000
    scene = light ** (1 / 1.2)
    with np.errstate(divide="ignore", invalid="ignore"):
        bright = 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    return np.round(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright) * 65535).astype(np.uint16)


HDR = {"pq": pq, "hlg": hlg}


@dataclass(frozen=True)
class Film:
    """A file of the list and its truth: when its frames and clicks are, on the file's clock."""

    case: Case
    path: Path
    fps: Fraction
    frames_s: dict[int, Fraction]
    clicks_s: list[Fraction]

    @property
    def times_s(self) -> list[Fraction]:
        return sorted(self.frames_s.values())


def write_film(case: Case, folder: Path, fps: Fraction, seconds: Fraction) -> Film:
    """Write a case's file into `folder`, with ffmpeg."""
    sources, path = folder.parent / "sources", folder / f"{case.slug}.{case.suffix}"
    sources.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    raw, wav = sources / f"{case.slug}.raw", sources / f"{case.slug}.wav"
    count = int(seconds * fps)
    width, height = case.size_px[::-1] if case.turn_deg % 180 else case.size_px
    turns = case.turn_deg // 90  # numpy turns the other way than the display matrix will
    frames = (np.rot90(picture(k, (width, height)), turns) for k in range(count))
    with open(raw, "wb") as file:
        for frame in frames:
            file.write(HDR.get(case.light, np.asarray)(frame).tobytes())
    sound_s = seconds + case.sound_stop_s if case.sound_stop_s else seconds
    at = click_samples(sound_s, case.rate_hz)
    sound = clicks(round(sound_s * case.rate_hz), at)
    sound = np.repeat(sound[:, None], case.channels, axis=1)
    soundfile.write(wav, sound, case.rate_hz, subtype="DOUBLE")
    late = round(case.picture_late_s * CLOCK_HZ)
    filters = f"settb=1/{CLOCK_HZ},select='{case.keep}',setpts=PTS+{late}"
    if case.light in TRANSFER:
        filters += f",setparams=color_primaries=bt2020:color_trc={TRANSFER[case.light]}"
    clock = ["-fps_mode", "passthrough", "-enc_time_base:v", f"1/{CLOCK_HZ}"]
    if case.suffix in ("mp4", "mov"):
        clock += ["-video_track_timescale", CLOCK_HZ, "-movie_timescale", 1_000_000]
    if case.suffix == "gif":
        clock = ["-fps_mode", "passthrough"]
    pixels = "rgb48le" if case.light in HDR else "rgb24"
    shape = f"{case.size_px[0]}x{case.size_px[1]}"
    plain = sources / f"{case.slug}-plain.{case.suffix}"
    cut, turned = case.cut_s > 0, case.turn_deg > 0
    ffmpeg(
        *["-f", "rawvideo", "-pix_fmt", pixels, "-s", shape, "-framerate", fps, "-i", raw],
        *["-itsoffset", float(case.sound_late_s), "-i", wav, "-threads", 1, "-vf", filters],
        *[*clock, *case.coding, plain if cut or turned else path],
    )
    if cut or turned:
        # ffmpeg counts the display matrix's turn counterclockwise.
        turn = ["-display_rotation", -case.turn_deg] if turned else []
        start = ["-ss", float(case.cut_s)] if cut else []
        ffmpeg(*turn, *start, "-i", plain, "-c", "copy", "-movie_timescale", 1_000_000, path)
    moved_s = -case.cut_s if case.clock_s is None else case.clock_s
    tick_s = TICKS_S.get(case.suffix)
    kept = [k for k in range(count) if case.keep == "1" or (k * 37) % 100 < 45]
    return Film(
        case,
        path,
        fps,
        {k: rounded(k / fps + case.picture_late_s + moved_s, tick_s) for k in kept},
        [Fraction(k, case.rate_hz) + case.sound_late_s + moved_s for k in at],
    )


def rounded(at_s: Fraction, tick_s: Fraction | None) -> Fraction:
    """Return the time of a frame that a container which counts in ticks can hold."""
    return at_s if tick_s is None else (at_s / tick_s + Fraction(1, 2)) // 1 * tick_s


def click_samples(seconds: Fraction, rate_hz: int) -> list[int]:
    """Return where the clicks are: unevenly spaced, none near the ends."""
    at, found = 0.11, []
    while at < seconds - Fraction(1, 20):
        found.append(round(at * rate_hz))
        at += CLICK_EVERY_S[len(found) % len(CLICK_EVERY_S)]
    return found


# --- measuring ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a build made of one film: the code of its end or, where it is ok, the largest errors.

    `sound_error` is in samples at 22 050 Hz, `picture_error` in parts of the gap between the two
    frames around the wanted time, `beyond` what of it a nearer frame would have spared.
    `unread` counts frames that were not upright, or of another brightness.
    """

    case: Case
    outcome: str = ""
    message: str = ""
    segments: int = 0
    clicks: int = 0
    looks: int = 0
    unread: int = 0
    sound_error: float = np.inf
    picture_error: float = np.inf
    beyond: float = np.inf

    @property
    def good(self) -> bool:
        """Whether all was read and is within a sample and half a frame, or ended as it should."""
        heard = self.sound_error <= 1 if not self.case.outcome else not self.clicks
        ended = self.outcome == self.case.outcome
        return ended and heard and not self.unread and self.picture_error <= 0.5


def measure(films: Sequence[Film], folder: Path) -> list[Row]:
    """Build all films in one command and compare what it stores with the truth."""
    source = Folder(films[0].path.parent)
    plain = BuildOptions(source, folder / "out", [Motion()], engine="local")
    report = build(replace(plain, max_failed=1.0))
    return list(_rows(films, plain, report))


def _rows(films: Sequence[Film], plain: BuildOptions, report: Report) -> Iterator[Row]:
    looking = replace(plain, features=[Visual(weights="untrained", windows=WINDOWS)])
    listing = list_inputs(looking)
    settings = make_settings(looking, listing, ready(looking))
    extract = Extract(settings)
    extract.setup()
    inputs = {r.path: r for r in hash_inputs(listing.root, listing.motion_root, listing.rows)}
    sounds = {
        key: read_wav(members["wav"])
        for tar in sorted(plain.out.glob("train-*.tar"))
        for key, members in read_shard(tar)
    }
    ends = {row["path"]: row for row in report.rows}
    for film in films:
        end, row = ends[film.path.name], inputs[film.path.name]
        if end["status"] != "ok":
            end = Row(film.case, end["code"], end["message"])
            yield _silent(film, end) if end.outcome == "no_audio" else end
            continue
        (work,) = extract([Work(row)])
        if work.clips is None:
            yield Row(film.case, work.outcome.code, work.outcome.message)
            continue
        cut = settings.ledger.read("cut", settings.key("cut", row))
        starts_s = [Fraction(start) for start in cut.facts["starts_s"]]
        pcm = [sounds[segment_key(row.video_id, k + 1)] for k in range(len(starts_s))]
        looks_s = list(clip_request(settings, row, cut).times_s)
        frames = work.clips.reshape(-1, *work.clips.shape[2:])
        yield compare(film, starts_s, pcm, looks_s, frames)


def _silent(film: Film, end: Row) -> Row:
    """Return the row of a film that cannot become segments, with its picture's part."""
    looks_s = [film.times_s[0] + Fraction(k, 32) for k in range(64)]
    wanted = FrameRequest(looks_s, short_side_px=256, crop_px=224)
    row = compare(film, [], [], looks_s, read_frames(film.path, {"all": wanted})["all"])
    return replace(row, outcome=end.outcome, message=end.message)


def compare(
    film: Film,
    starts_s: Sequence[Fraction],
    pcm: Sequence[np.ndarray],
    looks_s: Sequence[Fraction],
    frames: np.ndarray,
) -> Row:
    """Compare segments (int16 (N,) from `starts_s` on) and frames (as of `looks_s`) with truth."""
    sound_errors, picture_errors, beyond, unread = [], [], [], 0
    for start_s, samples in zip(starts_s, pcm, strict=True):
        stop_s = start_s + Fraction(len(samples), SAMPLE_RATE_HZ)
        truth = [t for t in film.clicks_s if start_s <= t < stop_s]
        for k, t in zip(peaks(samples / 32768, len(truth)), truth, strict=True):
            sound_errors.append(top(samples, k) - float((t - start_s) * SAMPLE_RATE_HZ))
    for at_s, frame in zip(looks_s, frames, strict=True):
        shown_s = film.frames_s.get(number(frame))
        if shown_s is None:
            unread += 1
        else:
            error_s, gap_s = abs(shown_s - at_s), gap(film.times_s, at_s)
            nearest_s = min(abs(t - at_s) for t in film.frames_s.values())
            picture_errors.append(float(error_s / gap_s))
            beyond.append(float((error_s - nearest_s) / gap_s))
    return Row(
        film.case,
        segments=len(pcm),
        clicks=len(sound_errors),
        looks=len(frames),
        unread=unread,
        sound_error=max(map(abs, sound_errors), default=np.inf),
        picture_error=max(picture_errors, default=np.inf),
        beyond=max(beyond, default=np.inf),
    )


def gap(times_s: Sequence[Fraction], at_s: Fraction) -> Fraction:
    """Return the time between the two frames around `at_s` (at an end: the first or last two)."""
    k = min(max(bisect_right(times_s, at_s), 1), len(times_s) - 1)
    return times_s[k] - times_s[k - 1]


def top(samples: np.ndarray, near: int, reach: int = 48) -> float:
    """Return where the signal that the samples stand for is largest, within one of `near`."""
    around = np.arange(max(near - reach, 0), min(near + reach, len(samples)))
    at = near + np.linspace(-1, 1, 81)
    wave = np.sinc(at[:, None] - around) @ samples[around].astype(np.float64)
    return float(at[np.abs(wave).argmax()])
