"""The command `model finetune-synthesizer`: its arguments and its run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model.runtime.arguments import (
    add_codec,
    add_device,
    add_settings,
    add_shards,
    device_of,
    generate_command,
    settings_of,
)

LOWER = "lower batch_size or judged_samples (--set KEY=VALUE)"
"""Advice when memory runs out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `model finetune-synthesizer`."""
    add_shards(parser, help="a data set with codes")
    add_codec(parser)
    parser.add_argument("--level", choices=["high", "low"], help="codec level (default: high)")
    parser.add_argument("--steps", type=int, help="total number of steps (default: 10000)")
    parser.add_argument("--out", type=Path, help="folder (default: runs/DATASET-LEVEL-synthesizer)")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    add_settings(parser, "one setting; may be repeated")
    add_device(parser)
    parser.set_defaults(run=run, lower=LOWER)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, or resume, and print the result and the next command."""
    from model.contract.dataset import load_dataset
    from model.runtime.settings import load
    from model.training.finetune_config import SynthesizerConfig

    config = load(SynthesizerConfig(), settings_of(arguments, "level", "steps"))
    dataset = load_dataset(arguments.shards)
    out = arguments.out or Path("runs") / f"{dataset.name}-{config.level}-synthesizer"

    from model.runtime.signals import Interrupted
    from model.training.finetune_decoder import CODEC, finetune

    device = device_of(arguments.device)
    try:
        state = finetune(
            arguments.shards, out, config, arguments.codec, arguments.resume, device
        )  # fmt: skip
    except Interrupted as stop:
        print(f"{out}: {stop}", file=sys.stderr)
        return 130
    if not (out / CODEC).is_file():
        raise ValueError(
            f"{out}: no codec written: in {state.step} steps the mel distance on val never fell "
            f"below its initial value {state.first_mel:.4f}; use more --steps, or other learning "
            "rates"
        )
    if dataset.segments("val"):
        print(f"mel distance on val: {state.first_mel:.4f} before, {state.best_mel:.4f} after")
    following = generate_command("RUN", arguments.shards, dataset)
    print(f"{out / CODEC}: done; next: {following} --codec {out / CODEC}")
    return 0
