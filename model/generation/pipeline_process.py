"""Run the `pipeline` command as a separate process, for all work of generation on video.

Training machines need no video decoder. The pipeline computes the features of a new video and
writes the mp4 with the music. Without the pipeline, wav files can still be generated from shards.
Torch is not imported here: it takes seconds, during which a process can start (`started_early`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WAIT = "-"
"""To `python -m pipeline`: the arguments follow on standard input (pipeline/__main__.py)."""

_waiting: subprocess.Popen[str] | None = None


def has_pipeline() -> bool:
    """Return whether `pipeline` can run: in a source checkout its decoder (av) may be missing."""
    return all(importlib.util.find_spec(name) for name in ("pipeline", "av"))


@contextmanager
def started_early() -> Iterator[None]:
    """Start the process of the first `run_pipeline` in this block already now.

    It imports what building features needs, while this process has work of its own.
    """
    global _waiting
    _waiting = _process([WAIT]) if has_pipeline() else None
    try:
        yield
    finally:
        if _waiting is not None:
            _waiting.kill()
            _waiting.communicate()
            _waiting = None


def run_pipeline(arguments: Sequence[str], codes: Sequence[int] = (0,)) -> str:
    """Run `pipeline ARGUMENTS` and return its output.

    Raises ValueError, with its last line, if it ends with a code that is not in `codes`.
    """
    global _waiting
    if not has_pipeline():
        raise ValueError("needs the packages pipeline and av, which are not both installed")
    waiting, _waiting = _waiting, None
    with waiting or _process(arguments) as process:
        try:
            said = process.communicate(json.dumps(arguments) if waiting else None)[0]
        except BaseException:  # stopped by the user
            process.kill()
            raise
    if process.returncode not in codes:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"pipeline {arguments[0]} ended with code {process.returncode}: {last}")
    return said


def _process(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )


def take_sounds(videos: Sequence[Path], out: Path) -> dict[Path, str]:
    """Write the sound of videos as `out`/<video>.wav; return an error for each that has none.

    Raises ValueError without the pipeline.
    """
    said = run_pipeline(["sound", *map(str, videos), "--out", str(out)], codes=(0, 3))
    found = {}
    for video in videos:
        if not (out / f"{video.stem}.wav").is_file():
            lines = [line for line in said.splitlines() if str(video) in line]
            found[video] = (lines or [f"{video}: no sound was found"])[-1].removeprefix("error: ")
    return found


def mux(
    video: Path,
    audio: Path,
    start_s: float,
    out: Path,
    stop_s: float | None = None,
    box_px: Sequence[int] = (),
) -> None:
    """Write an mp4 with the picture of `video`, and `audio` from `start_s` on.

    A picture whose codec is not allowed in mp4 is encoded again, and a printed line reports this.
    With `stop_s` the picture is cut to this time span and encoded again (H.264, 8 bits, 4:2:0), and
    both start at 0 s. With `box_px` (x, y, width, height) the picture is cropped to this box.
    """
    arguments = ["mux", "--video", str(video), "--audio", str(audio), "--start-s", str(start_s)]
    if stop_s is not None:
        arguments += ["--stop-s", str(stop_s)]
    if box_px:
        arguments += ["--box", *map(str, box_px)]
    for line in run_pipeline([*arguments, "--out", str(out)]).splitlines():
        if line.startswith("note: "):
            print(line)


def find_video(source_root: str, relative: str) -> Path | None:
    """Return the video file of a segment, or None; files outside the source folder are ignored."""
    if not source_root or not relative:
        return None
    root = Path(source_root).resolve()
    if root.is_file():
        return root if root.name == Path(relative).name else None
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None
