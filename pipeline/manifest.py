"""One row per input, written before any work starts: the denominator of every report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from pathlib import Path

from model.segment import write_atomic
from pipeline.outcome import Outcome


@dataclass(frozen=True)
class Row:
    """One input video, and what is known of it before it is opened.

    `path` and `motion` are relative to the source folder; `motion` is the annotation (a file, or a
    folder of per-frame files), "" where there is none. `ended` is the code that ends the input
    before any work (`missing_file`, `not_in_split`), "" for all others.
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

    A plain `name.mp4` keeps its name. Any other path (a sub-folder, another ending, a character
    that a key cannot hold) gets six hex digits of its hash, so that no two inputs share an id and
    no input's id depends on which others there are.
    """
    clean = re.sub(r"[^A-Za-z0-9_\-]+", "_", path.stem).strip("_-") or "video"
    if path.as_posix() == f"{clean}.mp4":
        return clean
    return f"{clean}-{hashlib.sha256(path.as_posix().encode()).hexdigest()[:6]}"


def hash_inputs(root: Path, motion_root: Path, rows: Sequence[Row], threads: int = 4) -> list[Row]:
    """Fill in size and SHA-256 of every row's video and annotation.

    A video that the disk does not hold ends as `missing_file`.
    """
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


def load(path: Path) -> list[Row]:
    """Read the rows that `save` wrote."""
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    return [Row(**{**row, "dancers": tuple(row["dancers"])}) for row in rows]


def as_dict(row: Row) -> dict[str, object]:
    return asdict(row)


def ended_early(row: Row) -> Outcome | None:
    """Return the outcome of a row that no stage will see, None for one that has work."""
    if row.ended == "missing_file":
        message = f"{row.path}: listed, but not in the source folder; put it there and run again"
        return Outcome("failed", "manifest", "missing_file", message)
    if row.ended:
        message = f"{row.path}: the official split does not list {row.video_id}"
        return Outcome("filtered", "manifest", row.ended, message)
    return None


def _hashed(root: Path, motion_root: Path, row: Row) -> Row:
    video = root / row.path
    if row.ended:
        return row
    if not video.is_file():
        return replace(row, ended="missing_file")
    motion = _hash_motion(motion_root / row.motion) if row.motion else ""
    return replace(row, bytes=video.stat().st_size, sha256=hash_file(video), motion_sha256=motion)


def hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_motion(path: Path) -> str:
    """Return the hash of an annotation, "" where there is none: its stage will say so."""
    if not path.is_dir():
        return hash_file(path) if path.is_file() else ""
    listing = [f"{p.name}\0{hash_file(p)}\n" for p in sorted(path.iterdir()) if p.is_file()]
    return hashlib.sha256("".join(listing).encode()).hexdigest()
