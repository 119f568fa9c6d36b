"""What both commands do for any terminal: print whatever its encoding, and list versions."""

from __future__ import annotations

import argparse
import io
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version


def print_anything() -> None:
    r"""Print what the terminal's or log's encoding lacks as an escape (`\u30c0`) from now on.

    Otherwise a file name, or an ellipsis of our own, ends a command where that is not UTF-8; and a
    file name that is no text at all does everywhere.
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
        help="print the versions of this and of what it uses",
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
