"""What a source folder offers: the manifest's rows before any file is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.manifest import Row

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .flv .wmv .mpg .mpeg .ts .gif".split())


@dataclass(frozen=True)
class Listing:
    """Rows, and the two folders that their `path` and `motion` are relative to."""

    root: Path
    motion_root: Path
    rows: list[Row]


def video_files(root: Path) -> list[Path]:
    """Return the paths of all videos under `root`, relative to it, sorted."""
    found = (p for p in root.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    return sorted(p.relative_to(root) for p in found)
