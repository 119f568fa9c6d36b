"""What the options of `pipeline` take, and the error of a contradictory command line."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from model.contract.exit_codes import UsageError

__all__ = [
    "UsageError",
    "folder_or_address",
    "local",
    "local_out",
    "natural",
    "positive",
    "seconds",
    "share",
]
N = TypeVar("N", int, float)


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    return _number(text, int, 1, sys.maxsize, "a whole number, 1 or more")


def natural(text: str) -> int:
    """Return a whole number of 0 or more."""
    return _number(text, int, 0, sys.maxsize, "a whole number, 0 or more")


def seconds(text: str) -> float:
    """Return a finite number of seconds, 0 or more."""
    return _number(text, float, 0.0, sys.float_info.max, "a number of seconds, 0 or more")


def share(text: str) -> float:
    """Return a share from 0 to 1."""
    return _number(text, float, 0.0, 1.0, "a share between 0 and 1, as 0.2 for 20 %")


def _number(text: str, kind: Callable[[str], N], least: N, most: N, words: str) -> N:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise ArgumentTypeError(f"{text}: expected {words}")
    return value


def local(text: str) -> Path:
    """Return a path of this machine; an address would become a folder called `s3:`."""
    if "://" in text:
        raise ArgumentTypeError(
            f"{text}: is an address, expected a path on this machine; only verify --shards and "
            "publish --to take addresses"
        )
    return Path(text)


def local_out(text: str) -> Path:
    """Return a path of this machine to build into."""
    if "://" in text:
        raise ArgumentTypeError(
            f"{text}: is an address, expected a folder on this machine; build into a folder, then: "
            f"pipeline publish --shards FOLDER --to {text}"
        )
    return Path(text)


def folder_or_address(text: str) -> Path | str:
    """Return an address as it is, and anything else as a path."""
    return text if "://" in text else Path(text)
