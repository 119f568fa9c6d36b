"""In-the-wild dances: single dancers of labelled genres, from the user's own folder of videos.

This is a set like InDV of Li et al. (SIGGRAPH Asia 2024, arXiv 2401.17800), whose list of videos
was not published: the folder is the user's, and the selection is that of `pipeline curate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.sources.curated import (
    WILD,
    Curated,
    covers,
    has_table,
    list_curated,
    table_folder,
)
from pipeline.sources.listing import AnnotationFiles, Listing

_HELP = """first: pipeline curate --dataset wild --source DIR
       DIR has your own videos, in a sub-folder for each genre (or --genres FILE.csv)"""


@dataclass(frozen=True)
class Wild(Curated):
    """The clips of single dancers that curation kept, each with the genre that the user gave it."""

    name: ClassVar[str] = WILD

    @property
    def usual_window_s(self) -> str:
        return "5.12"

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        table = self.curated or table_folder(WILD)
        help_words = _HELP.replace("DIR", str(self.source or "DIR"))
        if not has_table(table, WILD):
            raise FileNotFoundError(f"{table}/{WILD}.parquet: no such table; {help_words}")
        if self.source is not None and not covers(table, self.source, WILD):
            raise FileNotFoundError(
                f"{self.source}: the table in {table} is of other videos; {help_words}"
            )
        return list_curated(table, self.source, files, annotations_dir, WILD)
