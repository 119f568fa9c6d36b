"""Compute the features of a new video as a run needs them, by the `pipeline` command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.contract.files import sha256_of, write_atomic
from model.contract.options import flag_of
from model.contract.segment import MOTION
from model.data.inputs import GENRE, shown
from model.generation.pipeline_process import run_pipeline
from model.generation.run import Run

ANY_POSES = "auto"
"""As --motion: the best network for poses that is installed."""
MADE_OF = "made_of.json"
"""Beside features that are kept: the hash of their video, and the options."""
OF_SOUND = ("no_sound", "audio_track", "drop_silent")
"""Keys of dataset.json's `build` about a video's own audio track, which is not read here. All other
keys affect the features."""


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
    arguments += ["--engine", "local", "--no-sound", "--no-page"]
    arguments += ["--fetch-weights"] if fetch else []
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
