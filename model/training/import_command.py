"""The command `model import-released`: its arguments and its run."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.contract.exit_codes import UsageError
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
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--generator", type=Path, help="netG.pt, of D2M-GAN")
    files.add_argument(
        "--encoders",
        type=Path,
        metavar="FILE",
        help="the encoders of textual inversion for MusicGen",
    )
    parser.add_argument(
        "--base", metavar="MODEL", help="with --encoders: the MusicGen, as for `model train`"
    )
    add_settings(parser, "change the preset, e.g. use_genre=false for TikTok")
    add_codec(parser)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the released weights as a run at step 0."""
    from model.contract.dataset import load_dataset

    if arguments.encoders is not None:
        _encoders(arguments)
    else:
        _generator(arguments)
    dataset = load_dataset(arguments.shards)
    command = generate_command(arguments.out, arguments.shards, dataset)
    print(f"{arguments.out}: next: {command}")
    return 0


def _generator(arguments: argparse.Namespace) -> None:
    if arguments.base is not None:
        raise UsageError("--base: D2M-GAN has no text-to-music model; it goes with --encoders")
    from model.families.d2m_gan.config import load_config
    from model.training.import_released import import_released

    config = load_config("code", None, settings_of(arguments, "level"))
    weights = (arguments.motion_encoder, arguments.generator)
    import_released(arguments.shards, arguments.out, config, *weights, arguments.codec)


def _encoders(arguments: argparse.Namespace) -> None:
    from model.families.inversion.config import PRESETS, Config
    from model.runtime.settings import load
    from model.training.import_released import import_encoders

    if arguments.level or arguments.motion_encoder:
        raise UsageError("--level and --motion-encoder go with --generator, of D2M-GAN")
    config = load(Config(), settings_of(arguments, "base"), None, "paper", PRESETS)
    import_encoders(arguments.shards, arguments.out, config, arguments.encoders, arguments.codec)
