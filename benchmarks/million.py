"""Build N inputs of a few bytes, then run the same command again: what does the driver take?

    python benchmarks/million.py [--inputs 1000 100000] [--folder DIR]

Listing, hashing, manifest, ledger, shards and report are the real ones, with `--engine local`. Only
the cutting of a video is replaced (a window of four samples, so nothing is decoded), and there is a
feature of one number. Each build is a process of its own.
Printed: seconds by the clock and of a core; the peak of its memory above what it had when all was
imported, in all and for each input; the files in `--out`, and most in one folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import pipeline.features.run
import pipeline.output.finished
import pipeline.report.report
from model.contract.terminal import print_anything
from pipeline.build import BuildOptions, build
from pipeline.features.base import SegmentArray
from pipeline.features.extract import Extract
from pipeline.features.motion.base import Motion
from pipeline.features.visual.base import Visual
from pipeline.sources.folder import Folder

IN_FOLDER = 1000


@dataclass(frozen=True)
class Stub(SegmentArray):
    """One number for each segment."""

    name: ClassVar[str] = "stub"
    shape: ClassVar[tuple[int, ...]] = (1,)

    def compute(self, video: Path, windows: Any, loaded: Any) -> np.ndarray:
        return np.zeros((len(windows), 1), np.float32)


class Cut(Extract):
    """The stage without decoding."""

    def _cut(self, row: Any, video: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        facts = {"starts_s": ["0"], "gains": [1.0], "padded_ms": [0.0], "silent_segments": []}
        facts |= {"dropped_s": row.bytes / 100, "audio_tracks": 1}
        return {"pcm": np.ones((1, 4), np.int16)}, facts


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--folder", type=Path, help="for inputs and builds (default: temporary)")
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(*arguments.one)))
        return
    print(
        "| inputs | build | s | core, s | above start, MB | bytes an input | files | in a folder |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for count in arguments.inputs:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            make_inputs(Path(folder) / "in", count)
            for which in ("first", "again"):
                found = run(Path(folder) / "in", Path(folder) / "out")
                files, most = counted(Path(folder) / "out")
                print(
                    f"| {count} | {which} | {found['s']:.1f} | {found['core_s']:.1f} "
                    f"| {found['bytes'] / 1e6:.1f} | {found['bytes'] / count:.0f} "
                    f"| {files} | {most} |",
                    flush=True,
                )


def make_inputs(folder: Path, count: int) -> None:
    """Write files of eight bytes, all different, a thousand in each folder."""
    for start in range(0, count, IN_FOLDER):
        here = folder / f"{start // IN_FOLDER // 100:03d}" / f"{start // IN_FOLDER % 100:02d}"
        here.mkdir(parents=True)
        for number in range(start, min(count, start + IN_FOLDER)):
            (here / f"clip{number:08d}.mp4").write_bytes(number.to_bytes(8, "big"))


def run(source: Path, out: Path) -> dict[str, float]:
    """Build in a process of its own."""
    words = [sys.executable, __file__, "--one", str(source), str(out)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def measured(source: Path, out: Path) -> dict[str, float]:
    """Build here, and return seconds and bytes of memory."""

    pipeline.features.run.Extract = Cut  # type: ignore
    for room in (pipeline.report.report, pipeline.output.finished):
        room.MAX_JSON_ROWS = 0  # the fewer inputs go the way of a million
    options = BuildOptions(
        Folder(source), out, [Motion("none"), Visual("none"), Stub()], engine="local"
    )
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    start = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024
    began_s, began_core_s = time.monotonic(), time.process_time()
    report = build(options)
    seconds, core_s = time.monotonic() - began_s, time.process_time() - began_core_s
    assert report.counts["ok"] == len(report.rows), report.counts
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"s": seconds, "core_s": core_s, "bytes": peak - start}


def counted(folder: Path) -> tuple[int, int]:
    """Return the number of files under a folder, and the most in one folder."""
    counts = [len(files) for _, _, files in os.walk(folder)]
    return sum(counts), max(counts)


if __name__ == "__main__":
    main()
