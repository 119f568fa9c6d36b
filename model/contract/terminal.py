"""What the command does for any terminal: print whatever its encoding, and tell versions."""

from __future__ import annotations

import argparse
import io
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "numpy", "librosa", "soundfile", "webdataset", "fsspec")


def print_anything() -> None:
    r"""Print what the terminal's or log's encoding lacks as an escape (`\u30c0`) from now on.

    Otherwise a file name, or an ellipsis of our own, ends a command where that is not UTF-8; and a
    file name that is no text at all does everywhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Version(argparse.Action):
    """`--version`: of the project, and of the packages that its results depend on."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        lines = [f"dance2music {_version('dance2music')}", f"python {platform.python_version()}"]
        lines += [f"{package} {_version(package)}" for package in PACKAGES]
        print("\n".join(lines))
        parser.exit()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
