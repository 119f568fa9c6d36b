"""The files of the clock list, whose every frame and click is known.

A frame says its number in two greys (above) over black and white (below), so that a number is read
only from a picture that is upright and as bright as it was. Clicks are single samples. Both are
known in seconds of the file's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from clips import clicks, ffmpeg
from clock_list import Case

BLACK, WHITE, STEP = 8, 233, 15
NEAR = 7
"""Greys closer than this are the same: half a step."""
CLICK_EVERY_S = (0.29, 0.37, 0.31)
CLOCK_HZ = 240_000
"""A clock that holds a frame of any common rate exactly."""
TICKS_S = {"mkv": Fraction(1, 1000), "webm": Fraction(1, 1000), "gif": Fraction(1, 100)}
"""What these containers count in; a frame's time is not known better than that."""
WHITE_NITS = 203
"""Diffuse white of HDR pictures (ITU-R BT.2408)."""
TRANSFER = {"pq": "smpte2084", "hlg": "arib-std-b67"}


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
