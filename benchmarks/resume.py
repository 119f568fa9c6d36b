"""Build clips of a minute, then run the same command again: what does a finished build ask for?

    python benchmarks/resume.py [--clips 100] [--seconds 60] [--runs 3]

The clips are equal in picture and sound and different as files, built with `--visual none
--engine local`. Printed of each run, in this process: seconds by the clock and of a core, and how
much it read.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from pipeline.cli import main as pipeline
from pipeline.media.ffmpeg import encode


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        make_clips(Path(folder) / "videos", arguments.clips, arguments.seconds)
        print(
            f"{arguments.clips} clips of {arguments.seconds} s\n\n| run | s | core, s | read, MB |"
        )
        print("|---|---|---|---|")
        for number in range(1 + arguments.runs):
            seconds, core_s, read_mb = build(Path(folder))
            row = f"| {number or 'first'} | {seconds:.2f} | {core_s:.2f} | {read_mb:.0f} |"
            print(row, flush=True)


def make_clips(folder: Path, clips: int, seconds: int) -> None:
    """Write one clip and, as copies with a number behind the last box, all others."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(10 * seconds))
    sound = rng.uniform(-0.5, 0.5, SAMPLE_RATE_HZ * seconds).astype(np.float32)
    first = folder / "0000.mp4"
    encode(frames, Fraction(10), (64, 48), sound, SAMPLE_RATE_HZ, first)
    for number in range(1, clips):
        free = (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")
        (folder / f"{number:04d}.mp4").write_bytes(first.read_bytes() + free)


def build(folder: Path) -> tuple[float, float, float]:
    """Run the command; return seconds by the clock and of a core, and the MB read."""
    options = ["build", "--dataset", "folder", "--source", str(folder / "videos")]
    options += ["--out", str(folder / "shards"), "--visual", "none", "--engine", "local"]
    before, started_s, core_s = read_bytes(), time.monotonic(), time.process_time()
    try:
        with redirect_stdout(sys.stderr):
            pipeline(options)
    except SystemExit as end:
        assert not end.code, end.code
    core_s = time.process_time() - core_s
    return time.monotonic() - started_s, core_s, (read_bytes() - before) / 1e6


def read_bytes() -> int:
    """Return how many bytes this process has read so far."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


if __name__ == "__main__":
    main()
