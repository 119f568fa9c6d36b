"""From command to result, as whole processes: builds of few videos by each engine, and generation.

    python benchmarks/start.py --videos FOLDER [--runs 3] [--visual none i3d_r50] [--generate VIDEO]

The first one and the first four videos of a folder are built by each engine, in turn, each time
from nothing; I3D has random weights. With --generate, music is made for a video by the shipped
model of codes. Prints medians by the clock, and of the processor with all processes that a command
starts. Run it twice if the files of the packages may not be in the disk's cache.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from model.contract.terminal import print_anything

COUNTS = (1, 4)


def main() -> None:
    """Time each command `--runs` times, in turn with the others; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--visual", nargs="+", default=["none", "i3d_r50"])
    parser.add_argument("--generate", type=Path, help="a video to make music for")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        commands = {
            f"build, {count} video{'s'[: count > 1]}, --visual {visual}, --engine {engine}": (
                "pipeline", "build", "--dataset", "folder",
                "--source", few(arguments, count, folder), "--visual", visual,
                *(["--weights", "untrained"] if visual != "none" else []), "--engine", engine,
            )
            for visual in arguments.visual for count in COUNTS for engine in ("local", "ray")
        }  # fmt: skip
        if arguments.generate:
            video = str(arguments.generate.resolve())
            commands["generate --run demo --video"] = (
                "model", "generate", "--run", "demo", "--video", video,
            )  # fmt: skip
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(arguments.runs):
            for place, (name, command) in enumerate(commands.items()):
                out = Path(folder) / f"out-{number}-{place}"
                taken[name].append(timed([*command, "--out", str(out)]))
    print("| command | clock, s | processor, s |\n|---|---|---|")
    for name, times in taken.items():
        clock_s, busy_s = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"| {name} | {clock_s:.1f} | {busy_s:.1f} |")


def few(arguments: argparse.Namespace, count: int, folder: str) -> str:
    """Return a folder with links to the first `count` videos."""
    chosen = Path(folder) / f"videos{count}"
    chosen.mkdir(exist_ok=True)
    for video in sorted(arguments.videos.iterdir())[:count]:
        if not (chosen / video.name).exists():
            (chosen / video.name).symlink_to(video.resolve())
    return str(chosen)


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Run `python -m` with a command; return its seconds by the clock and of the processor."""
    began_s, busy_s = time.perf_counter(), children_s()
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began_s, children_s() - busy_s


def children_s() -> float:
    """Return the processor time of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print_anything()
    main()
