"""Types for the options of `pipeline`, and the options that several commands share."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from model.contract.exit_codes import UsageError
from pipeline.engine.time_limit import ITEM_LIMIT_S

EXIT_CODES = (
    "exit codes: 0 done; 1 error; 2 wrong usage; 3 finished, but more failed than --max-failed "
    "allows, or nothing was made; 130 interrupted"
)
N = TypeVar("N", int, float)
Place = TypeVar("Place", bound=Path | str)


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
    return _number(text, float, 0.0, 1.0, "a share between 0 and 1, such as 0.2 for 20 %")


def _number(text: str, kind: Callable[[str], N], least: N, most: N, words: str) -> N:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise ArgumentTypeError(f"{text}: expected {words}")
    return value


def local(text: str) -> Path:
    """Return a path on this machine.

    An address is refused: as a path, it would become a folder called `s3:`.
    """
    if "://" in text:
        raise ArgumentTypeError(
            f"{text}: is an address, expected a path on this machine; only verify --shards and "
            "publish --to take addresses"
        )
    return Path(text)


def local_out(text: str) -> Path:
    """Return a path on this machine to build into; an address is refused."""
    if "://" in text:
        raise ArgumentTypeError(
            f"{text}: is an address, expected a folder on this machine; build into a folder, then: "
            f"pipeline publish --shards FOLDER --to {text}"
        )
    return Path(text)


def folder_or_address(text: str) -> Path | str:
    """Return an address unchanged, and anything else as a path."""
    return text if "://" in text else Path(text)


ENGINES = ("auto", "ray", "local")
ENGINE_HELP = (
    "where stages run: ray (several processes), local (this process), or auto (default): local for "
    "a few short videos, else ray"
)


def add_engine(sub: ArgumentParser) -> None:
    """Add the options that choose where stages run."""
    sub.add_argument("--engine", default="auto", choices=ENGINES, help=ENGINE_HELP)
    sub.add_argument("--address", help="a running Ray cluster: auto or ray://HOST:PORT")


def add_limit(sub: ArgumentParser) -> None:
    """Add the option that limits the time for one video."""
    sub.add_argument(
        "--item-limit-s",
        type=seconds,
        default=ITEM_LIMIT_S,
        help="seconds that one stage may work on one video (default 3600), 0 for no limit",
    )


def add_audio_track(sub: ArgumentParser) -> None:
    """Add the option that chooses the sound track of each file."""
    sub.add_argument(
        "--audio-track",
        type=positive,
        default=0,
        metavar="N",
        help="the N-th sound track of each file, from 1 (default: the one it marks as default)",
    )


def add_shards(sub: ArgumentParser) -> None:
    """Add the option that names a shard folder; `shard_folder` interprets its value."""
    sub.add_argument("--shards", type=local, help="shard folder (default: the one in shards/)")


def shard_folder(given: Place | None, file: str = "dataset.json") -> Place | Path:
    """Return the given shard folder (or address), or the only folder that contains `file`.

    Raises UsageError if `given` is a file, and ValueError if it is not clear which folder is meant.
    """
    if isinstance(given, Path) and given.is_file():
        raise UsageError(f"--shards {given}: a file; name its folder: --shards {given.parent}")
    if given is not None:
        return given
    folders = (path.parent for path in Path("shards").glob(f"*/{file}"))
    found = sorted(folder for folder in folders if not folder.name.startswith("."))
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, found)) or "none in shards/; run pipeline build first"
    raise ValueError(f"which shards? name one with --shards DIR ({names})")


def share_code(share: float, most: float) -> int:
    """Return the exit code for a share of failed inputs; print the reason if it is too large."""
    if share <= most:
        return 0
    print(f"exit 3: {share:.1%} failed, more than --max-failed {most:.1%}", file=sys.stderr)
    return 3
