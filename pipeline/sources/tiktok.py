"""TikTok dances: the clips that `pipeline curate` found, or videos named as in the published list.

The authors' list (manifests/tiktok.csv: 445 videos, 392 for training, 53 for testing) names videos
by ids that the authors made up. Neither footage nor links were published with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from model.contract.options import option
from pipeline.arguments import UsageError
from pipeline.sources.aist import further, published
from pipeline.sources.curated import (
    TIKTOK,
    Curated,
    covers,
    has_table,
    list_curated,
    table_folder,
)
from pipeline.sources.folder import list_folder
from pipeline.sources.listing import AnnotationFiles, Listing, by_name, home, twice
from pipeline.sources.manifest import Row
from pipeline.sources.song_split import with_val

HELP = """there are two ways to get TikTok dances:
  your own videos, cut and sorted:   pipeline curate --dataset tiktok --source DIR
                                     pipeline build --dataset tiktok
  the paper's 445 videos:            name them by the ids in manifests/tiktok.csv
                                     (DIR/000000_0_0.mp4 …), then
                                     pipeline build --dataset tiktok --source DIR --published"""


@dataclass(frozen=True)
class TikTok(Curated):
    """The clips of the curated table, or the videos of the published list."""

    name: ClassVar[str] = TIKTOK

    published: bool = option(
        False,
        "tiktok: --source holds videos of the paper's list, named by the ids in that list",
        action="store_true",
    )

    def check(self) -> None:
        if self.published and self.curated:
            raise UsageError("--published and --curated: choose one, the list or the table")

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        return list_tiktok(self.source, self.curated, self.published, files, annotations_dir)


def list_tiktok(
    source: Path | None,
    curated: Path | None,
    published: bool,
    motion: AnnotationFiles | None,
    motion_dir: Path | None = None,
) -> Listing:
    """List the clips of the table in `curated`, or the videos of the published list.

    The list is used if the user asks for it. It is also used if `source` holds videos of the list
    and none of the table. If no song is in the split `val`, complete songs are moved there from
    `train`.

    Raises FileNotFoundError or ValueError; the message says which files to put where.
    """
    table = curated or table_folder(TIKTOK)
    known = has_table(table)
    if not published and (curated or source is None or (known and covers(table, source))):
        if not known:
            raise FileNotFoundError(f"{table}/tiktok.parquet: no such table; {HELP}")
        return list_curated(table, source, motion, motion_dir)
    if source is None:
        raise FileNotFoundError(f"--published needs --source DIR; {HELP}")
    listing = list_published(source, motion, motion_dir)
    if listing is None:
        has = f"the table in {table} is of other videos; " if known and not published else ""
        advice = HELP.replace("DIR", str(source))
        raise FileNotFoundError(f"{source}: no video of the published list in it; {has}{advice}")
    return listing


def list_published(
    source: Path, motion: AnnotationFiles | None, motion_dir: Path | None
) -> Listing | None:
    """List the videos of the published list and all others in the folder.

    Return None if the folder has no video of the list. Videos are found by name in any sub-folder,
    ignoring upper and lower case. Some outcomes are known already: `missing_file` for a listed
    video that is not there, `not_in_split` for a video that is not listed, and `same_name` for
    another file of a listed video.
    """
    members = published("tiktok")
    listing = list_folder(home(source, members), motion, motion_dir)
    rows_at = {Path(row.path): row for row in listing.rows if not row.known_code}
    files = by_name(rows_at, members)
    if not files:
        return None
    rows = []
    for name, member in members.items():
        row = rows_at[files[name][0]] if name in files else Row(name, f"{name}.mp4")
        rows.append(replace(row, video_id=name, split=member["split"], song=member["song_id"]))
    rows += further(files, list(rows_at))
    rows += [replace(row, split="") for row in listing.rows if row.known_code]
    rows.sort(key=lambda row: row.video_id)
    note = f"published list: {len(files)} of its {len(members)} videos in {listing.root}"
    notes = [*twice(files, "listed videos"), *listing.notes]
    rows = with_val(rows, {})
    return Listing(listing.root, listing.motion_root, rows, note, listing.others, notes)
