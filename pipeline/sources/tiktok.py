"""TikTok dances: the clips that `pipeline curate` found, or videos named as in the published list.

The authors' list (manifests/tiktok.csv: 445 videos, 392 for training, 53 for the test) names videos
by ids of their own. Neither footage nor links were published with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline import manifest
from pipeline.arguments import UsageError
from pipeline.curate.split import val_songs
from pipeline.lists import parquet_rows
from pipeline.manifest import NAME_LENGTH, Row, checked
from pipeline.sources.aist import further, published
from pipeline.sources.folder import list_folder
from pipeline.sources.listing import Listing, by_name, home, twice

TABLE = Path("data/curated/tiktok")
LONGEST = NAME_LENGTH + 13
"""Of a name in a tar, 100 bytes, the segment's number and the suffix take 19."""
CLOCK_HZ = 1_000_000
"""Time bases of containers divide this, or differ from what does by less than a nanosecond."""
HELP = """there are two ways to TikTok dances:
  your own videos, cut and sorted:   pipeline curate --dataset tiktok --source DIR
                                     pipeline build --dataset tiktok
  the paper's 445 videos:            name them by the ids in manifests/tiktok.csv
                                     (DIR/000000_0_0.mp4 …), then
                                     pipeline build --dataset tiktok --source DIR --published"""


def list_tiktok(
    source: Path | None,
    curated: Path | None,
    published: bool,
    motion: str,
    motion_dir: Path | None = None,
) -> Listing:
    """List the clips of the curated table in `curated`, or the videos of the published list.

    The list is used where it is asked for, or where `source` holds videos of it and none of the
    table's. Where no song is in the split `val`, whole songs are moved there from `train`.

    Raises FileNotFoundError or ValueError that say what to put where.
    """
    table = curated or TABLE
    known = (table / "tiktok.parquet").is_file()
    if published and curated:
        raise UsageError("--published and --curated: choose one, the list or the table")
    if not published and (curated or source is None or (known and covers(table, source))):
        if not known:
            raise FileNotFoundError(f"{table}/tiktok.parquet: no such table; {HELP}")
        return list_curated(table, source, motion, motion_dir)
    if source is None:
        raise FileNotFoundError(f"--published needs --source DIR; {HELP}")
    listing = list_published(source, motion, motion_dir)
    if listing is None:
        has = f"the table in {table} is of other videos; " if known and not published else ""
        words = HELP.replace("DIR", str(source))
        raise FileNotFoundError(f"{source}: no video of the published list in it; {has}{words}")
    return listing


def covers(table: Path, source: Path) -> bool:
    """Return whether any video that the table is made of lies under `source`."""
    rows, _ = manifest.load(table / "tiktok.inputs.parquet")
    root = source if source.is_dir() else source.parent
    return any((root / row.path).is_file() for row in rows)


def list_curated(table: Path, source: Path | None, motion: str, motion_dir: Path | None) -> Listing:
    """List every clip of the table, kept or not, and every video that has none.

    A rejected clip ends as `rejected_<reason>`; a video that gave no clip as curation says; one in
    the folder that curation has not seen as `not_curated`.
    """
    clips = read_clips(table / "tiktok.parquet")
    inputs, root = manifest.load(table / "tiktok.inputs.parquet")
    if source is None and not Path(root or table / "unknown").is_dir():
        where = root or "a folder that it does not name"
        raise FileNotFoundError(f"{table} was made of {where}: say --source DIR if it has moved")
    here = list_folder(source or Path(root), motion, motion_dir)
    annotations = {row.path: row.motion for row in here.rows}
    rows = [clip_row(clip, annotations.get(clip["source"], "")) for clip in clips]
    rows += barren(table, inputs, {clip["video_id"] for clip in clips})
    seen = {row.path for row in inputs}
    for row in here.rows:
        if row.path not in seen:
            rows.append(replace(row, split="", motion="", ended=row.ended or "not_curated"))
    kept = [clip for clip in clips if clip["decision"] == "keep"]
    rows = with_val(rows, {clip["song"]: clip.get("family") or clip["song"] for clip in kept})
    note = f"curated: {len(kept)} of {len(clips)} clips kept, from {len(inputs)} videos ({table})"
    return Listing(here.root, here.motion_root, rows, note, here.others, here.notes)


def read_clips(path: Path) -> list[dict[str, Any]]:
    """Return the table's rows; ValueError, naming the file, where one is no clip of curation."""
    clips, _ = parquet_rows(path)
    for clip in clips:
        try:
            checked(clip_row(clip, ""))
            text = [clip["video_id"], clip["decision"], clip.get("family") or ""]
            if not all(isinstance(value, str) for value in text):
                raise ValueError(f"{text} are no texts")
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{path}: {clip.get('id')!r:.80}: no clip as pipeline curate writes it "
                f"({error!r:.300}); run it again"
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
        motion=motion if kept else "",
        ended="" if kept else f"rejected_{clip['reason']}",
        sha256=clip["sha256"],
        start_s=str(Fraction(clip["start_s"]).limit_denominator(CLOCK_HZ)),
        stop_s=str(Fraction(clip["end_s"]).limit_denominator(CLOCK_HZ)),
        box=tuple(clip["box"]),
        counted=clip["dancers"],
        why="" if kept else f"clip of {clip['source']}: {clip['detail']}",
    )


def clip_id(name: str) -> str:
    """Return a clip's id in the table, `<video id>_c<NNN>`, short enough for a key in a tar."""
    if len(name) <= LONGEST:
        return name
    video, _, number = name.rpartition("_c")
    digits = hashlib.sha256(video.encode()).hexdigest()[:12]
    return f"{video[: LONGEST - len(number) - len(digits) - 3]}-{digits}_c{number}"


def barren(table: Path, inputs: Sequence[Row], with_clips: set[str]) -> list[Row]:
    """Return rows for the videos that gave no clip, ended as curation's report has it."""
    path = table / "report.json"
    try:
        report = json.loads(path.read_bytes())
        ends = {
            row["video_id"]: {name: str(row[name]) for name in ("status", "code", "message")}
            for row in report["rows"]
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: no report of pipeline curate ({error!r:.300}); run it again"
        ) from None
    rows = []
    for row in inputs:
        if row.video_id in with_clips:
            continue
        end = ends.get(row.video_id, {"status": "ok"})
        if end["status"] == "ok":
            raise ValueError(
                f"{path} and tiktok.parquet disagree on {row.path}; run pipeline curate again"
            )
        try:
            rows.append(checked(replace(row, split="", ended=end["code"], why=end["message"])))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; run pipeline curate again") from None
    return rows


def list_published(source: Path, motion: str, motion_dir: Path | None) -> Listing | None:
    """List the videos of the published list and all others in the folder; None if it has none.

    Videos are found by their names, wherever they lie, whatever the case. A listed video that is
    not there ends as `missing_file`, one not listed as `not_in_split`, another file of a name that
    is taken as `same_name`.
    """
    members = published("tiktok")
    here = list_folder(home(source, members), motion, motion_dir)
    rows_at = {Path(row.path): row for row in here.rows if not row.ended}
    files = by_name(rows_at, members)
    if not files:
        return None
    rows = []
    for name, member in members.items():
        row = rows_at[files[name][0]] if name in files else Row(name, f"{name}.mp4")
        known = {"video_id": name, "split": member["split"], "song": member["song_id"]}
        rows.append(replace(row, **known))
    rows += further(files, list(rows_at))
    rows += [replace(row, split="") for row in here.rows if row.ended]
    rows.sort(key=lambda row: row.video_id)
    note = f"published list: {len(files)} of its {len(members)} videos in {here.root}"
    notes = [*twice(files, "listed videos"), *here.notes]
    return Listing(here.root, here.motion_root, with_val(rows, {}), note, here.others, notes)


def with_val(rows: Sequence[Row], family: Mapping[str, str]) -> list[Row]:
    """Return the rows with a tenth of the training songs in `val`, unless some are already.

    Songs that may be one, by their `family`, go together; a song that is not in it is alone.
    """
    if any(row.split == "val" for row in rows):
        return list(rows)
    kin = [family.get(row.song, row.song) if row.split == "train" else "" for row in rows]
    chosen = val_songs({name for name in kin if name})
    return [
        replace(row, split="val") if name in chosen else row
        for row, name in zip(rows, kin, strict=True)
    ]
