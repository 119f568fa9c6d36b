"""Command-line arguments that several commands of `model` share, and their conversion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.contract.exit_codes import UsageError
from model.contract.storage import to_location
from model.contract.weighted import Weighted, to_weighted

if TYPE_CHECKING:
    import torch

    from model.contract.dataset import Dataset


def add_shards(parser: Any, required: bool = True, **more: Any) -> None:
    """Add `--shards`, the folder or URL of a data set; `parser` may be an argument group."""
    parser.add_argument("--shards", type=to_location, required=required, metavar="DIR", **more)


def weighted(text: str) -> Weighted:
    """Convert an argument DIR or DIR=WEIGHT."""
    try:
        return to_weighted(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_run(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add `--run`, the folder of a trained or exported run, or the name of the shipped one."""
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        required=required,
        metavar="DIR",
        help="folder of a run",
    )


def add_codec(
    parser: argparse.ArgumentParser, default: str = "the one that made the codes"
) -> None:
    """Add `--codec`; `default` describes the codec used without it."""
    from model.contract.kinds import CODECS

    names = ", ".join(CODECS.names())
    parser.add_argument("--codec", help=f"{names} or PATH (default: {default})")


def add_settings(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--set`, with the help text `what`."""
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help=what
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def device_of(name: str) -> torch.device:
    """Return the torch device; "auto" is the GPU if there is one, else the CPU."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU on this machine")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def settings_of(arguments: argparse.Namespace, *names: str) -> list[str]:
    """Return the settings of --set and of options that set one, such as --level, as `key=value`.

    Raises UsageError if --set and the option give different values.
    """
    settings = list(arguments.settings)
    for name in names:
        if (value := getattr(arguments, name)) is None:
            continue
        for key, _, text in (setting.partition("=") for setting in arguments.settings):
            if key.strip() == name and text.strip() != str(value):
                raise UsageError(f"--{name} {value} and --set {key}={text}: give one of them")
        settings.append(f"{name}={value}")
    return settings


def generate_command(run: object, shards: object, dataset: Dataset) -> str:
    """Return the command that generates music for a data set's last split (test, if it has one)."""
    return f"model generate --run {run} --shards {shards} --split {dataset.last_split} --out DIR"
