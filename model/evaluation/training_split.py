"""Search the training split for an evaluation: genre database and nearest dances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.segment import GENRES, MOTION
from model.data.clips import Clip, read_segments
from model.data.source import Source
from model.measures.embeddings import Embedding
from model.measures.genre import Database


@dataclass(frozen=True)
class Training:
    """The results of searching the training split; `None` if there was nothing to find.

    `database` has embedded segments with genres. `nearest` has for each clip the music (S, n) of
    the training segments whose dances are most similar to those of its segments.
    """

    database: Database | None = None
    nearest: list[np.ndarray] | None = None


STILL = 1e-3
"""Motion values with a smaller standard deviation over the clips do not distinguish dances."""


def read_training(
    source: Source, clips: Sequence[Clip], embedding: Embedding | None, dances: bool = True
) -> Training:
    """Read the training split once. Memory: its embeddings, and audio for each test segment.

    Dances are compared by the root mean square of their difference, without shifts in time. Each
    value is divided by its standard deviation over the clips. Segments of a clip's own video are
    skipped.
    """
    motions = None
    videos = np.repeat([c.piece.video_id for c in clips], [len(c.segments) for c in clips])
    if dances and all(MOTION in clip.piece.inputs for clip in clips):
        motions = np.concatenate(
            [clip.piece.inputs[MOTION].reshape(len(clip.segments), -1) for clip in clips]
        ).astype(np.float64)
        frames = np.concatenate([clip.piece.inputs[MOTION] for clip in clips])
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
            apart = ((motions - batch.inputs[MOTION][0].numpy().ravel() * weight) ** 2).mean(1)
            apart[videos == meta["video_id"]] = np.inf
            closer = apart < least
            least[closer], music[closer] = apart[closer], audio
    database = None
    if embedding is not None and features:
        database = Database(
            np.stack(features), tuple(genres), tuple(songs), source.samples, embedding.name
        )
    ends = np.cumsum([len(clip.segments) for clip in clips])[:-1]
    return Training(database, None if motions is None else np.split(music, ends))
