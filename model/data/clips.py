"""The clips of a split with their true music, for evaluation.

Symbols: S segments of a clip, N samples at 22 050 Hz, L codes of a segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.data.inputs import GENRE
from model.data.pieces import Piece, runs
from model.data.reader import meta_of, song_of
from model.data.source import Batch, Source


@dataclass(frozen=True)
class Clip:
    """Consecutive segments of one video, with their true music.

    `segments` (S, n) is the audio in the shards; each segment was scaled to a peak of 0.95 by its
    factor in `gains` (S,). `codes` (S, L) are the segments' codes of one level, `by_level` those of
    all levels that were read; without levels, L is 0. `piece` has the inputs from which music is
    generated.
    """

    piece: Piece
    song: str
    segments: np.ndarray
    codes: np.ndarray
    gains: np.ndarray
    by_level: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        piece = self.piece
        return piece.video_id if piece.alone else f"{piece.video_id}_seg{piece.first:04d}"

    @property
    def motion_fps(self) -> float | None:
        """Frames of motion per second of music; None without motion.

        If a window is not a whole number of frames, this differs from the stored frame rate. With
        the stored rate, the frames of joined windows would drift away from the music.
        """
        if MOTION not in self.piece.inputs:
            return None
        return len(self.piece.inputs[MOTION]) * SAMPLE_RATE_HZ / self.segments.size

    @property
    def audio(self) -> np.ndarray:
        """The true music (N,) with its original dynamics: the loudest segment has a peak of 0.95.

        If segments were joined with separate scales, the loudness would jump at their borders, and
        an onset detector would find onsets there.
        """
        return (self.segments * (self.gains.min() / self.gains)[:, None]).ravel()


def read_clips(source: Source) -> list[Clip]:
    """Return the split's clips, in the order of their names, with codes of the first level.

    All clips are held in memory, so use this for small splits, such as a test split.
    """
    videos: dict[str, list[tuple[dict[str, Any], Batch]]] = {}
    for meta, batch in read_segments(source):
        videos.setdefault(meta["video_id"], []).append((meta, batch))
    clips = []
    for video_id, rows in sorted(videos.items()):
        parts = list(runs(sorted(rows, key=lambda row: row[0]["segment"])))
        clips += [_clip(video_id, part, alone=len(parts) == 1) for part in parts]
    return clips


def read_segments(source: Source) -> Iterator[tuple[dict[str, Any], Batch]]:
    """Yield each segment's metadata (its JSON), and the segment as a batch of size 1."""
    for number in range(len(source.dataset.splits[source.split])):
        for raw in source.raw(number):
            yield meta_of(raw, raw["__url__"]), source.collate([raw])


def _clip(video_id: str, rows: list[tuple[dict[str, Any], Batch]], alone: bool) -> Clip:
    first, last = rows[0][0], rows[-1][0]

    inputs = {
        name: np.concatenate([batch.inputs[name][0].numpy() for _, batch in rows])
        for name in rows[0][1].inputs
        if name != GENRE
    }
    piece = Piece(
        video_id, first["segment"], last["segment"], float(first["start_s"]),
        str(first.get("source", "")), inputs, str(first.get("genre") or ""), alone,
    )  # fmt: skip
    segments = np.concatenate([batch.audio.numpy() for _, batch in rows])
    by_level = {
        level: np.concatenate([batch.codes[level].numpy() for _, batch in rows])
        for level in rows[0][1].codes
    }
    codes = next(iter(by_level.values()), np.zeros((len(rows), 0), np.int64))
    gains = np.array([meta.get("gain", 1.0) for meta, _ in rows], np.float32)
    return Clip(piece, song_of(first), segments, codes, gains, by_level)
