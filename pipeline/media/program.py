"""Find the ffmpeg program, and prove by a trial that it takes what is asked of it here.

The one that comes with imageio-ffmpeg goes first: a distribution's may be years old. Another is
used where a variable asks for it, or where that one is missing or fails the trial.
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
"""Name another ffmpeg, by its path or its name on PATH; the second is imageio-ffmpeg's own."""
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
    """ffmpeg failed, or there is none to use; the message holds what it said."""


def binary() -> str:
    """Return the ffmpeg program to use.

    That is the one D2M_FFMPEG or IMAGEIO_FFMPEG_EXE names; without either, the one of
    imageio-ffmpeg or, where that lacks something, the first on PATH that lacks nothing.

    Raises FfmpegError, which says what each program lacks, where there is none to use.
    """
    for variable in VARIABLES:
        if asked := os.environ.get(variable):
            program = shutil.which(asked)
            words = lack(os.path.abspath(program)) if program else "not found, or no program"
            if program and not words:
                return os.path.abspath(program)
            raise FfmpegError(
                f"{variable}={asked}: {words}; unset {variable} to use the ffmpeg that comes with "
                f"the Python packages, or name {NEEDED}"
            )
    lacks = []
    for program in _found():
        words = lack(program)
        if not words:
            return program
        lacks.append(f"{program}: {words}")
    raise FfmpegError(
        f"no ffmpeg to use: {'; '.join(lacks) or 'none with imageio-ffmpeg, none on PATH'}; "
        f"install a newer imageio-ffmpeg, or name in D2M_FFMPEG {NEEDED}"
    )


def _found() -> Iterator[str]:
    """Yield the programs nobody asked for: that of imageio-ffmpeg, then those on PATH."""
    import imageio_ffmpeg

    try:
        found = [imageio_ffmpeg.get_ffmpeg_exe()]  # may be one on PATH too
    except RuntimeError:
        found = []
    found += [os.path.join(folder, "ffmpeg") for folder in os.get_exec_path()]
    programs = filter(None, map(shutil.which, found))
    yield from dict.fromkeys(map(os.path.abspath, programs))


def same_times(time_base: Fraction) -> dict[str, str]:
    """Return the options by which every frame is encoded at the time it has in `time_base`."""
    return {"fps_mode": "passthrough", "enc_time_base:v": str(time_base)}


@cache
def lack(program: str) -> str:
    """Return what a program cannot do, with its version; "" where the trial succeeds.

    The trial makes an mp4 of a few frames and samples with every option that is used elsewhere.
    """
    from model.contract.wav import wav_head

    sound = wav_head(4096) + bytes(4096)
    given = {**LIMITS, "seek_timestamp": 1, "ss": 0, "t": 1, "itsoffset": 0.5, "f": "wav"}
    made = {**H264, "crf": 20, "preset": "veryfast", **same_times(Fraction(1, 1000))}
    made |= {"c:a": "aac", "b:a": "192k", "threads": 1, "copyts": None, **BITEXACT, **MP4}
    filters = "crop=16:16:0:0:exact=1,scale=out_range=tv"
    with tempfile.TemporaryDirectory(prefix="dance2music-") as folder:
        command = [program, "-hide_banner", "-loglevel", "error", "-y"]
        command += [*_words(given), "-i", "pipe:0"]
        command += ["-filter_complex", f"color=size=18x18:duration=0.2,{filters}[v]"]
        command += ["-map", "[v]", "-map", "0:a:0"]
        command += [*_words(made), str(Path(folder) / "trial.mp4")]
        try:
            done = subprocess.run(command, input=sound, capture_output=True, timeout=TRIAL_LIMIT_S)
        except OSError as error:
            return f"cannot be run ({error.strerror})"
        except subprocess.TimeoutExpired:
            return f"no end of a trial in {TRIAL_LIMIT_S:.0f} s"
    if not done.returncode:
        return ""
    return f"version {version(program)} fails a trial of what is needed: {said(done.stderr)}"


def version(program: str) -> str:
    """Return the version that an ffmpeg program tells, as "7.0.2-static"."""
    try:
        done = subprocess.run(
            [program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    name, _, rest = done.stdout.decode(errors="replace").partition(" version ")
    return rest.split()[0] if name == "ffmpeg" and rest.split() else "unknown"


def said(stderr: bytes) -> str:
    """Return the last lines a program wrote, as one."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-STDERR_LINES:]) or "nothing"


def _words(options: dict[str, Any]) -> list[str]:
    pairs = ((f"-{name}", value) for name, value in options.items())
    return [str(word) for pair in pairs for word in pair if word is not None]
