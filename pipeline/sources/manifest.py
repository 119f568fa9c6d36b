"""The manifest: one row per input, written before any work starts. Every report counts its rows."""

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
    "missing_file": "listed, but there is no such file (or a broken link); put it there",
    "io": "cannot be read; check the disk and the file's permissions",
    "bad_name": "a file name that is not UTF-8; rename it",
    "outside_root": "its path, or the path of its annotation, leaves the source folder; correct it",
    "changed": "the file has changed since curation; run pipeline curate again",
    "not_curated": "curation has not processed it; run pipeline curate again",
    "not_in_split": "the official split does not list it",
    "ignored": "the list given by --ignore-list contains its dance",
    "same_name": "another file with the same name is used",
}
"""Messages for inputs whose outcome is known before any work."""
OLD_NAMES = {"ended": "known_code", "counted": "dancers_seen"}
"""Column names in manifests of earlier versions, and the names that they have now."""
NAME_LENGTH = 64
"""A tar name has at most 100 bytes: a longer video name is cut, and a hash is added."""


@dataclass(frozen=True)
class Row:
    """One input, a video or a clip of a video, and what is known before it is opened.

    `path` and `motion` are relative to their source folders. `motion` is the annotation: a file, or
    a folder with one file per frame; "" if there is none. `known_code` is an outcome that is known
    before any work (`missing_file`, `not_in_split`, …), "" for all other inputs. `why` is the
    message for it, if the listing or curation has one. `listed_segments` is how many segments a
    published list has of the video: its first windows; 0 if the list names complete videos.

    For a clip, `start_s` and `stop_s` are exact fractions of a second on the video's clock; the
    clip starts at `start_s` and ends before `stop_s`. `box` is its picture: x, y, width and height
    in px of the upright frame. All three are empty for a complete video. `dancers_seen` is the
    number of dancers that curation counted. If `sha256` is set before hashing, the video must have
    this hash.
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
    listed_segments: int = 0

    @property
    def span_s(self) -> tuple[Fraction, Fraction] | None:
        """The clip's start and stop in seconds, None for a complete video."""
        return (Fraction(self.start_s), Fraction(self.stop_s)) if self.stop_s else None

    @property
    def clip_key(self) -> dict[str, Any]:
        """The fields that identify the clip in the key of a result; {} for a complete video."""
        if not self.stop_s:
            return {}
        return {"start_s": self.start_s, "stop_s": self.stop_s, "box": list(self.box)}


def video_id(path: Path) -> str:
    """Return the id of a video from its path relative to the source folder.

    A plain `name.mp4` of at most 64 characters keeps its name. For any other path (a sub-folder,
    another suffix, a character that a key cannot contain), twelve hex digits of the path's hash are
    added. Therefore no two inputs share an id, and an input's id does not depend on other inputs.
    """
    clean = re.sub(r"[^A-Za-z0-9_\-]+", "_", path.stem).strip("_-") or "video"
    if path.as_posix() == f"{clean}.mp4" and len(clean) <= NAME_LENGTH:
        return clean
    digits = hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:12]
    return f"{clean[:NAME_LENGTH]}-{digits}"


def hash_inputs(root: Path, motion_root: Path, rows: Sequence[Row], threads: int = 4) -> list[Row]:
    """Fill in the size and SHA-256 of every row's video and annotation.

    A missing video gets the code `missing_file`, a video or annotation that cannot be read gets
    `io`, and a video with another hash than expected gets `changed`. A video with several clips is
    read once.

    Raises ValueError if two rows have the same id.
    """
    from concurrent.futures import ThreadPoolExecutor

    paths: dict[str, str] = {}
    for row in rows:
        if row.video_id in paths:
            raise ValueError(
                f"{paths[row.video_id]} and {row.path} have the same id: rename one of them"
            )
        paths[row.video_id] = row.path
    present = [row for row in rows if not find(root, row).known_code]
    files = sorted({root / row.path for row in present})
    notes = sorted({motion_root / row.motion for row in present if row.motion})
    with ThreadPoolExecutor(threads) as pool:
        hashed = dict(zip(files, pool.map(_hash_file, files), strict=True))
        hashed |= zip(notes, pool.map(_hash_motion, notes), strict=True)
    return [_with_hashes(root, motion_root, row, hashed) for row in rows]


def save(path: Path, rows: Sequence[Row], root: str = "") -> None:
    """Write the rows as Parquet, atomically; `root` is the folder to which their paths are
    relative.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Row)}
    columns["dancers"] = [list(row.dancers) for row in rows]
    columns["box"] = [list(row.box) for row in rows]
    types = {"dancers": pa.list_(pa.string()), "box": pa.list_(pa.int32())}
    types |= dict.fromkeys(("bytes", "dancers_seen", "listed_segments"), pa.int64())
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    schema = schema.with_metadata({"root": os.fsencode(root)} if root else None)
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> tuple[list[Row], str]:
    """Return the rows that `save` wrote, and their `root` ("" if it has none).

    Raises ValueError, with the file's name, if the content is invalid.
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
            f"{path}: not a list of inputs ({error!s:.300}); run the command that made it again"
        ) from None


def checked(row: Row) -> Row:
    """Return the row; raise ValueError, with the field's name, if a value is invalid."""
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
        "listed_segments": row.listed_segments < 0,
    }
    if names := [name for name, is_wrong in wrong.items() if is_wrong]:
        message = ", ".join(f"{name} is {getattr(row, name)!r:.80}" for name in names)
        raise ValueError(f"{row.video_id!r:.80}: {message}")
    return row


def ended_early(row: Row) -> Outcome | None:
    """Return the outcome of a row that needs no work, None for every other row."""
    if not row.known_code:
        return None
    status: Status = "filtered" if row.known_code in FILTERED else "failed"
    stage = "curate" if row.why and row.known_code != "same_name" else "manifest"
    why = row.why or ENDED[row.known_code]
    return Outcome(status, stage, row.known_code, why if row.path in why else f"{row.path}: {why}")


def find(root: Path, row: Row) -> Row:
    """Return the row, with the code `missing_file` if its video does not exist.

    An absolute path or a path with `..` gets the code `outside_root`, before anything is opened.
    """
    if not row.known_code and (leaves(row.path) or leaves(row.motion)):
        return replace(row, known_code="outside_root")
    if row.known_code or (root / row.path).is_file():
        return row
    return replace(row, known_code="missing_file")


def leaves(path: str) -> bool:
    """Return whether a path points outside the folder to which it is relative."""
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
    """Return the size and hash of a file, None if it cannot be read."""
    try:
        return path.stat().st_size, sha256_of(path)
    except OSError:
        return None


def _hash_motion(path: Path) -> tuple[int, str] | None:
    """Return 0 and the hash of an annotation, None if it cannot be read.

    The hash is "" if there is no annotation; the stage that needs it reports that.
    """
    if not path.is_dir():
        return _hash_file(path) if path.is_file() else (0, "")
    try:
        files = [p for p in sorted(path.iterdir()) if p.is_file() and not is_hidden(Path(p.name))]
        listing = [f"{p.name}\0{sha256_of(p)}\n" for p in files]
    except OSError:
        return None
    return 0, hashlib.sha256("".join(listing).encode()).hexdigest()
