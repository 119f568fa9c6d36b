"""Durable results of every stage for every input: what a killed build does not do again.

A result's key is the hash of (input content, stage, configuration, weights). A changed setting
changes the keys of what it touches and of nothing else. Results appear by rename: whole or not.
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
    "curate": 2,
    "people": 1,
}
"""Raise a stage's number when its code gives other results: the older ones are made again."""
JUDGED_BY = 2
"""Raise it when files that failed may pass now: failures stored before are tried again."""
DAMAGED = (
    *(ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, SyntaxError, TokenError),
)
"""What reading a stored result raises where its bytes are no longer what was written."""


@dataclass(frozen=True)
class Result:
    """Arrays and facts that a stage made of an input; or, instead, its final outcome."""

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
        """Store a result. A retryable outcome is not kept: the next run tries again."""
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
        """Return the stored result, None where there is none, or a failure judged by older rules.

        A damaged one is thrown away.
        """
        return self._read(stage, key, with_arrays=True)

    def facts(self, stage: str, key: str) -> Result | None:
        """Return what `read` does, its arrays left out and not looked at.

        Damage of the file's structure or of the facts is found here; damage of an array's bytes is
        found by `read`.
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
                raise  # the disk's; a place beyond the file is EINVAL
            print(f"{path}: damaged ({error}); made again", file=sys.stderr)
            path.unlink(missing_ok=True)
            return None
        return Result(arrays, facts, outcome)


def result_key(inputs: str, stage: str, config: Mapping[str, Any], weights: str = "") -> str:
    """Return the key of a result: 32 hex digits over input hash, stage, configuration, weights."""
    text = json.dumps([STAGE_VERSIONS[stage], inputs, stage, dict(config), weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
