"""The curated clips of a studio: the table of `pipeline curate`, and the overrides of a user.

The overrides are a CSV with the columns `id,verdict`, which `pipeline curate --overrides` takes.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from model.contract.files import write_atomic
from model.generation.pipeline_process import find_video
from model.studio.users import Refused

OVERRIDES = "overrides.csv"
COLUMNS = ("id", "verdict")
NAMES = ("tiktok", "wild")


@dataclass(frozen=True)
class Clip:
    """One row of the table; `box` is x, y, width and height in px."""

    id: str
    source: str
    start_s: float
    end_s: float
    box: tuple[int, ...]
    song: str
    split: str
    decision: str
    reason: str
    detail: str


@dataclass
class Curated:
    """A folder of `pipeline curate`. Raises ValueError and OSError if it is none."""

    folder: Path
    clips: list[Clip] = field(init=False)
    source: Path | None = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.folder = self.folder.resolve()
        found = [name for name in NAMES if (self.folder / f"{name}.parquet").is_file()]
        if not found:
            raise ValueError(f"{self.folder}: no table of pipeline curate ({' or '.join(NAMES)})")
        try:
            rows = pq.read_table(self.folder / f"{found[0]}.parquet").to_pylist()
            self.clips = [_clip(row) for row in rows]
            inputs = self.folder / f"{found[0]}.inputs.parquet"
            facts = pq.read_schema(inputs).metadata or {} if inputs.is_file() else {}
        except (pa.ArrowException, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.folder}: its table cannot be read ({error!s:.200}); curate again"
            ) from None
        root = os.fsdecode(facts.get(b"root", b""))
        self.source = Path(root) if root and Path(root).is_dir() else None
        self.overrides()

    def find(self, decision: str = "all") -> list[Clip]:
        """Return the clips with a decision: "keep", "reject", a reason, or "all"."""
        return [c for c in self.clips if decision in ("all", "", c.decision, c.reason)]

    def decisions(self) -> list[str]:
        """Return what `find` takes."""
        reasons = sorted({clip.reason for clip in self.clips if clip.reason})
        return ["all", "keep", "reject", *(r for r in reasons if r not in ("keep", "reject"))]

    def clip(self, clip_id: object) -> Clip:
        """Return the clip with an id; Refused if there is none."""
        for clip in self.clips:
            if clip.id == clip_id:
                return clip
        raise Refused("no such clip")

    def video(self, clip: Clip) -> Path:
        """Return the file of a clip's video; Refused if it is not there."""
        path = None if self.source is None else find_video(str(self.source), clip.source)
        if path is None:
            raise Refused(f"{clip.source}: the video is not where it was when it was curated")
        return path

    def overrides(self) -> dict[str, str]:
        """Return the verdicts of the CSV by clip, {} if there is none yet.

        Raises ValueError for a file with other columns: it is not overwritten.
        """
        path = self.folder / OVERRIDES
        if not path.is_file():
            return {}
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"{path}: expected the columns {','.join(COLUMNS)}")
            return {row["id"]: row["verdict"] for row in reader if row["id"] and row["verdict"]}

    def override(self, clip_id: object, verdict: str) -> dict[str, str]:
        """Write a verdict into the CSV: keep, reject, a song's name, or "" to remove it.

        Return all verdicts. Raises Refused for an unknown clip or a name that is none.
        """
        clip, verdict = self.clip(clip_id), verdict.strip()
        plain = all(c.isalnum() or c in "_- ." for c in verdict) and len(verdict) <= 80
        if verdict and not (plain and verdict[0].isalnum()):
            raise Refused(
                f"{verdict!r:.80}: a song's name begins with a letter or a digit, and has only "
                "letters, digits, spaces, '.', '-' and '_'"
            )
        with self._lock:
            known = self.overrides()
            known.pop(clip.id, None)
            if verdict:
                known[clip.id] = verdict
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(sorted(known.items()))
            write_atomic(self.folder / OVERRIDES, text.getvalue().encode())
        return known


def _clip(row: dict) -> Clip:
    return Clip(
        id=str(row["id"]),
        source=str(row["source"]),
        start_s=float(row["start_s"]),
        end_s=float(row["end_s"]),
        box=tuple(map(int, row["box"])),
        song=str(row["song"] or ""),
        split=str(row["split"] or ""),
        decision=str(row["decision"]),
        reason=str(row["reason"] or ""),
        detail=str(row["detail"] or ""),
    )
