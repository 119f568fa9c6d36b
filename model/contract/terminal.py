"""What both commands share: printing in any terminal encoding, and `--version`."""

from __future__ import annotations

import argparse
import io
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version


def print_anything() -> None:
    r"""From now on, print characters missing in the output's encoding as escapes (`\u30c0`).

    Otherwise a file name, or an ellipsis in a message, would end the command with an error where
    the encoding is not UTF-8. A file name with invalid bytes would do so in any encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def add_version(
    parser: argparse.ArgumentParser,
    packages: Sequence[str],
    more: Callable[[], list[str]] = list,
) -> None:
    """Add `--version`: the project, Python, `packages`, and the lines of `more`."""
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        const=(packages, more),
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="print the versions of dance2music and of the packages that it uses",
    )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        packages, more = self.const
        lines = [f"dance2music {_version('dance2music')}", f"python {platform.python_version()}"]
        lines += [f"{package} {_version(package)}" for package in packages]
        print("\n".join([*lines, *more()]))
        parser.exit()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
