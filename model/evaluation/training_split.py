"""Read the training split for an evaluation: its genres, dances and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from model.codecs.base import Codec
from model.contract.segment import GENRES, MOTION
from model.data.clips import Clip, read_segments
from model.data.reader import song_of
from model.data.source import Batch, Source
from model.measures.embeddings import Embedding
from model.measures.genre import Database
from model.measures.genre_classifier import GenreClassifier, genre_features


@dataclass(frozen=True)
class Training:
    """The results of reading the training split; `None` or empty if there was nothing to find.

    `database` has embedded segments with genres, and `classifier` is trained on them. `nearest` has
    for each clip the music (S, n) of the training segments whose dances are most similar to those
    of its segments. `codes` has the codes (R, L) of all segments by level, the decoded one first.
    """

    database: Database | None = None
    nearest: list[np.ndarray] | None = None
    classifier: GenreClassifier | None = None
    codes: Mapping[str, np.ndarray] = field(default_factory=dict)


STILL = 1e-3
"""Motion values with a smaller standard deviation over the clips do not distinguish dances."""

COPIES = 640
"""The genre classifier learns the codec's copies of at most so many segments, spread evenly:
decoding takes long."""


def read_training(
    source: Source,
    clips: Sequence[Clip],
    embedding: Embedding | None,
    dances: bool = True,
    codec: Codec | None = None,
) -> Training:
    """Read the training split once. Memory: its embeddings, and audio for each test segment.

    With `codec`, its copies of the source's levels are learnt by the genre classifier.

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
    heard: list[tuple[str, np.ndarray]] = []
    codes: dict[str, list[np.ndarray]] = {}
    every = max(1, source.dataset.segments(source.split) // COPIES)
    for i, (meta, batch) in enumerate(read_segments(source)):
        audio = batch.audio[0].numpy()
        for level, each in batch.codes.items():
            codes.setdefault(level, []).append(each[0].numpy().astype(np.int32))
        if codec is not None and meta.get("genre") in GENRES:
            sounds = [audio, *(copies(batch, codec) if i % every == 0 else ())]
            heard += [(str(meta["genre"]), genre_features(sound)) for sound in sounds]
        if embedding is not None and meta.get("genre") in GENRES:
            features.append(embedding.clip(audio))
            genres.append(str(meta["genre"]))
            songs.append(song_of(meta))
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
    classifier = None
    if len({genre for genre, _ in heard}) > 1:
        named, learnt = zip(*heard, strict=True)
        classifier = GenreClassifier.train(np.stack(learnt), named)
    ends = np.cumsum([len(clip.segments) for clip in clips])[:-1]
    nearest = None if motions is None else np.split(music, ends)
    return Training(database, nearest, classifier, {n: np.stack(x) for n, x in codes.items()})


@torch.no_grad()
def copies(batch: Batch, codec: Codec) -> list[np.ndarray]:
    """Return the music (N,) that each level of a codec leaves of a batch's one segment."""
    return [codec.decode(codes.to(codec.device), level)[0].cpu().numpy()
            for level, codes in batch.codes.items()]  # fmt: skip
