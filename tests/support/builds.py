"""Small sources, builds of them, and what a build left."""

from __future__ import annotations

import os
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import as_listed, clicks, write

import pipeline.build
from pipeline import cli
from pipeline.build import BuildOptions, build
from pipeline.engine.base import LocalEngine
from pipeline.engine.ray import RayEngine
from pipeline.report.report import Report

NAME = as_listed("näme with 'quotes'.mp4")
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.slow)]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def clip(path: Path, seconds: float = 4.2, sound: bool = True) -> Path:
    """Write a video of numbered frames at 30 fps with a click at every half second.

    The name decides where the first click is, so no two files are equal.
    """
    rate, first = 22050, 100 + sum(os.fsencode(path.name)) % 5000
    samples = clicks(round(seconds * rate), list(range(first, round(seconds * rate), rate // 2)))
    coding = ["-c:a", "aac"] if sound else ["-an"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Fraction(30), round(seconds * 30), samples, rate, *coding, "-shortest")
    for extra in (path.with_suffix(".rgb"), path.with_suffix(".source.wav")):
        extra.unlink(missing_ok=True)
    return path


def options(source: Path, out: Path, **changes: object) -> BuildOptions:
    """Return a build's options: what `changes` sets by the names of the command's flags."""
    plain = {"dataset": "folder", "source": source, "out": out, "visual": "none"}
    return BuildOptions.of({**plain, "engine": "local", "max_failed": 1.0, **changes})


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tar"))}


def ends(report: Report) -> dict[str, str]:
    return {row["path"]: row["code"] or row["status"] for row in report.rows}


def refuse_work(self, stages, items, lost):
    left = list(items)
    assert not left, f"worked again on {left}"
    return iter(())


def motion_file(path: Path, frames: int, scaling: float = 2.0) -> dict[str, np.ndarray]:
    """Write an AIST++ annotation of seeded random poses and return what it holds."""
    rng = np.random.default_rng(frames)
    raw = {
        "smpl_poses": rng.normal(size=(frames, 72)),
        "smpl_trans": rng.normal(size=(frames, 3)) * scaling,
        "smpl_scaling": np.array([scaling]),
        "smpl_loss": 0.1,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(raw))
    return raw


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code


def built(wanted, engine: LocalEngine | RayEngine):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build, "make_engine", lambda *_: engine)
        return build(wanted)
