"""Write the synthetic benchmark: `python -m pipeline.sources.synthetic DIR`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from model.contract.segment import SPLITS
from model.contract.terminal import print_anything
from pipeline.sources.synthetic import plan, write_annotations, write_music, write_video
from pipeline.sources.synthetic.jobs import write_each


def main(argv: Sequence[str] | None = None) -> int:
    """Write videos and annotations, or with --music-only the songs; keep videos that exist."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.sources.synthetic", description=__doc__
    )
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument(
        "--limit", type=int, help="write only the first N videos (default: all 600)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--duration-s", type=float, default=8.0)
    parser.add_argument("--split", choices=SPLITS, help="of these, write only this split")
    parser.add_argument("--music-only", action="store_true", help="write only DIR/wav/<song>.wav")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes that write videos")
    options = parser.parse_args(argv)
    try:
        specs = plan(options.limit, options.seed, options.duration_s)
    except ValueError as error:
        parser.error(str(error))
    specs = [spec for spec in specs if options.split in (None, spec.split)]
    if options.music_only:
        write_music(specs, options.root)
        return 0
    write_annotations(specs, options.root)
    write_each(write_video, specs, options.root, options.jobs)
    return 0


if __name__ == "__main__":
    print_anything()
    raise SystemExit(main())
