"""The clips that curation kept, as inputs of a build."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from model.contract.options import option
from pipeline.arguments import local
from pipeline.sources import manifest
from pipeline.sources.base import ESTIMATED, Source
from pipeline.sources.folder import list_folder
from pipeline.sources.listing import AnnotationFiles, Listing
from pipeline.sources.manifest import NAME_LENGTH, Row, checked
from pipeline.sources.song_split import with_val
from pipeline.sources.tables import parquet_rows

TIKTOK, WILD = "tiktok", "wild"
"""The data sets that `pipeline curate` makes tables of."""
LONGEST = NAME_LENGTH + 13
"""Maximum length of a clip id: a tar name has 100 bytes; segment number and suffix take 19."""
CLOCK_HZ = 1_000_000
"""Times are rounded to fractions with at most this denominator.

The time bases of containers divide it, or the rounding error is below a nanosecond.
"""


@dataclass(frozen=True)
class Curated(Source):
    """A data set whose inputs are the clips of a table that curation wrote."""

    DEFAULT_MOTION: ClassVar[str] = ESTIMATED

    curated: Path | None = option(
        None,
        "tiktok, wild: folder of the table that pipeline curate wrote (default "
        "data/curated/DATASET)",
        type=local,
    )


def table_folder(dataset: str) -> Path:
    """Return the default folder of a data set's table."""
    return Path("data/curated") / dataset


def has_table(table: Path, dataset: str = TIKTOK) -> bool:
    """Return whether the folder `table` has the table of a data set."""
    return (table / f"{dataset}.parquet").is_file()


def covers(table: Path, source: Path, dataset: str = TIKTOK) -> bool:
    """Return whether any video from which the table was made is under `source`."""
    rows, _ = manifest.load(table / f"{dataset}.inputs.parquet")
    root = source if source.is_dir() else source.parent
    return any((root / row.path).is_file() for row in rows)


def list_curated(
    table: Path,
    source: Path | None,
    motion: AnnotationFiles | None,
    motion_dir: Path | None,
    dataset: str = TIKTOK,
) -> Listing:
    """List every clip of the table in a folder, kept or not, and every video without clips.

    Some outcomes are known already. A rejected clip has the code `rejected_<reason>`. A video
    without clips has the outcome that curation gave it. A video in the folder that curation has not
    processed has the code `not_curated`.
    """
    clips = read_clips(table / f"{dataset}.parquet")
    inputs, root = manifest.load(table / f"{dataset}.inputs.parquet")
    if source is None and not Path(root or table / "unknown").is_dir():
        where = root or "a folder that it does not name"
        raise FileNotFoundError(
            f"{table} was made from {where}: name the folder with --source DIR if it has moved"
        )
    listing = list_folder(source or Path(root), motion, motion_dir)
    annotations = {row.path: row.motion for row in listing.rows}
    rows = [clip_row(clip, annotations.get(clip["source"], "")) for clip in clips]
    rows += without_clips(table, inputs, {clip["video_id"] for clip in clips}, dataset)
    curated = {row.path for row in inputs}
    for row in listing.rows:
        if row.path not in curated:
            rows.append(
                replace(row, split="", motion="", known_code=row.known_code or "not_curated")
            )
    kept = [clip for clip in clips if clip["decision"] == "keep"]
    rows = with_val(rows, {clip["song"]: clip.get("family") or clip["song"] for clip in kept})
    note = f"curated: {len(kept)} of {len(clips)} clips kept, from {len(inputs)} videos ({table})"
    return Listing(listing.root, listing.motion_root, rows, note, listing.others, listing.notes)


def read_clips(path: Path) -> list[dict[str, Any]]:
    """Return the table's rows; raise ValueError, with the file's name, if a row is invalid."""
    clips, _ = parquet_rows(path)
    for clip in clips:
        try:
            checked(clip_row(clip, ""))
            text = [clip["video_id"], clip["decision"], clip.get("family") or ""]
            if not all(isinstance(value, str) for value in text):
                raise ValueError(f"{text}: all of these must be text")
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{path}: {clip.get('id')!r:.80}: not a clip that pipeline curate wrote "
                f"({error!r:.300}); run pipeline curate again"
            ) from None
    return clips


def clip_row(clip: Mapping[str, Any], motion: str) -> Row:
    """Return a row of the table as an input of the build."""
    kept = clip["decision"] == "keep"
    return Row(
        video_id=clip_id(clip["id"]),
        path=clip["source"],
        split=clip["split"],
        song=clip["song"],
        genre=clip.get("genre") or "",
        motion=motion if kept else "",
        known_code="" if kept else f"rejected_{clip['reason']}",
        sha256=clip["sha256"],
        start_s=str(Fraction(clip["start_s"]).limit_denominator(CLOCK_HZ)),
        stop_s=str(Fraction(clip["end_s"]).limit_denominator(CLOCK_HZ)),
        box=tuple(clip["box"]),
        dancers_seen=clip["dancers"],
        why="" if kept else f"clip of {clip['source']}: {clip['detail']}",
    )


def clip_id(name: str) -> str:
    """Return a clip's id, `<video id>_c<NNN>`, shortened if it is too long for a key in a tar."""
    if len(name) <= LONGEST:
        return name
    video, _, number = name.rpartition("_c")
    digits = hashlib.sha256(video.encode()).hexdigest()[:12]
    return f"{video[: LONGEST - len(number) - len(digits) - 3]}-{digits}_c{number}"


def without_clips(
    table: Path, inputs: Sequence[Row], with_clips: set[str], dataset: str
) -> list[Row]:
    """Return rows for the videos without clips, with the outcomes in curation's report."""
    path = table / "report.json"
    try:
        report = json.loads(path.read_bytes())
        outcomes = {
            row["video_id"]: {name: str(row[name]) for name in ("status", "code", "message")}
            for row in report["rows"]
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a report of pipeline curate ({error!r:.300}); run pipeline curate again"
        ) from None
    rows = []
    for row in inputs:
        if row.video_id in with_clips:
            continue
        outcome = outcomes.get(row.video_id, {"status": "ok"})
        if outcome["status"] == "ok":
            raise ValueError(
                f"{path} and {dataset}.parquet disagree on {row.path}; run pipeline curate again"
            )
        try:
            code, why = outcome["code"], outcome["message"]
            rows.append(checked(replace(row, split="", known_code=code, why=why)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; run pipeline curate again") from None
    return rows
