"""The `model` command and its subcommands; each folder declares the arguments of its own.

Heavy packages are imported inside the subcommands, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib import import_module

from model.contract.exit_codes import CODES, exits
from model.contract.terminal import add_version, print_anything

PACKAGES = ("torch", "numpy", "librosa", "soundfile", "webdataset", "fsspec")
"""The packages that results depend on, for `--version`."""

COMMANDS = {
    "train": ("model.training.command", "train a generator on a shard folder"),
    "generate": ("model.generation.command", "generate music for a video, or a split of shards"),
    "evaluate": ("model.evaluation.command", "score a run and baselines, or print all runs"),
    "baseline": ("model.baselines.command", "train what the paper compares with, and play it"),
    "export": ("model.generation.export", "write a run for generation only, to share it"),
    "info": ("model.training.info", "show the settings, data and progress of a run"),
    "import-released": (
        "model.training.import_command",
        "turn the authors' released weights into a run",
    ),
    "train-codec": ("model.codecs.training.command", "train a JukeBox VQ-VAE or an EnCodec"),
    "train-text": ("model.text_to_music.command", "train a small text-to-music model"),
    "finetune-synthesizer": (
        "model.training.finetune_command",
        "fine-tune a codec's decoder on shards",
    ),
    "mos": ("model.listening.command", "prepare, serve and report a listening test"),
    "studio": ("model.studio.command", "serve a local page to make music and to look at data"),
}
"""Each subcommand's module, whose `add_arguments` takes its parser, and its help text."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with one of `exits.CODES`."""
    print_anything()
    arguments = parser().parse_args(argv)
    # By default OpenMP threads spin while they wait. If other work uses the cores, that makes a
    # training step ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with exits(getattr(arguments, "lower", "free some")):
        raise SystemExit(arguments.run(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the command line of `model`."""
    top = argparse.ArgumentParser(
        prog="model",
        description="Train generators on shards and make music for dance.",
        epilog=CODES,
    )
    add_version(top, PACKAGES)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        import_module(module).add_arguments(commands.add_parser(name, help=summary))
    return top
