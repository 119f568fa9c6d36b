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
from model.segment import GENRES


@dataclass(frozen=True)
class Clip:
    """Consecutive segments of one video, with their true music.

    `segments` (S, n) are what the shards hold, each peaking at 0.95; `codes` (S, L) are theirs.
    `piece` has what music is generated from.
    """

    piece: Piece
    song: str
    segments: np.ndarray
    codes: np.ndarray

    @property
    def name(self) -> str:
        piece = self.piece
        return piece.video_id if piece.alone else f"{piece.video_id}_seg{piece.first:04d}"

    @property
    def audio(self) -> np.ndarray:
        """The true music (N,)."""
        return self.segments.ravel()


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
    return Clip(piece, str(first.get("song") or video_id), segments, codes)


@dataclass(frozen=True)
class Training:
    """What the training split gives to an evaluation, `None` where there was nothing to take.

    `nearest` holds, per clip, the music (S, n) of the segments whose dance is most like its own.
    """

    database: Database | None
    nearest: list[np.ndarray] | None


def read_training(source: Source, clips: Sequence[Clip], embedding: Embedding | None) -> Training:
    """Go through the training split once. Holds its embeddings and one sound per test segment.

    Dances are compared by the root mean square of their difference, each value divided by its
    deviation over the clips; nothing is shifted in time.
    """
    motions = None
    if all(clip.piece.motion is not None for clip in clips):
        motions = np.concatenate(
            [clip.piece.motion.reshape(len(clip.segments), -1) for clip in clips]
        ).astype(np.float64)
        frames = np.concatenate([clip.piece.motion for clip in clips])
        spread = np.tile(np.maximum(frames.std(0), 1e-6), motions.shape[1] // frames.shape[1])
        motions /= spread
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
            apart = ((motions - batch.motion[0].numpy().ravel() / spread) ** 2).mean(1)
            closer = apart < least
            least[closer], music[closer] = apart[closer], audio
    database = None
    if features:
        database = Database(
            np.stack(features), tuple(genres), tuple(songs), source.samples, embedding.name
        )
    ends = np.cumsum([len(clip.segments) for clip in clips])[:-1]
    return Training(database, None if motions is None else np.split(music, ends))
