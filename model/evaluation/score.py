"""All scores of music for a split: of clips, of segments and of the entire set, with intervals.

Symbols: C clips, S segments of all clips, K times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from model.baselines.base import Music
from model.contract.segment import GENRES, MOTION, PEAK, SAMPLE_RATE_HZ
from model.data.clips import Clip
from model.evaluation.training_split import Training
from model.measures.align import align_scores
from model.measures.base import Measure, named
from model.measures.beats import onset_f, onset_scores, onsets_s
from model.measures.bootstrap import Interval, interval, mean_interval
from model.measures.codes import coarsest, code_accuracy, perplexity
from model.measures.copying import longest_shared_run
from model.measures.embeddings import SIMILARITY, Embedding, similarity, similarity_measures
from model.measures.fad import feature_kl, frechet, paired_kl
from model.measures.genre import genre_right
from model.measures.genre_classifier import genre_features
from model.measures.notes import loudness_db, note_scores
from model.measures.rhythm import (
    SCALES,
    beat_scores,
    beats_s,
    bin_scores,
    f1_of_means,
    loris_onsets_s,
    spread,
    tempo_difference,
)

PAPER = ("cover", "hit", "genre")
OF_CLIPS, OF_SEGMENTS, OF_SETS = (named(of) for of in ("clip", "segment", "set"))

Scores = dict[str, np.ndarray]

SetFigure = tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], float]]
"""The data (S, …) of a measure of sets, and a function of a selection of the data and its indices
that computes the measure."""


class Scorer:
    """Scores music against the true music of a split.

    Rhythm is measured on complete clips, because a beat tracker needs more than 2 s. The paper's
    scores are measured on segments of the shards' window, as in the paper. Without an embedding
    there are no `genre`, `kl` and distances, without a database no `genre`, without motion no
    `align`, and without codes no `codes` and `perplexity`. `motion_fps` is the number of motion
    frames per second of music. `measures` are those of other packages, by name. `training` has what
    music is compared with; without its classifier there is no `genre_heard`, and without its codes
    no `copied`. Similarity is measured by the embedding and by each of `further`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        embedding: Embedding | None,
        training: Training,
        motion_fps: float | None,
        bins: int,
        measures: Mapping[str, Measure] | None = None,
        further: Sequence[Embedding] = (),
    ) -> None:
        self.further = further
        names = [each.name for each in (embedding, *further) if each is not None]
        self.measures = similarity_measures(names) | dict(measures or {})
        self.clips, self.embedding, self.training = clips, embedding, training
        self.motion_fps, self.bins = motion_fps, bins
        self.samples = clips[0].segments.shape[1]
        self.seconds = math.ceil(self.samples / SAMPLE_RATE_HZ)
        self.songs = [clip.song for clip in clips]
        counts = [len(clip.segments) for clip in clips]
        self.segment_songs = list(np.repeat(self.songs, counts))
        self.genres = list(np.repeat([clip.piece.genre for clip in clips], counts))
        self.truth = [clip.audio for clip in clips]
        self.onsets = [onsets_s(audio) for audio in self.truth]
        self.beats = [beats_s(audio) for audio in self.truth]
        segments = self.segments = [segment for clip in clips for segment in clip.segments]
        self.segment_onsets = [onsets_s(audio) for audio in segments]
        self.loris_onsets = [loris_onsets_s(audio) for audio in segments]
        self.codes = np.concatenate([clip.codes for clip in clips])
        self.patches = self._embed(segments, embedding)
        self.further_truth = [self._vectors(segments, each) for each in further]

    def scores(self, music: Music) -> Scores:
        """Return all scores by name: (C,) for clips, (S,) for segments; NaN if undefined.

        Also returns `patches` (S, P, D) and `of codes` (S, L), for the measures of sets.
        """
        found = _columns([self._of_clip(i, audio) for i, audio in enumerate(music.audio)])
        segments = self._cut(music.audio)
        found |= _columns([self._of_segment(i, audio) for i, audio in enumerate(segments)])
        patches = self._embed(segments, self.embedding)
        if patches is not None and self.patches is not None and self.embedding is not None:
            found["patches"], features = patches, patches.mean(1)
            truth = self.patches.mean(1)
            found["kl"] = paired_kl(truth, features)
            found[SIMILARITY + self.embedding.name] = similarity(features, truth)
            found |= self._genre(features)
        for each, truth in zip(self.further, self.further_truth, strict=True):
            found[SIMILARITY + each.name] = similarity(self._vectors(segments, each), truth)
        found |= self._genre_heard(segments)
        if music.codes is not None:
            codes = np.concatenate(music.codes)
            found["codes"] = code_accuracy(codes, self.codes)
            found["of codes"] = coarsest(codes)
            if self.training.codes:
                level = next(iter(self.training.codes))
                known = coarsest(self.training.codes[level])
                found["copied"] = self._copied(found["of codes"], known)
        return found

    def summary(self, scores: Scores) -> dict[str, Interval]:
        """Return each score's mean, or a set's value, with a bootstrap interval over songs.

        With fewer than two songs there is no interval: low and high are NaN.
        """
        found = {
            name: _mean(scores[name], self.songs if of == "clip" else self.segment_songs)
            for name, of in self._averaged()
            if name in scores
        }
        figures = set_figures(scores, self.patches, self.bins)
        return found | {n: _figure(*f, self.segment_songs) for n, f in figures.items()}

    def plain_scores(self, scores: Scores) -> dict[str, list[float | None]]:
        """Return the scores of single clips and segments for JSON."""
        return {
            name: [_number(value) for value in scores[name]]
            for name, _ in self._averaged()
            if name in scores
        }

    def _averaged(self) -> list[tuple[str, str]]:
        """Return the measures whose scores are averaged, each with its unit, clip or segment."""
        own = [(name, "segment") for name in OF_SEGMENTS] + [(name, "clip") for name in OF_CLIPS]
        return own + [(name, measure.of) for name, measure in self.measures.items()]

    def _added(self, of: str, audio: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Return the scores of a clip or segment by the measures of other packages."""
        found = {}
        for name, measure in self.measures.items():
            if measure.of == of and measure.score is not None:
                try:
                    found[name] = float(measure.score(audio, truth))
                except Exception as error:  # the code of a plugin may raise anything
                    raise ValueError(
                        f"measure {name!r} failed: {type(error).__name__}: {error!s:.300}"
                    ) from error
        return found

    def _of_clip(self, i: int, audio: np.ndarray) -> dict[str, float]:
        beats, motion = beats_s(audio), self.clips[i].piece.inputs.get(MOTION)
        found = {"onset_f": math.nan, **beat_scores(beats, self.beats[i])}
        found["tempo_difference"] = tempo_difference(beats, self.beats[i])
        if len(self.onsets[i]):
            found["onset_f"] = onset_f(onsets_s(audio), self.onsets[i])
        if motion is not None and self.motion_fps is not None:
            found |= align_scores(motion, self.motion_fps, beats)
        found["loudness_db"] = loudness_db(audio) - loudness_db(self.truth[i])
        found |= note_scores(audio)
        return found | self._added("clip", audio, self.truth[i])

    def _of_segment(self, i: int, audio: np.ndarray) -> dict[str, float]:
        found = onset_scores(onsets_s(audio), self.segment_onsets[i], self.seconds)
        scores = {"cover": found["cover"], "hit": found["hit"]}
        onsets, true = loris_onsets_s(audio), self.loris_onsets[i]
        for scale in SCALES:
            scores |= bin_scores(onsets, true, scale.bins(self.samples), scale)
        return scores | self._added("segment", audio, self.segments[i])

    def _genre(self, features: np.ndarray) -> Scores:
        if self.embedding is None or self.training.database is None:
            return {}
        if not set(self.genres) & set(GENRES):
            return {}
        right = genre_right(
            self.training.database, features, self.genres, self.samples, self.embedding.name,
            self.segment_songs,
        )  # fmt: skip
        return {"genre": right}

    def _genre_heard(self, segments: Sequence[np.ndarray]) -> Scores:
        if self.training.classifier is None or not set(self.genres) & set(GENRES):
            return {}
        features = np.stack([genre_features(audio) for audio in segments])
        return {"genre_heard": self.training.classifier.right(features, self.genres)}

    def _copied(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the seconds (S,) of the longest run of codes (S, L) that training has, too."""
        seconds = self.samples / SAMPLE_RATE_HZ / codes.shape[1]
        return longest_shared_run(codes, known) * seconds

    def _cut(self, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [part for audio in sounds for part in audio.reshape(-1, self.samples)]

    @staticmethod
    def _embed(segments: Sequence[np.ndarray], embedding: Embedding | None) -> np.ndarray | None:
        """Return the patches (S, P, D) of segments, each scaled to the shards' peak."""
        if embedding is None:
            return None
        peaks = [max(float(np.abs(audio).max()), 1e-9) for audio in segments]
        loud = (PEAK / peak * audio for peak, audio in zip(peaks, segments, strict=True))
        return np.stack([embedding.patches(audio) for audio in loud])

    def _vectors(self, segments: Sequence[np.ndarray], embedding: Embedding) -> np.ndarray:
        """Return one vector (S, D) for each segment: the mean of its patches."""
        patches = self._embed(segments, embedding)
        assert patches is not None
        return patches.mean(1)


def set_figures(
    scores: Mapping[str, np.ndarray], truth: np.ndarray | None, bins: int
) -> dict[str, SetFigure]:
    """Return the possible measures of a set, by name; `truth` are the true music's patches."""
    if "cover" not in scores:
        return {}
    found: dict[str, SetFigure] = {
        "csd": (scores["cover"], lambda x, _: spread(x)),
        "hsd": (scores["hit"], lambda x, _: spread(x)),
    }
    for scale in SCALES:
        if scale.bcs in scores:  # evaluations of earlier versions have only LORIS's
            both = np.stack([scores[scale.bcs], scores[scale.bhs]], 1)
            found[scale.csd] = (scores[scale.bcs], lambda x, _: spread(x))
            found[scale.hsd] = (scores[scale.bhs], lambda x, _: spread(x))
            found[scale.f1] = (both, lambda x, _: f1_of_means(x[:, 0], x[:, 1]))
    if "patches" in scores and truth is not None and len(scores["cover"]) > 1:
        found["frechet"] = (scores["patches"], _distance(frechet, truth))
        found["feature_kl"] = (scores["patches"], _distance(feature_kl, truth))
    if "of codes" in scores:
        found["perplexity"] = (scores["of codes"], lambda x, _: perplexity(x, bins))
    return found


def _distance(
    of: Callable[[np.ndarray, np.ndarray], float], truth: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the distance of patches (S, P, D) to the true patches of the same segments."""
    return lambda x, at: of(np.concatenate(truth[at]), np.concatenate(x))


def plain(summary: dict[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Return a summary for JSON, with None in place of NaN, which JSON does not have."""
    return {
        name: {key: _number(value) for key, value in asdict(found).items()}
        for name, found in summary.items()
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _columns(rows: list[dict[str, float]]) -> Scores:
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def _mean(values: np.ndarray, songs: Sequence[str]) -> Interval:
    known = ~np.isnan(values)
    count = len(set(np.asarray(songs)[known]))
    if count < 2:
        mean = float(values[known].mean()) if count else math.nan
        return Interval(mean, math.nan, math.nan, count)
    return mean_interval(values, songs)


def _figure(
    values: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    songs: Sequence[str],
) -> Interval:
    if (count := len(set(songs))) < 2:
        return Interval(statistic(values, np.arange(len(songs))), math.nan, math.nan, count)
    return interval(lambda at: statistic(values[at], at), songs, at_least=0.0)
