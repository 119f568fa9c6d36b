"""Where generation meets pictures: the `pipeline` command, run as a process of its own.

A GPU box needs no video decoder to train. Features of a new video and the mp4 with the music are
the pipeline's work; without it, wav files from shards still come out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.data.inputs import shown
from model.generation.run import Run

OF_SOUND = ("no_sound", "audio_track", "drop_silent")
"""Keys of dataset.json's `build` that say what becomes of a video's own sound, which is not read
here; all others decide what features look like."""


def has_pipeline() -> bool:
    """Return whether `pipeline` can run here: in a checkout it lies there without its decoder."""
    return all(importlib.util.find_spec(name) for name in ("pipeline", "av"))


def run_pipeline(arguments: Sequence[str]) -> str:
    """Run `pipeline ARGUMENTS` and return what it printed; ValueError carries its last words."""
    if not has_pipeline():
        raise ValueError("needs the packages pipeline and av, which are not both installed here")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"pipeline {arguments[0]} ended with code {done.returncode}: {last}")
    return done.stdout


def options_for(run: Run) -> dict[str, Any]:
    """Return the options that a run's training data was built with, less what it does not read."""
    build = dict(run.dataset.build)
    for suffix in run.dataset.fields:
        if shown(suffix) in build and suffix not in run.model.inputs.specs:
            build[shown(suffix)] = "none"
    return build


def build_features(video: Path, build: Mapping[str, Any], out: Path) -> None:
    """Write shards of one video into `out`, with the options of a data set's `build` record.

    The picture alone decides where the segments are; the video's own sound is not read.

    Raises ValueError with what became of the video where that is no segment.
    """
    if not video.is_file():
        raise FileNotFoundError(f"{video}: no such video")
    arguments = ["build", "--dataset", "folder", "--source", str(video), "--out", str(out)]
    arguments += ["--engine", "local", "--no-sound"]
    for name, value in build.items():
        flag = f"--{name.replace('_', '-')}"
        if name not in OF_SOUND and value is True:
            arguments.append(flag)
        elif name not in OF_SOUND:
            for one in value if isinstance(value, list) else [value]:
                arguments += [flag, str(one)]
    try:
        run_pipeline(arguments)
    except ValueError:
        if not (out / "report.json").is_file():
            raise
        (row,) = json.loads((out / "report.json").read_bytes())["rows"]
        if not row.get("code"):  # the video is good: something else failed
            raise
        if row["code"] == "missing_motion":
            raise ValueError(
                f"{video}: the run knows motion from {build['motion']} annotations, and this video "
                "has none beside it: put it there (docs/guide/build.md says how it is called), or "
                "train on poses from the picture (pipeline build --motion mmpose)"
            ) from None
        raise ValueError(f"{row['status']}: {row['stage']}: {row['message']}") from None


def mux(
    video: Path,
    audio: Path,
    start_s: float,
    out: Path,
    stop_s: float | None = None,
    box_px: Sequence[int] = (),
) -> None:
    """Write an mp4: the picture of `video`, with `audio` under it from `start_s` on.

    A picture whose codec has no place in an mp4 is encoded anew, and a printed line says so. With
    `stop_s` the picture is that span of it, encoded anew (H.264 of 8 bits, 4:2:0), and both begin
    at 0 s; with `box_px` (x, y, width, height) it is only that part.
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
    """Return the file that a segment came from, or None; never one outside the source folder."""
    if not source_root or not relative:
        return None
    root = Path(source_root).resolve()
    if root.is_file():
        return root if root.name == Path(relative).name else None
    path = (root / relative).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None
