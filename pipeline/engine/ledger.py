"""Stored results of every stage for every input, so that a killed build can continue.

The key of a result is the hash of (input content, stage, configuration, weights). A changed setting
changes only the keys of the results that depend on it. A result is written to a temporary file and
then renamed, so a stored result is always complete.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from model.contract.files import write_atomic
from pipeline.engine.outcome import Outcome

STAGE_VERSIONS = {
    "cut": 2,
    "motion": 2,
    "pose": 1,
    "visual": 2,
    "codes": 1,
    "notes": 1,
    "curate": 2,
    "people": 1,
    "voices": 1,
}
"""Raise a stage's number when its code gives other results: older results are computed again."""
JUDGED_BY = 2
"""Raise it when inputs that failed may now pass: stored failures are then tried again."""
DAMAGED = (
    *(ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, SyntaxError, TokenError),
)
"""Exceptions that reading a stored result can raise if the file is damaged."""


@dataclass(frozen=True)
class Result:
    """What a stage computed for an input (arrays and facts), or the input's final outcome."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Ledger:
    """Results in a folder: `<root>/<stage>/<2 hex>/<key>.npz`."""

    root: Path

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key[:2] / f"{key}.npz"

    def has(self, stage: str, key: str) -> bool:
        return self.path(stage, key).is_file()

    def write(
        self,
        stage: str,
        key: str,
        arrays: Mapping[str, np.ndarray],
        facts: Mapping[str, Any],
        outcome: Outcome | None = None,
    ) -> None:
        """Store a result. A retryable outcome is not stored: the next run tries the input again."""
        if outcome is not None and outcome.retryable:
            return
        note: dict[str, Any] = {"facts": dict(facts), "outcome": outcome and asdict(outcome)}
        note |= {"judged_by": JUDGED_BY} if outcome else {}
        buffer = io.BytesIO()
        text = np.frombuffer(json.dumps(note, sort_keys=True).encode(), dtype=np.uint8)
        members: dict[str, Any] = {"_note": text, **arrays}  # Any: savez has an option beside them
        np.savez(buffer, **members)
        write_atomic(self.path(stage, key), buffer.getvalue())

    def read(self, stage: str, key: str) -> Result | None:
        """Return the stored result. Return None if it is missing, or a failure under older rules.

        The rules are older if JUDGED_BY had another number. A damaged result is reported and
        deleted.
        """
        return self._read(stage, key, with_arrays=True)

    def facts(self, stage: str, key: str) -> Result | None:
        """Return the same as `read`, but do not read the arrays; `arrays` is empty.

        This finds damage to the file's structure or to the facts. Only `read` finds damage to an
        array.
        """
        return self._read(stage, key, with_arrays=False)

    def _read(self, stage: str, key: str, with_arrays: bool) -> Result | None:
        path = self.path(stage, key)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                note = json.loads(stored["_note"].tobytes())
                names = [name for name in stored.files if name != "_note"] if with_arrays else []
                arrays = {name: stored[name] for name in names}
            outcome = Outcome(**note["outcome"]) if note["outcome"] else None
            if outcome and note.get("judged_by") != JUDGED_BY:
                return None
            facts = dict(note["facts"])
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise  # a disk error; seeking beyond the end of the file gives EINVAL
            print(f"{path}: damaged ({error}); it will be computed again", file=sys.stderr)
            path.unlink(missing_ok=True)
            return None
        return Result(arrays, facts, outcome)


def result_key(
    inputs: str,
    stage: str,
    config: Mapping[str, Any],
    weights: str = "",
    version: int | None = None,
) -> str:
    """Return a result's key: 32 hex digits, hashed from input, stage, configuration and weights.

    `version` is that of the code; by default the stage's number in STAGE_VERSIONS.
    """
    version = STAGE_VERSIONS[stage] if version is None else version
    text = json.dumps([version, inputs, stage, dict(config), weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
