"""Pieces: consecutive segments of one video, joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Features = TypeVar("Features")
Row = tuple[dict[str, Any], dict[str, np.ndarray]]
"""A segment as read: its JSON, and its features by suffix."""


@dataclass
class Piece:
    """Consecutive segments of one video, and their inputs by name (T, D), joined along time.

    `alone` is True if the video has no other piece. If the piece is a clip of a longer video,
    `stop_s` is its end and `box_px` (x, y, width, height) the part of the picture that it shows;
    otherwise they are None and empty.
    """

    video_id: str
    first: int
    last: int
    start_s: float
    source: str
    inputs: dict[str, np.ndarray]
    genre: str = ""
    alone: bool = True
    stop_s: float | None = None
    box_px: tuple[int, ...] = ()

    @property
    def segments(self) -> int:
        return self.last - self.first + 1

    @property
    def mp4_start_s(self) -> float:
        """When the music starts in the mp4: at 0 s if the video is cut to the piece."""
        return self.start_s if self.stop_s is None else 0.0


def join(video_id: str, rows: list[Row], suffixes: list[str]) -> Iterator[Piece]:
    """Yield the pieces of one video; its segments may be given in any order."""
    parts = list(runs(sorted(rows, key=lambda row: row[0]["segment"])))
    for part in parts:
        arrays = {s: np.concatenate([arrays[s] for _, arrays in part]) for s in suffixes}
        first, last = part[0][0], part[-1][0]
        yield Piece(
            video_id,
            first["segment"],
            last["segment"],
            float(first["start_s"]),
            str(first.get("source", "")),
            arrays,
            str(first.get("genre") or ""),
            alone=len(parts) == 1,
            stop_s=float(last["clip_s"][1]) if "clip_s" in last else None,
            box_px=tuple(map(int, last.get("box_px", ()))),
        )


def runs(
    rows: list[tuple[dict[str, Any], Features]],
) -> Iterator[list[tuple[dict[str, Any], Features]]]:
    """Split (JSON, features) rows, sorted by segment, at gaps in the segment numbers."""
    start = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i][0]["segment"] != rows[i - 1][0]["segment"] + 1:
            yield rows[start:i]
            start = i
