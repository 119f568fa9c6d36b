"""Results of earlier versions: a file `<root>/<stage>/<2 hex>/<key>.npz` for each."""

from __future__ import annotations

import errno
import json
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

DAMAGED = (
    *(ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, SyntaxError, TokenError),
)
"""Exceptions that reading such a file can raise if it is damaged."""


def old_path(root: Path, stage: str, key: str) -> Path:
    return root / stage / key[:2] / f"{key}.npz"


def old_results(root: Path) -> Iterator[tuple[str, str]]:
    """Yield stage and key of every such result."""
    for path in sorted(root.glob("*/*/*.npz")):
        yield path.parts[-3], path.stem


def read_old(path: Path, with_arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Return note and arrays of a file; None if it is missing.

    A damaged file is reported and deleted.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            note = json.loads(stored["_note"].tobytes())
            names = [name for name in stored.files if name != "_note"] if with_arrays else []
            arrays = {name: stored[name] for name in names}
        return {"facts": dict(note["facts"]), "outcome": note["outcome"], **note}, arrays
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # a disk error; seeking beyond the end of the file gives EINVAL
        print(f"{path}: damaged ({error}); it will be computed again", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
