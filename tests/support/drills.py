"""Builds in processes of their own, to be stopped at any moment, and what they have stored."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from builds import (
    ENVIRONMENT,
)
from places import ROOT

from pipeline.engine.ledger import Ledger, Stored, _of_process


def command(source: Path, out: Path, *more: object) -> list[str]:
    words = ["build", "--dataset", "folder", "--source", source, "--out", out, "--visual", "none"]
    return [sys.executable, "-m", "pipeline", *map(str, [*words, "--engine", "local", *more])]


def start(arguments: list[str], threads: int = 1, **more: object) -> subprocess.Popen[str]:
    """Start a command. What torch computes on a CPU can depend on the number of threads."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(arguments, cwd=ROOT, env=env, **pipes, **more)


def results(out: Path, stage: str = "") -> dict[tuple[str, str], set[tuple[str, int]]]:
    """Return the places of every stored result: one that was made again has several."""
    found: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for one in Ledger(out / ".work" / "results").stored():
        if stage in ("", one.stage):
            found.setdefault((one.stage, one.key), set()).add((one.path.name, one.at))
    _of_process.cache_clear()  # closes the files
    return found


def all_whole(out: Path, keys: Iterable[tuple[str, str]]) -> bool:
    """Return whether the results of these stages and keys can be read."""
    ledger = Ledger(out / ".work" / "results")
    found = [ledger.read(stage, key) for stage, key in keys]
    _of_process.cache_clear()
    return all(result and all(array.size for array in result.arrays.values()) for result in found)


def until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.005)


def stored(out: Path, stage: str) -> list[Stored]:
    """Return where the results of a stage lie, in the order of their keys."""
    found = Ledger(out / ".work" / "results").stored()
    return sorted((one for one in found if one.stage == stage), key=lambda one: one.key)


def damage(result: Stored) -> None:
    """Change a byte in the arrays of a stored result."""
    with open(result.path, "r+b") as file:
        at = result.at + result.bytes - result.body_bytes // 2
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def cut_short(result: Stored) -> None:
    """Keep a hundred bytes of a stored result, and nothing that its writer stored after it."""
    with open(result.path, "r+b") as file:
        file.truncate(result.at + 100)
