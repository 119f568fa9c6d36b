"""The `model` command: its commands, whose arguments sit in their rooms.

Heavy imports wait inside the commands: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib import import_module

from model.contract.exit_codes import CODES, exits
from model.contract.terminal import add_version, print_anything

PACKAGES = ("torch", "numpy", "librosa", "soundfile", "webdataset", "fsspec")
"""What results depend on, for `--version`."""

COMMANDS = {
    "train": ("model.training.command", "train a generator on a shard folder"),
    "generate": ("model.generation.command", "music for a video, or for a split of shards"),
    "evaluate": ("model.evaluation.command", "score a run beside controls, or print all runs"),
    "info": ("model.training.info", "what a run was trained with, and how far it is"),
    "import-released": (
        "model.families.d2m_gan.import_command",
        "make a run of the authors' released weights",
    ),
    "train-codec": ("model.codecs.jukebox.command", "train a JukeBox VQ-VAE"),
    "finetune-synthesizer": (
        "model.training.finetune_command",
        "fine-tune a codec's decoder on shards",
    ),
    "mos": ("model.listening.command", "the listening test"),
}
"""Each command's module, whose `add_arguments` takes its parser, and its help."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with one of `exits.CODES`."""
    print_anything()
    arguments = parser().parse_args(argv)
    # Threads that spin while they wait slow a step tenfold where other work has the cores.
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
    for name, (module, words) in COMMANDS.items():
        import_module(module).add_arguments(commands.add_parser(name, help=words))
    return top
