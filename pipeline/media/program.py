"""Find an ffmpeg program, and check by a short trial that it can do what this package needs.

The program of imageio-ffmpeg is tried first, because that of a Linux distribution may be years old.
Another one is used if an environment variable names it, or if the first is missing or fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.media.formats import FORMATS

VARIABLES = ("D2M_FFMPEG", "IMAGEIO_FFMPEG_EXE")
"""Environment variables that name another ffmpeg: a path, or a name on PATH. The second one is also
read by imageio-ffmpeg."""
NEEDED = "one of version 5.1 or newer, with the encoders libx264 and aac"
TRIAL_LIMIT_S = 60.0
STDERR_LINES = 12

LIMITS = {"protocol_whitelist": "file,pipe", "format_whitelist": FORMATS}
H264: dict[str, Any] = {"c:v": "libx264", "pix_fmt": "yuv420p"}
BITEXACT = {"fflags": "+bitexact", "flags:v": "+bitexact", "flags:a": "+bitexact"}
MP4: dict[str, Any] = {
    "f": "mp4",
    "map_metadata": -1,
    "map_chapters": -1,
    "movflags": "+faststart",
    # Edit lists are counted in the movie's time scale; one of 1/1000 s, many programs' default,
    # rounds a stream's start by several samples.
    "movie_timescale": 1_000_000,
}


class FfmpegError(ValueError):
    """ffmpeg failed, or no usable ffmpeg was found. The message contains its output."""


def binary() -> str:
    """Return the ffmpeg program to use.

    That is the program that D2M_FFMPEG or IMAGEIO_FFMPEG_EXE names. If neither is set, it is that
    of imageio-ffmpeg, or if that fails the trial, the first on PATH that passes it.

    Raises FfmpegError if there is none; the message says why each program failed.
    """
    for variable in VARIABLES:
        if asked := os.environ.get(variable):
            program = shutil.which(asked)
            problem = lack(os.path.abspath(program)) if program else "not found, or no program"
            if program and not problem:
                return os.path.abspath(program)
            raise FfmpegError(
                f"{variable}={asked}: {problem}; unset {variable} to use the ffmpeg of the "
                f"Python package imageio-ffmpeg, or name {NEEDED}"
            )
    lacks = []
    for program in _found():
        problem = lack(program)
        if not problem:
            return program
        lacks.append(f"{program}: {problem}")
    raise FfmpegError(
        f"no ffmpeg to use: {'; '.join(lacks) or 'none in imageio-ffmpeg, none on PATH'}; "
        f"install a newer imageio-ffmpeg, or set D2M_FFMPEG to {NEEDED}"
    )


def _found() -> Iterator[str]:
    """Yield the programs to try if no variable is set: that of imageio-ffmpeg, then PATH."""
    import imageio_ffmpeg

    try:
        found = [imageio_ffmpeg.get_ffmpeg_exe()]  # this may also be one on PATH
    except RuntimeError:
        found = []
    found += [os.path.join(folder, "ffmpeg") for folder in os.get_exec_path()]
    programs = filter(None, map(shutil.which, found))
    yield from dict.fromkeys(map(os.path.abspath, programs))


def same_times(time_base: Fraction) -> dict[str, str]:
    """Return the ffmpeg options that keep every frame's timestamp, in units of `time_base`."""
    return {"fps_mode": "passthrough", "enc_time_base:v": str(time_base)}


@cache
def lack(program: str) -> str:
    """Return why a program fails the trial, with its version; "" if the trial succeeds.

    The trial writes an mp4 of a few frames and samples, with every option that this package uses.
    """
    from model.contract.wav import wav_head

    sound = wav_head(4096) + bytes(4096)
    given = {**LIMITS, "seek_timestamp": 1, "ss": 0, "t": 1, "itsoffset": 0.5, "f": "wav"}
    made = {**H264, "crf": 20, "preset": "veryfast", **same_times(Fraction(1, 1000))}
    made |= {"c:a": "aac", "b:a": "192k", "threads": 1, "copyts": None, **BITEXACT, **MP4}
    filters = "crop=16:16:0:0:exact=1,scale=out_range=tv"
    with tempfile.TemporaryDirectory(prefix="dance2music-") as folder:
        command = [program, "-hide_banner", "-loglevel", "error", "-y"]
        command += [*_arguments(given), "-i", "pipe:0"]
        command += ["-filter_complex", f"color=size=18x18:duration=0.2,{filters}[v]"]
        command += ["-map", "[v]", "-map", "0:a:0"]
        command += [*_arguments(made), str(Path(folder) / "trial.mp4")]
        try:
            done = subprocess.run(command, input=sound, capture_output=True, timeout=TRIAL_LIMIT_S)
        except OSError as error:
            return f"cannot be run ({error.strerror})"
        except subprocess.TimeoutExpired:
            return f"the trial did not finish in {TRIAL_LIMIT_S:.0f} s"
    if not done.returncode:
        return ""
    return f"version {version(program)} fails a trial of the needed options: {said(done.stderr)}"


def version(program: str) -> str:
    """Return the version that an ffmpeg program reports, for example "7.0.2-static"."""
    try:
        done = subprocess.run(
            [program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    name, _, rest = done.stdout.decode(errors="replace").partition(" version ")
    return rest.split()[0] if name == "ffmpeg" and rest.split() else "unknown"


def said(stderr: bytes) -> str:
    """Return the last lines of a program's error output, joined to one line."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-STDERR_LINES:]) or "nothing"


def _arguments(options: dict[str, Any]) -> list[str]:
    pairs = ((f"-{name}", value) for name, value in options.items())
    return [str(word) for pair in pairs for word in pair if word is not None]
