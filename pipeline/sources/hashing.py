"""The sizes and hashes of all inputs, by some threads, a part of the inputs at a time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.contract.files import sha256_of
from model.contract.segment import is_hidden
from pipeline.sources.manifest import Row, leaves
from pipeline.sources.rows import Chunk, Rows, column_of, repeated, values

FILES_PER_CALL = 64
QUICK_S = 0.0005
"""Files that take less each are hashed by one thread, which is faster: small ones on a fast disk.
"""
BLOCK_BYTES = 1 << 17
Hash = tuple[int, str] | str
"""Size and SHA-256 of a file, or the outcome code of a file that has none."""
FILLED = ("known_code", "bytes", "sha256", "motion_sha256")


def hash_inputs(root: Path, motion_root: Path, rows: Sequence[Row], threads: int = 4) -> Rows:
    """Fill in the size and SHA-256 of every row's video and annotation.

    A missing video gets the code `missing_file`, a video or annotation that cannot be read gets
    `io`, and a video with another hash than expected gets `changed`. A video with several clips is
    read once.

    Raises ValueError if two rows have the same id.
    """
    found = Rows.of(rows)
    if same := repeated(lambda: found.column("video_id")):
        a, b = [row.path for row in found if row.video_id == min(same)][:2]
        raise ValueError(f"{a} and {b} have the same id: rename one of them")
    with ThreadPoolExecutor(threads) as pool:
        videos = _Files(root, repeated(lambda: found.column("path")), _hash_file, pool)
        texts = repeated(lambda: (motion for motion in found.column("motion") if motion))
        motions = _Files(motion_root, texts, _hash_motion, pool)
        return Rows((size, _hashed(size, chunk, videos, motions)) for size, chunk in found.chunks)


@dataclass
class _Files:
    """Hashes files under `root`; the hashes of those that several rows name are kept."""

    root: Path
    shared: set[str]
    hash: Callable[[str], Hash]
    pool: ThreadPoolExecutor
    _kept: dict[str, Hash] = field(default_factory=dict)
    _slow: bool = True  # whether the last files took longer than QUICK_S each

    def hashes(self, names: Iterable[str]) -> dict[str, Hash]:
        """Return the hash of each name."""
        wanted = set(names)
        known = {name: self._kept[name] for name in wanted & self._kept.keys()}
        new = sorted(wanted - known.keys())
        parts = [new[at : at + FILES_PER_CALL] for at in range(0, len(new), FILES_PER_CALL)]
        while parts:
            some, started_s = parts if self._slow else parts[:1], time.monotonic()
            for part, hashed in zip(some, self._map(self._hash_all, some), strict=True):
                known |= zip(part, hashed, strict=True)
            files = sum(map(len, some))
            self._slow = time.monotonic() - started_s > QUICK_S * files
            del parts[: len(some)]
        self._kept |= {name: known[name] for name in wanted & self.shared}
        return known

    @property
    def _map(self) -> Callable[..., Iterable[list[Hash]]]:
        """How parts are hashed: threads that read quick files wait only for each other."""
        return self.pool.map if self._slow else map

    def _hash_all(self, names: Sequence[str]) -> list[Hash]:
        return [self.hash(os.path.join(self.root, name)) for name in names]


def _hashed(size: int, chunk: Chunk, videos: _Files, motions: _Files) -> Chunk:
    """Return the columns of some rows with what their files say."""
    columns = [values(chunk, name, size) for name in ("path", "motion", *FILLED)]
    rows = list(zip(*columns, strict=True))
    inside = [not (code or leaves(path) or leaves(motion)) for path, motion, code, *_ in rows]
    good = [row for row, is_inside in zip(rows, inside, strict=True) if is_inside]
    hashes = videos.hashes(path for path, *_ in good)
    there = [motion for path, motion, *_ in good if motion and not isinstance(hashes[path], str)]
    notes = motions.hashes(there)
    filled: list[tuple[Any, ...]] = []
    for row, is_inside in zip(rows, inside, strict=True):
        path, motion, code, *known = row
        if not is_inside:
            filled.append((code or "outside_root", *known))
            continue
        video, note = hashes[path], notes.get(motion, (0, ""))
        if isinstance(video, str) or isinstance(note, str):
            filled.append((video if isinstance(video, str) else note, *known))
        elif known[1] and known[1] != video[1]:
            filled.append(("changed", *known))
        else:
            filled.append(("", *video, note[1]))
    rest = {name: column for name, column in chunk.items() if name not in FILLED}
    for name, column in zip(FILLED, zip(*filled, strict=True), strict=True):
        rest |= column_of(name, column)
    return rest


def _hash_file(path: str) -> Hash:
    """Return the size and hash of a file, or the code of one that is missing or unreadable."""
    if not os.path.isfile(path):
        return "missing_file"
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size, data = os.fstat(file).st_size, os.read(file, BLOCK_BYTES)
        finally:
            os.close(file)
        if len(data) == size:  # most of the time goes to small files
            return size, hashlib.sha256(data).hexdigest()
        return size, sha256_of(Path(path))
    except OSError:
        return "io"


def _hash_motion(name: str) -> Hash:
    """Return 0 and the hash of an annotation, or the code of one that cannot be read.

    The hash is "" if there is no annotation; the stage that needs it reports that.
    """
    path = Path(name)
    if not path.is_dir():
        found = _hash_file(name)
        return (0, "") if found == "missing_file" else found
    try:
        files = [p for p in sorted(path.iterdir()) if p.is_file() and not is_hidden(Path(p.name))]
        listing = [f"{p.name}\0{sha256_of(p)}\n" for p in files]
    except OSError:
        return "io"
    return 0, hashlib.sha256("".join(listing).encode()).hexdigest()
