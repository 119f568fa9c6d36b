"""Make small clips whose every frame and click is known."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from pipeline.media.program import binary
from pipeline.media.reader import FrameRequest, read_frames

WIDTH, HEIGHT = 96, 64
LOSSLESS = ("-c:a", "pcm_s16le")
FRAGMENTS = ("-c:a", "aac", "-movflags", "+frag_keyframe+delay_moov", "-g", "10")


def numbered(index: int) -> np.ndarray:
    """Return a frame, uint8 (64, 96, 3), that says its number (< 256) in two grey halves."""
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[:, : WIDTH // 2] = 8 + 15 * (index % 16)
    frame[:, WIDTH // 2 :] = 8 + 15 * (index // 16)
    return frame


def number(frame: np.ndarray) -> int:
    """Return what `numbered` wrote, from a decoded frame of any size."""
    width = frame.shape[1]
    low, high = frame[:, : width // 3].mean(), frame[:, -(width // 3) :].mean()
    return round((low - 8) / 15) + 16 * round((high - 8) / 15)


def shown(path: Path, times_s: list[Fraction], threads: int = 1) -> list[int]:
    """Return the numbers of the frames shown at `times_s`."""
    found = read_frames(path, {"all": FrameRequest(times_s)}, threads=threads)["all"]
    assert found.dtype == np.uint8 and len(found) == len(times_s)
    return [number(frame) for frame in found]


def frames(count: int) -> Iterator[np.ndarray]:
    return (numbered(index) for index in range(count))


def clicks(samples: int, at: list[int]) -> np.ndarray:
    """Return silence with single-sample clicks, float32 (N,)."""
    sound = np.zeros(samples, np.float32)
    sound[at] = 0.9
    return sound


def peaks(samples: np.ndarray, count: int) -> list[int]:
    """Return where the `count` loudest clicks are, in order; clicks are 500 samples apart."""
    left, found = np.abs(samples), []
    for _ in range(count):
        at = int(left.argmax())
        found.append(at)
        left = left.copy()
        left[max(at - 500, 0) : at + 500] = 0
    return sorted(found)


def as_listed(name: str) -> str:
    """Return how this process reads a file name that lies on the disk in UTF-8."""
    return os.fsdecode(name.encode())


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg program."""
    command = [binary(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def write(
    out: Path,
    fps: Fraction,
    count: int,
    sound: np.ndarray,
    rate_hz: int,
    *coding: str,
    sound_late_s: float = 0.0,
    picture_late_s: float = 0.0,
) -> None:
    """Write `count` numbered frames and `sound`, float32 (N,) or (N, C), with ffmpeg's `coding`."""
    raw, wav = out.with_suffix(".rgb"), out.with_suffix(".source.wav")
    raw.write_bytes(b"".join(frame.tobytes() for frame in frames(count)))
    soundfile.write(wav, sound, rate_hz, subtype="DOUBLE")
    picture = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{WIDTH}x{HEIGHT}",
        "-framerate",
        str(fps),
    ]
    # A clock that holds a frame of any common rate exactly.
    clock = ["-fps_mode", "passthrough", "-enc_time_base:v", "1/240000"]
    clock += ["-vf", f"settb=1/240000,setpts=PTS+{round(picture_late_s * 240000)}"]
    if out.suffix != ".mkv":
        clock += ["-video_track_timescale", "240000", "-movie_timescale", "1000000"]
    ffmpeg(
        *[*picture, "-i", raw],
        *["-itsoffset", str(sound_late_s), "-i", wav],
        *["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p"],
        *["-threads", "1", *clock, *coding, out],
    )
