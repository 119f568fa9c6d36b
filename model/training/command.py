"""The command `model train`: its arguments and its run."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from model.contract.exit_codes import UsageError
from model.contract.kinds import D2M_GAN, FAMILIES
from model.runtime.arguments import (
    add_codec,
    add_device,
    add_settings,
    device_of,
    generate_command,
    settings_of,
    weighted,
)

LOWER = "lower batch_size or val_segments (--set KEY=VALUE)"
"""Advice when memory runs out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model train`."""
    parser.add_argument(
        "--shards",
        type=weighted,
        nargs="+",
        action="extend",
        metavar="DIR[=WEIGHT]",
        help="folder (or URL) with dataset.json; several are trained on together, and WEIGHT "
        "(default: 1) is how many times an epoch passes over one",
    )
    parser.add_argument(
        "--family",
        type=FAMILIES.choice(),
        metavar="NAME",
        help=f"family of generators: {', '.join(FAMILIES.names())} (default: {D2M_GAN}; with "
        "--resume, that of the run)",
    )
    parser.add_argument(
        "--level",
        help="codec level, such as high or low (default: high); for tokens (default) and masked "
        "also both",
    )
    parser.add_argument(
        "--music",
        metavar="DIR",
        help="music without dances to learn from as well, for tokens: a folder of audio files, or "
        "of shards",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="for inversion: the frozen text-to-music model, a folder in transformers' format or a "
        "name in the Hugging Face cache (default: facebook/musicgen-small)",
    )
    parser.add_argument(
        "--init",
        metavar="RUN",
        help="begin with the weights of a run, an exported one or demo, as far as they fit: to "
        "train it further on other data",
    )
    parser.add_argument(
        "--preset",
        help="preset of settings; for D2M-GAN: paper (default), code, tiny; for tokens: base "
        "(default), tiny; for masked: base (default), tiny, cdcd; for inversion: paper (default), "
        "tiny",
    )
    parser.add_argument("--config", type=Path, help="YAML file of settings, overrides the preset")
    add_settings(parser, "one setting, overrides the file; may be repeated")
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/DATASET-LEVEL)")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the run's last checkpoint"
    )
    add_codec(parser)
    add_device(parser)
    parser.set_defaults(run=run, lower=LOWER)


def run(arguments: argparse.Namespace) -> int:
    """Train, or resume a run, and print the next command."""
    from model.runtime.settings import load

    if arguments.shards is None:
        raise UsageError(
            "no data: give --shards DIR, a folder written by `pipeline build` and "
            "`pipeline extract-codes`, e.g. model train --shards shards/synthetic --preset tiny"
        )
    settings = settings_of(arguments, "level", "music", "base", "init")
    family = arguments.family or _recorded_family(arguments) or D2M_GAN
    kind = FAMILIES.get(family)
    known = {field.name for field in fields(kind.Config)}
    if arguments.music and "music" not in known:
        raise UsageError(
            f"--music: family {family} learns from dances only; --family tokens also learns from "
            "music without dances"
        )
    if arguments.base and "base" not in known:
        raise UsageError(
            f"--base: family {family} has no text-to-music model; --family inversion has one"
        )
    preset = arguments.preset or next(iter(kind.PRESETS), None)
    config = load(kind.Config(), settings, arguments.config, preset, kind.PRESETS)

    from model.data.several import joined, load_all

    dataset = joined(load_all(arguments.shards))

    from model.runtime.distributed import PeerFailed, launched
    from model.runtime.signals import Interrupted
    from model.training.loop import train

    first = not launched() or os.environ["RANK"] == "0"
    levels = "-".join(kind.levels_of(config)) or family
    out = arguments.out or Path("runs") / f"{dataset.name}-{levels}"
    device = device_of(arguments.device)
    try:
        train(
            arguments.shards, out, config, arguments.codec, arguments.resume, device, family,
        )  # fmt: skip
    except PeerFailed as failure:
        if str(failure):
            print(f"{out}: {failure}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        if first:
            print(f"{out}: {stop}", file=sys.stderr)
        return 130
    if first:
        command = generate_command(out, arguments.shards[0].root, dataset)
        print(f"{out}: done; next: {command}")
    return 0


def _recorded_family(arguments: argparse.Namespace) -> str:
    """Return the family of the run to be resumed; "" if --out has no such run."""
    from model.runtime.checkpoint import LAST, family_of

    if not arguments.resume or arguments.out is None or not (arguments.out / LAST).is_file():
        return ""
    return family_of(arguments.out / LAST)
