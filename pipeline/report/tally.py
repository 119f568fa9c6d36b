"""All counts of a report, from one pass over its rows."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3
"""Number of example inputs for each outcome in report.json's `ends`; `rows` lists all inputs."""
MAX_FAILED = 10
"""Failed inputs that the printed table names."""


@dataclass
class SplitTally:
    """The inputs of one split: those that are ok, and segments of a published list.

    `listed` are the listed segments, those of them that were made, and others that could be cut.
    """

    inputs: int = 0
    songs: set[str] = field(default_factory=set)
    genres: Counter[str] = field(default_factory=Counter)
    dancers: Counter[int] = field(default_factory=Counter)
    listed: tuple[int, int, int] = (0, 0, 0)


@dataclass
class Tally:
    """Counts of a report's rows.

    `ends` counts inputs by status, stage and code; `examples` are the first of each. `segments` and
    `dropped` (seconds) are of the inputs that are ok. `silent` counts segments, and inputs that
    have some. `failed_early` are those whose outcome was known before any work.
    """

    counts: Counter[str] = field(default_factory=Counter)
    ends: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], list[dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    splits: dict[str, SplitTally] = field(default_factory=lambda: defaultdict(SplitTally))
    segments: array[int] = field(default_factory=lambda: array("q"))
    dropped: array[float] = field(default_factory=lambda: array("d"))
    dropped_s: float = 0.0
    silent: tuple[int, int] = (0, 0)
    several_tracks: int = 0
    failed: list[Mapping[str, Any]] = field(default_factory=list)
    failed_early: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Tally:
        tally = cls()
        for row in rows:
            tally.add(row)
        return tally

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one input."""
        status = row["status"]
        self.counts[status] += 1
        self.dropped_s += row.get("dropped_s", 0.0)
        self.several_tracks += row.get("audio_tracks", 1) > 1
        if silent := len(row.get("silent_segments", ())):
            self.silent = (self.silent[0] + silent, self.silent[1] + 1)
        if row.get("listed_segments"):
            split = self.splits[row["split"]]
            new = (row["listed_segments"], row.get("segments", 0), row.get("unlisted_segments", 0))
            listed, made, unlisted = map(sum, zip(split.listed, new, strict=True))
            split.listed = (listed, made, unlisted)
        if status == "ok":
            self._add_ok(row)
        if row.get("code"):
            end = (status, row["stage"], row["code"])
            self.ends[end] += 1
            if len(self.examples[end]) < EXAMPLES:
                named = {name: row[name] for name in ("video_id", "path", "message")}
                self.examples[end].append(named)
        if status == "failed":
            kept = self.failed_early if row["stage"] == "manifest" else self.failed
            if len(kept) < MAX_FAILED:
                kept.append(row)

    def _add_ok(self, row: Mapping[str, Any]) -> None:
        self.segments.append(row["segments"])
        self.dropped.append(row["dropped_s"])
        split = self.splits[row["split"]]
        split.inputs += 1
        if row.get("song"):
            split.songs.add(row["song"])
        split.genres[row.get("genre", "")] += row["segments"]
        split.dancers.update(row.get("dancers_seen", ()))
