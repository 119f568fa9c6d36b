"""One row per input, written before any work starts: the denominator of every report."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path

from model.jukebox.cache import sha256_of
from model.segment import write_atomic
from pipeline.outcome import FILTERED, Outcome

NAME_LENGTH = 64
"""Tar names hold 100 bytes: a longer name is cut, and gets its hash."""


@dataclass(frozen=True)
class Row:
    """One input video, and what is known of it before it is opened.

    `path` and `motion` are relative to the source folder; `motion` is the annotation (a file, or a
    folder of per-frame files), "" where there is none. `ended` is the code that ends the input
    before any work (`missing_file`, `bad_name`, `io`, `not_in_split`), "" for all others.
    """

    video_id: str
    path: str
    split: str = "train"
    song: str = ""
    genre: str = ""
    dancers: tuple[str, ...] = ()
    motion: str = ""
    ended: str = ""
    bytes: int = 0
    sha256: str = ""
    motion_sha256: str = ""


def video_id(path: Path) -> str:
    """Return the id of a video by its path relative to the source folder.

    A plain `name.mp4` of at most 64 characters keeps its name. Any other path (a sub-folder,
    another ending, a character that a key cannot hold) gets twelve hex digits of its hash, so that
    no two inputs share an id and no input's id depends on which others there are.
    """
    clean = re.sub(r"[^A-Za-z0-9_\-]+", "_", path.stem).strip("_-") or "video"
    if path.as_posix() == f"{clean}.mp4" and len(clean) <= NAME_LENGTH:
        return clean
    digits = hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:12]
    return f"{clean[:NAME_LENGTH]}-{digits}"


def hash_inputs(root: Path, motion_root: Path, rows: Sequence[Row], threads: int = 4) -> list[Row]:
    """Fill in size and SHA-256 of every row's video and annotation.

    A video that the disk does not hold ends as `missing_file`, one that cannot be read as `io`.
    Raises ValueError where two rows have one id.
    """
    paths: dict[str, str] = {}
    for row in rows:
        if row.video_id in paths:
            raise ValueError(
                f"{paths[row.video_id]} and {row.path} have one id: rename one of them"
            )
        paths[row.video_id] = row.path
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda row: _hashed(root, motion_root, row), rows))


def save(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Row)}
    columns["dancers"] = [list(row.dancers) for row in rows]
    types = {"dancers": pa.list_(pa.string()), "bytes": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer)
    write_atomic(path, buffer.getvalue())


def ended_early(row: Row) -> Outcome | None:
    """Return the outcome of a row that no stage will see, None for one that has work."""
    if not row.ended:
        return None
    words = {
        "missing_file": "listed, but no such file (or a link to nothing); put it there",
        "io": "cannot be read; check the disk and the file's permissions",
        "bad_name": "a file name that is not UTF-8; rename it",
        "not_in_split": "the official split does not list it",
    }
    status = "filtered" if row.ended in FILTERED else "failed"
    return Outcome(status, "manifest", row.ended, f"{row.path}: {words[row.ended]}")


def find(root: Path, row: Row) -> Row:
    """Return the row, ended as `missing_file` where its video is not there."""
    if row.ended or (root / row.path).is_file():
        return row
    return replace(row, ended="missing_file")


def _hashed(root: Path, motion_root: Path, row: Row) -> Row:
    row = find(root, row)
    if row.ended:
        return row
    video = root / row.path
    try:
        motion = _hash_motion(motion_root / row.motion) if row.motion else ""
        size = video.stat().st_size
        return replace(row, bytes=size, sha256=sha256_of(video), motion_sha256=motion)
    except OSError:
        return replace(row, ended="io")


def _hash_motion(path: Path) -> str:
    """Return the hash of an annotation, "" where there is none: its stage will say so."""
    if not path.is_dir():
        return sha256_of(path) if path.is_file() else ""
    listing = [f"{p.name}\0{sha256_of(p)}\n" for p in sorted(path.iterdir()) if p.is_file()]
    return hashlib.sha256("".join(listing).encode()).hexdigest()
