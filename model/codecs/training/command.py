"""The command `model train-codec`: its arguments; each architecture trains in its own folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model.codecs.training.config import LOWER
from model.contract.exit_codes import UsageError
from model.contract.storage import to_location
from model.runtime.signals import Interrupted

JUKEBOX, ENCODEC = "jukebox", "encodec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model train-codec`."""
    archs = f"{JUKEBOX}: a VQ-VAE for each level (default); {ENCODEC}: residual codebooks"
    parser.add_argument("--arch", choices=(JUKEBOX, ENCODEC), default=JUKEBOX, help=archs)
    music = parser.add_mutually_exclusive_group(required=True)
    music.add_argument("--shards", type=to_location, metavar="DIR", help="a data set: its music")
    music.add_argument("--audio", type=Path, metavar="DIR", help="a folder of music files")
    parser.add_argument("--levels", nargs="+", choices=("high", "low", "bottom"), metavar="LEVEL",
                        help="jukebox: high, low, bottom (default: high low)")  # fmt: skip
    parser.add_argument("--preset", help="encodec: small (default), tiny or musicgen")
    parser.add_argument("--out", type=Path, default=Path("runs/codec"), metavar="DIR")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoints")
    parser.set_defaults(run=run, lower=LOWER)


def run(args: argparse.Namespace) -> int:
    """Train a codec and return the exit code."""
    if args.arch == JUKEBOX and args.preset is not None:
        raise UsageError(f"--preset {args.preset}: is for --arch {ENCODEC}; leave it out")
    if args.arch == ENCODEC and args.levels:
        raise UsageError(f"--levels {' '.join(args.levels)}: is for --arch {JUKEBOX}; leave it out")
    try:
        if args.arch == ENCODEC:
            from model.codecs.encodec.command import run as train
        else:
            from model.codecs.jukebox.command import run as train
        train(args)
    except Interrupted as stop:
        print(f"{args.out}: {stop}", file=sys.stderr)
        return 130
    return 0
