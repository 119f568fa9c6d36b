"""Run the `pipeline` command as a separate process, for all work of generation on video.

Training machines need no video decoder. The pipeline computes the features of a new video and
writes the mp4 with the music. Without the pipeline, wav files can still be generated from shards.
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

from model.contract.files import sha256_of, write_atomic
from model.contract.options import flag_of
from model.contract.segment import MOTION
from model.data.inputs import GENRE, shown
from model.generation.run import Run

ANY_POSES = "auto"
"""As --motion: the best network for poses that is installed."""
MADE_OF = "made_of.json"
"""Beside features that are kept: the hash of their video, and the options."""
OF_SOUND = ("no_sound", "audio_track", "drop_silent")
"""Keys of dataset.json's `build` about a video's own audio track, which is not read here. All other
keys affect the features."""


def has_pipeline() -> bool:
    """Return whether `pipeline` can run: in a source checkout its decoder (av) may be missing."""
    return all(importlib.util.find_spec(name) for name in ("pipeline", "av"))


def run_pipeline(arguments: Sequence[str], codes: Sequence[int] = (0,)) -> str:
    """Run `pipeline ARGUMENTS` and return its output.

    Raises ValueError, with its last line, if it ends with a code that is not in `codes`.
    """
    if not has_pipeline():
        raise ValueError("needs the packages pipeline and av, which are not both installed")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    if done.returncode not in codes:
        last = (done.stdout.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"pipeline {arguments[0]} ended with code {done.returncode}: {last}")
    return done.stdout


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


def options_for(run: Run) -> dict[str, Any]:
    """Return the build options of a run's training data; features that it does not use are off."""
    build = dict(run.dataset.build)
    for suffix in run.dataset.fields:
        if shown(suffix) in build and suffix not in run.model.inputs.specs:
            build[shown(suffix)] = "none"
        elif imitated := run.dataset.fields[suffix].get("imitates"):
            build[shown(suffix)] = imitated
        elif suffix == MOTION and poses_instead(run):
            build[shown(suffix)] = ANY_POSES
            build.pop("smpl_model", None)
    return build


def poses_instead(run: Run) -> bool:
    """Return whether poses are estimated in place of the annotations that a run was trained on."""
    spec = run.dataset.fields.get(MOTION, {})
    return run.model.any_motion and MOTION in run.model.inputs.specs and "detector" not in spec


def new_to_networks(run: Run) -> bool:
    """Return whether videos are read by a network that the run's own data did not need.

    Its user never built features with that network, whose weights may then be missing.
    """
    imitated = ("imitates" in run.dataset.fields[n] for n in run.model.inputs.names if n != GENRE)
    return poses_instead(run) or any(imitated)


def build_features(video: Path, build: Mapping[str, Any], out: Path, fetch: bool = False) -> None:
    """Write shards of one video into `out`, with the options of a data set's `build` record.

    Only the picture determines the segments; the video's own audio is not read. With `fetch`, the
    published weights that are missing are fetched first.

    Raises ValueError, with the outcome of the video, if it gives no segment.
    """
    if not video.is_file():
        raise FileNotFoundError(f"{video}: no such video")
    arguments = ["build", "--dataset", "folder", "--source", str(video), "--out", str(out)]
    arguments += ["--engine", "local", "--no-sound", *(["--fetch-weights"] if fetch else [])]
    for name, value in build.items():
        if name in OF_SOUND:
            continue
        if value is True:
            arguments.append(flag_of(name))
        else:
            for one in value if isinstance(value, list) else [value]:
                arguments += [flag_of(name), str(one)]
    try:
        run_pipeline(arguments)
    except ValueError:
        if not (out / "report.json").is_file():
            raise
        (row,) = json.loads((out / "report.json").read_bytes())["rows"]
        if not row.get("code"):  # the video is valid: something else failed
            raise
        if row["code"] == "missing_motion":
            raise ValueError(
                f"{video}: the run needs motion from {build['motion']} annotations, and no such "
                "file was found beside this video: add it (docs/guide/build.md says how to name "
                "it), or train on poses estimated from video (pipeline build --motion auto)"
            ) from None
        raise ValueError(f"{row['status']}: {row['stage']}: {row['message']}") from None


def keep_features(video: Path, run: Run, out: Path) -> None:
    """Write shards of one video into `out`, as `run` needs them, unless they are there already.

    A file beside them names the video by its hash, and the options. Raises as `build_features`.
    """
    if not video.is_file():
        raise FileNotFoundError(f"{video}: no such video")
    made_of, build, fetch = out / MADE_OF, options_for(run), new_to_networks(run)
    wanted = {"sha256": sha256_of(video), "build": build, "fetch": fetch}
    try:
        if json.loads(made_of.read_bytes()) == json.loads(json.dumps(wanted)):
            return
    except (OSError, ValueError):
        pass
    made_of.unlink(missing_ok=True)
    build_features(video, build, out, fetch)
    write_atomic(made_of, json.dumps(wanted).encode())


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
