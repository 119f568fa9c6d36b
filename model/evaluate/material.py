"""What is evaluated: the clips of a split with their true music, and the split trained on.

Legend: S segments of a clip, N samples at 22 050 Hz, L codes of a segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.data import Batch, Source, meta_of
from model.evaluate.embeddings import Embedding
from model.evaluate.genre import Database
from model.generate import Piece, runs
from model.segment import GENRES, SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Clip:
    """Consecutive segments of one video, with their true music.

    `segments` (S, n) are what the shards hold, each brought to a peak of 0.95 by its `gains` (S,);
    `codes` (S, L) are theirs. `piece` has what music is generated from.
    """

    piece: Piece
    song: str
    segments: np.ndarray
    codes: np.ndarray
    gains: np.ndarray

    @property
    def name(self) -> str:
        piece = self.piece
        return piece.video_id if piece.alone else f"{piece.video_id}_seg{piece.first:04d}"

    @property
    def motion_fps(self) -> float | None:
        """Frames of motion per second of music, None without motion.

        Where a window is no whole number of frames this is not the stored rate, by which the frames
        of joined windows would drift away from the music.
        """
        if self.piece.motion is None:
            return None
        return len(self.piece.motion) * SAMPLE_RATE_HZ / self.segments.size

    @property
    def audio(self) -> np.ndarray:
        """The true music (N,) with its own dynamics: its loudest segment peaks at 0.95.

        Segments joined each at its own peak would have steps of loudness at their borders, which
        an onset detector hears.
        """
        return (self.segments * (self.gains.min() / self.gains)[:, None]).ravel()


def read_clips(source: Source) -> list[Clip]:
    """Return the split's clips, in the order of their names. All are in memory: a test split."""
    videos: dict[str, list[tuple[dict[str, Any], Batch]]] = {}
    for meta, batch in read_segments(source):
        videos.setdefault(meta["video_id"], []).append((meta, batch))
    clips = []
    for video_id, rows in sorted(videos.items()):
        parts = list(runs(sorted(rows, key=lambda row: row[0]["segment"])))
        clips += [_clip(video_id, part, alone=len(parts) == 1) for part in parts]
    return clips


def read_segments(source: Source) -> Iterator[tuple[dict[str, Any], Batch]]:
    """Yield each segment's JSON, and the segment as a batch of one."""
    for number in range(len(source.dataset.splits[source.split])):
        for raw in source.raw(number):
            yield meta_of(raw, raw["__url__"]), source.collate([raw])


def _clip(video_id: str, rows: list[tuple[dict[str, Any], Batch]], alone: bool) -> Clip:
    first, last = rows[0][0], rows[-1][0]

    def joined(name: str) -> np.ndarray | None:
        if getattr(rows[0][1], name) is None:
            return None
        return np.concatenate([getattr(batch, name)[0].numpy() for _, batch in rows])

    piece = Piece(
        video_id, first["segment"], last["segment"], float(first["start_s"]),
        str(first.get("source", "")), joined("motion"), joined("visual"),
        str(first.get("genre") or ""), alone,
    )  # fmt: skip
    segments = np.concatenate([batch.audio.numpy() for _, batch in rows])
    codes = np.concatenate([batch.codes.numpy() for _, batch in rows])
    gains = np.array([meta.get("gain", 1.0) for meta, _ in rows], np.float32)
    return Clip(piece, str(first.get("song") or video_id), segments, codes, gains)


@dataclass(frozen=True)
class Training:
    """What the training split gives to an evaluation, `None` where there was nothing to take.

    `nearest` holds, for each segment of a clip, the music (S, n) of the segment whose dance is most
    like its own.
    """

    database: Database | None = None
    nearest: list[np.ndarray] | None = None


STILL = 1e-3
"""A value of the motion that deviates less over the clips tells no dance from another."""


def read_training(
    source: Source, clips: Sequence[Clip], embedding: Embedding | None, dances: bool = True
) -> Training:
    """Go through the training split once. Holds its embeddings and one sound per test segment.

    Dances are compared by the root mean square of their difference, each value divided by its
    deviation over the clips; nothing is shifted in time. Of a clip's own video there is nothing.
    """
    motions = None
    videos = np.repeat([c.piece.video_id for c in clips], [len(c.segments) for c in clips])
    if dances and all(clip.piece.motion is not None for clip in clips):
        motions = np.concatenate(
            [clip.piece.motion.reshape(len(clip.segments), -1) for clip in clips]
        ).astype(np.float64)
        frames = np.concatenate([clip.piece.motion for clip in clips])
        spread = frames.std(0)
        weight = np.where(spread > STILL, 1 / np.maximum(spread, STILL), 0)
        weight = np.tile(weight, motions.shape[1] // frames.shape[1])
        motions *= weight
        least = np.full(len(motions), np.inf)
        music = np.zeros((len(motions), source.samples), np.float32)
    features, genres, songs = [], [], []
    for meta, batch in read_segments(source):
        audio = batch.audio[0].numpy()
        if embedding is not None and meta.get("genre") in GENRES:
            features.append(embedding.clip(audio))
            genres.append(str(meta["genre"]))
            songs.append(str(meta.get("song") or meta["video_id"]))
        if motions is not None:
            apart = ((motions - batch.motion[0].numpy().ravel() * weight) ** 2).mean(1)
            apart[videos == meta["video_id"]] = np.inf
            closer = apart < least
            least[closer], music[closer] = apart[closer], audio
    database = None
    if features:
        database = Database(
            np.stack(features), tuple(genres), tuple(songs), source.samples, embedding.name
        )
    ends = np.cumsum([len(clip.segments) for clip in clips])[:-1]
    return Training(database, None if motions is None else np.split(music, ends))
