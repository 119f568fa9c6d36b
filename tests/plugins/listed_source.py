"""A source: videos of a table of file, split and song."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from model.contract.exit_codes import UsageError
from model.contract.options import option
from pipeline.sources.base import Source
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import Row, video_id
from pipeline.sources.tables import csv_rows


@dataclass(frozen=True)
class Listed(Source):
    """Videos of a table: file, split and song."""

    name: ClassVar[str] = "listed"
    DEFAULT_MOTION: ClassVar[str] = "centre"

    table: Path | None = option(None, "CSV of file,split,song", flag="listed-table", type=Path)

    def check(self):
        if self.table is None or self.source is None:
            raise UsageError("--dataset listed needs --listed-table FILE and --source DIR")

    def list(self, files=None, annotations_dir=None, limit=None):
        found = [row for _, row in csv_rows(self.table, ("file", "split", "song"))]
        rows = [Row(video_id(Path(r["file"])), r["file"], r["split"], r["song"]) for r in found]
        return Listing(self.source, self.source, rows)
