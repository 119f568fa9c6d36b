"""Builds in processes of their own, to be stopped at any moment, and what they have stored."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from builds import (
    ENVIRONMENT,
)
from places import ROOT


def command(source: Path, out: Path, *more: object) -> list[str]:
    words = ["build", "--dataset", "folder", "--source", source, "--out", out, "--visual", "none"]
    return [sys.executable, "-m", "pipeline", *map(str, [*words, "--engine", "local", *more])]


def start(arguments: list[str], threads: int = 1, **more: object) -> subprocess.Popen[str]:
    """Start a command. What torch computes on a CPU can depend on the number of threads."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(arguments, cwd=ROOT, env=env, **pipes, **more)


def results(out: Path, stage: str = "*") -> dict[Path, tuple[int, int]]:
    """Return inode and time of every stored result: those of one that was made again differ."""
    paths = sorted((out / ".work" / "results").glob(f"{stage}/*/*.npz"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.005)
