"""What the build adds to a short clip, in processor time: beside a plain script, in one process.

    python benchmarks/short_clips.py [--clips 200] [--times 5]

Clips of 2.2 s, 64 x 48 px, equal in picture and sound and different as files, are built with the
local engine, without features, and by a plain script that only decodes, mixes, resamples, cuts and
writes tars (that of `scale.py`), in turn. Everything that the build does counts: listing, hashes,
checks, the ledger, shards and the report. Prints each pair, and the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scale import make_clips, plain

from model.contract.terminal import print_anything
from pipeline.build import BuildOptions, build
from pipeline.features.motion.base import Motion
from pipeline.features.visual.base import Visual
from pipeline.sources.folder import Folder


def main() -> None:
    """Build and write the same clips in turn; print milliseconds of the processor for each clip."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--times", type=int, default=5, help="how often each is measured")
    arguments = parser.parse_args()
    count, taken = arguments.clips, []
    with TemporaryDirectory() as folder:
        root = Path(folder)
        make_clips(root / "clips", count)
        paths = sorted((root / "clips").iterdir())
        built_ms(root / "clips", root / "first", count)  # imports are not counted
        for number in range(arguments.times):
            began_s = time.process_time()
            plain(paths, "none", root / "plain.tar")
            plain_ms = 1000 * (time.process_time() - began_s) / count
            taken.append((plain_ms, built_ms(root / "clips", root / f"out{number}", count)))
            print("plain {:.1f} ms, build {:.1f} ms a clip".format(*taken[-1]), flush=True)
    plain_ms, build_ms = np.median(taken, axis=0)
    ratio = np.median([one / other for one, other in taken])
    print(f"medians: plain {plain_ms:.1f} ms, build {build_ms:.1f} ms; plain / build {ratio:.2f}")


def built_ms(source: Path, out: Path, count: int) -> float:
    """Build the clips of a folder; return the milliseconds of the processor for each."""
    options = BuildOptions(
        Folder(str(source)), out, [Motion("none"), Visual("none")], engine="local"
    )
    began_s = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        build(options)
    return 1000 * (time.process_time() - began_s) / count


if __name__ == "__main__":
    print_anything()
    main()
