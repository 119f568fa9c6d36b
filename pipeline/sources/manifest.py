"""The manifest: one row per input, written before any work starts. Every report counts its rows."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from model.contract.segment import SPLITS
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


def video_id(path: Path | str) -> str:
    """Return the id of a video from its path relative to the source folder.

    A plain `name.mp4` of at most 64 characters keeps its name. For any other path (a sub-folder,
    another suffix, a character that a key cannot contain), twelve hex digits of the path's hash are
    added. Therefore no two inputs share an id, and an input's id does not depend on other inputs.
    """
    text = str(path)
    stem = stem_of(text.rpartition("/")[2])
    clean = re.sub(r"[^A-Za-z0-9_\-]+", "_", stem).strip("_-") or "video"
    if text == f"{clean}.mp4" and len(clean) <= NAME_LENGTH:
        return clean
    digits = hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
    return f"{clean[:NAME_LENGTH]}-{digits}"


def stem_of(name: str) -> str:
    """Return a file name without its suffix: that of `Path(name).stem`, without making a Path."""
    at = name.rfind(".")
    return name[:at] if 0 < at < len(name) - 1 else name


def load(path: Path) -> tuple[list[Row], str]:
    """Return the rows that `save_rows` wrote, and their `root` ("" if it has none).

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
    if row.known_code or os.path.isfile(root / row.path):
        return row
    return replace(row, known_code="missing_file")


def leaves(path: str) -> bool:
    """Return whether a path points outside the folder to which it is relative."""
    if ".." not in path and not path.startswith("/"):
        return False
    parts = PurePosixPath(path)
    return parts.is_absolute() or ".." in parts.parts
