"""`model train-codec`: its arguments, and one process per level."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from model.jukebox.settings import CodecConfig, override


def add_arguments(parser: argparse.ArgumentParser) -> None:
    music = parser.add_mutually_exclusive_group(required=True)
    music.add_argument("--shards", type=Path, metavar="DIR", help="a built dataset: its music")
    music.add_argument("--audio", type=Path, metavar="DIR", help="a folder of music files")
    parser.add_argument("--levels", nargs="+", choices=("high", "low", "bottom"), metavar="LEVEL",
                        help="high, low, bottom (default: high low)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/codec"), metavar="DIR")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoints")


def run(args: argparse.Namespace) -> int:
    """Train the levels and write `codec.safetensors`; return the exit code."""
    try:
        config = override(CodecConfig(), args.settings)
        if args.levels:
            config = replace(config, levels=tuple(args.levels))
        train(config, args.audio, args.shards, args.out, args.resume)
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        print(f"train-codec: {error}", file=sys.stderr)
        return 1
    return 0


def train(
    config: CodecConfig, audio: Path | None, shards: Path | None, out: Path, resume: bool = False
) -> Path:
    """Train each level on its own and return the path of the codec of all of them."""
    from model.jukebox.train import merge, train_level

    jobs = [(config, level, audio, shards, out / level, resume) for level in config.levels]
    if config.processes == 1 or len(jobs) == 1:
        parts = [train_level(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(config.processes, get_context("spawn")) as pool:
            futures = [pool.submit(train_level, *job) for job in jobs]
            parts = [future.result() for future in futures]
    merge(parts, out / "codec.safetensors", config.name, config.note)
    print(f"wrote {out / 'codec.safetensors'}")
    return out / "codec.safetensors"
