"""Stored results of every stage for every input, so that a killed build can continue.

The key of a result is the hash of (input content, stage, configuration, weights). A changed setting
changes only the keys of the results that depend on it. Each process appends its results to a part
of its own (`pipeline/engine/parts.py`), with checksums, so a result is found complete or not at
all. Results of earlier versions, a file each, are read where they are.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.old_results import old_path, old_results, read_old
from pipeline.engine.outcome import Outcome
from pipeline.engine.parts import PART, RESULT, VOID, Parts, Writer

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
SYNC_EVERY_S = 0.5
"""How often a process that works alone waits until its results are on the disk, in seconds."""
DAMAGED = (ValueError, LookupError, TypeError, EOFError)
"""Exceptions that a result raises if it is damaged, or of a version that wrote other things."""


@dataclass(frozen=True)
class Result:
    """What a stage computed for an input (arrays and facts), or the input's final outcome."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Stored:
    """Where a result lies: `bytes` bytes of a part from `at` on, the last `body_bytes` arrays."""

    stage: str
    key: str
    path: Path
    at: int
    bytes: int
    body_bytes: int
    written_s: float


@dataclass(frozen=True)
class Ledger:
    """Results in the folder `root`. Keys are those of `result_key`."""

    root: Path

    def has(self, stage: str, key: str) -> bool:
        """Return whether a result is stored. Only `read` finds out if its arrays are damaged."""
        return self.facts(stage, key) is not None

    def write(
        self,
        stage: str,
        key: str,
        arrays: Mapping[str, np.ndarray],
        facts: Mapping[str, Any],
        outcome: Outcome | None = None,
    ) -> None:
        """Store a result; it is on the disk when this returns, or at the end of `together`.

        A retryable outcome is not stored: the next run tries the input again.
        """
        if outcome is not None and outcome.retryable:
            return
        note: dict[str, Any] = {"stage": stage, "facts": dict(facts), "arrays": list(arrays)}
        note |= {"outcome": asdict(outcome), "judged_by": JUDGED_BY} if outcome else {}
        body = io.BytesIO()
        for array in arrays.values():
            np.lib.format.write_array(body, np.asanyarray(array), (1, 0), allow_pickle=False)
        text = json.dumps(note, sort_keys=True, separators=(",", ":")).encode()
        with (view := self._view).lock:
            view.pen.append(view.parts, RESULT, bytes.fromhex(key), text, body.getbuffer())

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait for the disk once, at the end of the block, for all results stored in it.

        Until then, other processes of this machine find them, but a power failure may lose them.
        In a block of `alone`, the wait may come later, for the results of several blocks at once.
        """
        with (view := self._view).lock:
            view.pen.waits += 1
        try:
            yield
        finally:
            with view.lock:
                view.pen.waits -= 1
                view.pen.sync_if_due(view.parts)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Look only once for what others have written: in the block, no other process stores any.

        Otherwise every result that is not found costs another look at the folder. In the block,
        this process waits for the disk at most twice a second, and once more at its end: a power
        failure may lose the results of the last half second.
        """
        with (view := self._view).lock:
            view.parts.refresh()
            view.parts.alone += 1
        try:
            yield
        finally:
            with view.lock:
                view.parts.alone -= 1
                view.pen.sync_if_due(view.parts)

    def read(self, stage: str, key: str) -> Result | None:
        """Return the stored result. Return None if it is missing, or a failure under older rules.

        The rules are older if JUDGED_BY had another number. A damaged result is reported, and not
        found again.
        """
        return self._read(stage, key, with_arrays=True)

    def facts(self, stage: str, key: str) -> Result | None:
        """Return the same as `read`, but do not read the arrays; `arrays` is empty.

        This finds damage to the file's structure or to the facts. Only `read` finds damage to an
        array.
        """
        return self._read(stage, key, with_arrays=False)

    def stored(self) -> Iterator[Stored]:
        """Yield every result, also those that others have replaced, in no particular order."""
        with (view := self._view).lock:
            for name, one in view.parts:
                stage, path = json.loads(one.note)["stage"], self.root / f"{name}{PART}"
                size = one.end - one.at
                yield Stored(
                    stage, one.key.hex(), path, one.at, size, one.body_bytes, one.written_s
                )
        for stage, key in old_results(self.root):
            path = old_path(self.root, stage, key)
            status = path.stat()
            yield Stored(stage, key, path, 0, status.st_size, status.st_size, status.st_mtime)

    def _read(self, stage: str, key: str, with_arrays: bool) -> Result | None:
        with (view := self._view).lock:
            parts = view.parts
            for name, record in parts.find(bytes.fromhex(key)):
                try:
                    note = json.loads(record.note)
                    if note["stage"] == stage and (result := _result(note)):
                        body = parts.body(name, record, with_arrays)
                        return replace(result, arrays=_arrays(body, note)) if body else result
                except DAMAGED as error:
                    where = f"{self.root / name}{PART}: {stage} at byte {record.at}"
                    print(f"{where}: damaged ({error}); computed again", file=sys.stderr)
                    view.pen.append(parts, VOID, record.key, f"{name} {record.at}".encode())
            if not parts.others:
                return None
        old = read_old(old_path(self.root, stage, key), with_arrays)
        return _result(*old) if old else None

    @property
    def _view(self) -> View:
        return _of_process(self.root, os.getpid())


class Pen:
    """Appends the records of this process to its part; the first one makes the part."""

    def __init__(self) -> None:
        self.waits = 0  # blocks of `together` that are not over
        self._synced_s = -math.inf
        self._writer: Writer | None = None
        self._ended: list[Writer] = []  # their last records may not be on the disk yet

    def append(
        self, parts: Parts, kind: bytes, key: bytes, note: bytes, body: memoryview | bytes = b""
    ) -> None:
        if self._writer is not None and not self._writer.usable:
            self._end()
        if self._writer is None:
            self._writer = Writer(parts.folder)
        try:
            parts.written(self._writer, self._writer.append(kind, key, note, memoryview(body)))
        except BaseException:  # no record can follow one that may be incomplete
            self._end()
            raise
        self.sync_if_due(parts)

    def sync_if_due(self, parts: Parts) -> None:
        """Call `sync`: not in a block of `together`, and in one of `alone` not too often."""
        recent = time.monotonic() - self._synced_s < SYNC_EVERY_S
        if not (self.waits or (parts.alone and recent)):
            self.sync()

    def sync(self) -> None:
        """Wait until all records of this process are on the disk."""
        self._synced_s = time.monotonic()
        while self._ended:
            self._ended[-1].sync()
            self._ended.pop()
        if self._writer is not None:
            self._writer.sync()

    def _end(self) -> None:
        if self._writer is not None:
            self._ended.append(self._writer)
            self._writer = None


class View:
    """What a process knows of a folder, and its part; whoever uses them holds the lock."""

    def __init__(self, root: Path) -> None:
        self.lock, self.parts, self.pen = threading.RLock(), Parts(root), Pen()


@lru_cache(maxsize=16)
def _of_process(root: Path, pid: int) -> View:
    """Return the view of a folder: a fork has its own."""
    return View(root)


atexit.register(_of_process.cache_clear)  # closes the files while that is still possible


def _result(
    note: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
) -> Result | None:
    """Return a result from its note; None for an outcome under older rules."""
    outcome = Outcome(**note["outcome"]) if note.get("outcome") else None
    if outcome and note.get("judged_by") != JUDGED_BY:
        return None
    return Result(dict(arrays or {}), dict(note["facts"]), outcome)


def _arrays(body: bytes, note: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a body: .npy files, one after the other."""
    arrays, at = {}, 0
    for name in note["arrays"]:
        start = at + 10 + int.from_bytes(body[at + 8 : at + 10], "little")
        shape, by_column, dtype = _header(body[at:start])
        flat = np.frombuffer(body, dtype, math.prod(shape), start)
        arrays[name] = flat.reshape(shape, order="F" if by_column else "C").copy(order="K")
        at = start + flat.nbytes
    return arrays


@lru_cache(maxsize=1024)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns come first, and dtype, from the head of a .npy file.

    numpy parses a head as Python code, which is slow; most heads are equal, so each is kept.
    """
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not an array as this ledger stores it")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of objects")
    return shape, by_column, dtype


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
