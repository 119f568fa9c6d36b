"""The command `model import-released`: its arguments and its run."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.runtime.arguments import (
    add_codec,
    add_settings,
    add_shards,
    generate_command,
    settings_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model import-released`."""
    add_shards(parser, help="the data set to use the weights on")
    parser.add_argument("--level", choices=["high", "low"], help="the codec level (default: high)")
    parser.add_argument(
        "--motion-encoder", type=Path, help="mencoder.pt (omit with use_motion=false)"
    )
    parser.add_argument("--generator", type=Path, required=True, help="netG.pt")
    add_settings(parser, "change the preset `code`, e.g. use_genre=false for TikTok")
    add_codec(parser)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the released weights as a run at step 0."""
    from model.contract.dataset import load_dataset
    from model.families.d2m_gan.config import load_config
    from model.training.import_released import import_released

    config = load_config("code", None, settings_of(arguments, "level"))
    weights = (arguments.motion_encoder, arguments.generator)
    import_released(arguments.shards, arguments.out, config, *weights, arguments.codec)
    dataset = load_dataset(arguments.shards)
    command = generate_command(arguments.out, arguments.shards, dataset)
    print(f"{arguments.out}: next: {command}")
    return 0
