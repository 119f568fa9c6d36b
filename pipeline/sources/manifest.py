"""One row per input, written before any work starts: the denominator of every report."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from model.contract.files import sha256_of, write_atomic
from model.contract.segment import SPLITS, is_hidden
from pipeline.engine.outcome import FILTERED, PERMANENT, RETRYABLE, Outcome, Status
from pipeline.sources.tables import parquet_rows

ENDED = {
    "missing_file": "listed, but no such file (or a link to nothing); put it there",
    "io": "cannot be read; check the disk and the file's permissions",
    "bad_name": "a file name that is not UTF-8; rename it",
    "outside_root": "its path, or its annotation's, leaves the source folder; correct it",
    "changed": "not the file that was curated; run pipeline curate again",
    "not_curated": "curation has not seen it; run pipeline curate again",
    "not_in_split": "the official split does not list it",
    "ignored": "its dance is on the list of --ignore-list",
    "same_name": "another file has its name",
}
"""Why an input ends before any work, for a message."""
OLD_NAMES = {"ended": "known_code", "counted": "dancers_seen"}
"""What columns were called in manifests of earlier versions, and are called now."""
NAME_LENGTH = 64
"""Tar names hold 100 bytes: a longer name is cut, and gets its hash."""


@dataclass(frozen=True)
class Row:
    """One input, a video or a clip of one, and what is known of it before it is opened.

    `path` and `motion` are relative to the source folder; `motion` is the annotation (a file, or a
    folder of per-frame files), "" where there is none. `known_code` is the code that ends the input
    before any work (`missing_file`, `not_in_split`, …), "" for all others; `why` are the words for
    it where the listing or curation had them. A clip is the half-open span from `start_s` to
    `stop_s`, exact fractions on the video's clock, and `box`, its picture's x, y, width and height
    in px of the upright frame; both are empty for a whole video. `dancers_seen` is how many dancers
    curation saw. A `sha256` that is there before hashing is what the video must have.
    """

    video_id: str
    path: str
    split: str = "train"
    song: str = ""
    genre: str = ""
    dancers: tuple[str, ...] = ()
    motion: str = ""
    known_code: str = ""
    bytes: int = 0
    sha256: str = ""
    motion_sha256: str = ""
    start_s: str = ""
    stop_s: str = ""
    box: tuple[int, ...] = ()
    dancers_seen: int | None = None
    why: str = ""

    @property
    def span_s(self) -> tuple[Fraction, Fraction] | None:
        """The clip's span, None for a whole video."""
        return (Fraction(self.start_s), Fraction(self.stop_s)) if self.stop_s else None

    @property
    def clip_key(self) -> dict[str, Any]:
        """What of the video a result is made from, for the result's key; nothing for all of it."""
        if not self.stop_s:
            return {}
        return {"start_s": self.start_s, "stop_s": self.stop_s, "box": list(self.box)}


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

    A video that the disk does not hold ends as `missing_file`, one that cannot be read as `io`, one
    of another content than expected as `changed`. Clips of one video read it once.

    Raises ValueError where two rows have one id.
    """
    from concurrent.futures import ThreadPoolExecutor

    paths: dict[str, str] = {}
    for row in rows:
        if row.video_id in paths:
            raise ValueError(
                f"{paths[row.video_id]} and {row.path} have one id: rename one of them"
            )
        paths[row.video_id] = row.path
    alive = [row for row in rows if not find(root, row).known_code]
    files = sorted({root / row.path for row in alive})
    notes = sorted({motion_root / row.motion for row in alive if row.motion})
    with ThreadPoolExecutor(threads) as pool:
        hashed = dict(zip(files, pool.map(_hash_file, files), strict=True))
        hashed |= zip(notes, pool.map(_hash_motion, notes), strict=True)
    return [_with_hashes(root, motion_root, row, hashed) for row in rows]


def save(path: Path, rows: Sequence[Row], root: str = "") -> None:
    """Write the rows as Parquet, whole or not at all; `root` is the folder their paths are in."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Row)}
    columns["dancers"] = [list(row.dancers) for row in rows]
    columns["box"] = [list(row.box) for row in rows]
    types = {"dancers": pa.list_(pa.string()), "box": pa.list_(pa.int32())}
    types |= {"bytes": pa.int64(), "dancers_seen": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    schema = schema.with_metadata({"root": os.fsencode(root)} if root else None)
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> tuple[list[Row], str]:
    """Return the rows that `save` wrote, and their `root` ("" where it has none).

    Raises ValueError, naming the file, where it holds anything else.
    """
    found, metadata = parquet_rows(path)
    try:
        rows = []
        for row in found:
            row = {OLD_NAMES.get(name, name): value for name, value in row.items()}
            row |= {name: tuple(row[name]) for name in ("dancers", "box") if name in row}
            rows.append(checked(Row(**row)))
        return rows, os.fsdecode(metadata.get(b"root", b""))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: no list of inputs ({error!s:.300}); run the command that made it again"
        ) from None


def checked(row: Row) -> Row:
    """Return the row; ValueError names the field whose value is of another form than it must be."""
    plain = Row("", "")
    for field in fields(Row):
        value = getattr(row, field.name)
        kind = int if field.name == "dancers_seen" else type(getattr(plain, field.name))
        if type(value) is not kind and not (field.name == "dancers_seen" and value is None):
            raise ValueError(f"{row.video_id!r:.80}: {field.name} is {value!r:.80}")
    wrong = {
        "video_id": not re.fullmatch(r"[A-Za-z0-9_\-]+", row.video_id),
        "path": not row.path or "\0" in row.path + row.motion,
        "split": row.split not in ("", *SPLITS),
        "dancers": not all(type(name) is str for name in row.dancers),
        "box": len(row.box) not in (0, 4) or not all(type(n) is int and n >= 0 for n in row.box),
        "known_code": bool(row.known_code)
        and (
            row.known_code not in FILTERED | PERMANENT | RETRYABLE
            or not (row.why or row.known_code in ENDED)
        ),
        "start_s": bool(row.start_s) != bool(row.stop_s),
        "stop_s": row.span_s is not None and not 0 <= row.span_s[0] < row.span_s[1],
    }
    if names := [name for name, is_wrong in wrong.items() if is_wrong]:
        message = ", ".join(f"{name} is {getattr(row, name)!r:.80}" for name in names)
        raise ValueError(f"{row.video_id!r:.80}: {message}")
    return row


def ended_early(row: Row) -> Outcome | None:
    """Return the outcome of a row that no stage will see, None for one that has work."""
    if not row.known_code:
        return None
    status: Status = "filtered" if row.known_code in FILTERED else "failed"
    stage = "curate" if row.why and row.known_code != "same_name" else "manifest"
    why = row.why or ENDED[row.known_code]
    return Outcome(status, stage, row.known_code, why if row.path in why else f"{row.path}: {why}")


def find(root: Path, row: Row) -> Row:
    """Return the row, ended as `missing_file` where its video is not there.

    A path with `..`, or an absolute one, ends it as `outside_root` before anything is opened.
    """
    if not row.known_code and (leaves(row.path) or leaves(row.motion)):
        return replace(row, known_code="outside_root")
    if row.known_code or (root / row.path).is_file():
        return row
    return replace(row, known_code="missing_file")


def leaves(path: str) -> bool:
    """Return whether a path would lead out of the folder that it is relative to."""
    parts = PurePosixPath(path)
    return parts.is_absolute() or ".." in parts.parts


def _with_hashes(
    root: Path, motion_root: Path, row: Row, hashed: Mapping[Path, tuple[int, str] | None]
) -> Row:
    row = find(root, row)
    if row.known_code:
        return row
    video = hashed.get(root / row.path)
    motion = hashed.get(motion_root / row.motion) if row.motion else (0, "")
    if video is None or motion is None:
        return replace(row, known_code="io")
    if row.sha256 and row.sha256 != video[1]:
        return replace(row, known_code="changed")
    return replace(row, bytes=video[0], sha256=video[1], motion_sha256=motion[1])


def _hash_file(path: Path) -> tuple[int, str] | None:
    """Return size and hash of a file, None where it cannot be read."""
    try:
        return path.stat().st_size, sha256_of(path)
    except OSError:
        return None


def _hash_motion(path: Path) -> tuple[int, str] | None:
    """Return 0 and the hash of an annotation, "" where there is none: its stage will say so."""
    if not path.is_dir():
        return _hash_file(path) if path.is_file() else (0, "")
    try:
        files = [p for p in sorted(path.iterdir()) if p.is_file() and not is_hidden(Path(p.name))]
        listing = [f"{p.name}\0{sha256_of(p)}\n" for p in files]
    except OSError:
        return None
    return 0, hashlib.sha256("".join(listing).encode()).hexdigest()
