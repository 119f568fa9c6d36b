"""The genre classifier: learns what segments of a genre share, and is blind to loudness."""

from __future__ import annotations

import numpy as np
import pytest

from model.contract.segment import GENRES
from model.measures.genre_classifier import GenreClassifier, genre_features

RATE_HZ = 22050
LOW, HIGH = GENRES[:2]
TIME_S = np.arange(RATE_HZ) / RATE_HZ


def segment(genre: str, seed: int) -> np.ndarray:
    """Return a low tone for one genre and a high one for the other, out of tune and in noise."""
    rng = np.random.default_rng(seed)
    hz = {LOW: 200, HIGH: 2000}[genre] * rng.uniform(0.9, 1.1)
    return np.sin(2 * np.pi * hz * TIME_S) + 0.1 * rng.standard_normal(RATE_HZ)


def test_genres_of_unseen_segments_are_found_however_loud():
    genres = [LOW, HIGH] * 10
    learnt = np.stack([genre_features(segment(genre, i)) for i, genre in enumerate(genres)])
    classifier = GenreClassifier.train(learnt, genres)
    wanted = [LOW, HIGH, HIGH, "unknown"]
    sounds = [segment(LOW, 90), 0.01 * segment(HIGH, 91), segment(LOW, 92), TIME_S]
    found = classifier.right(np.stack([genre_features(sound) for sound in sounds]), wanted)
    assert found[:3].tolist() == [1, 1, 0] and np.isnan(found[3])


def test_one_genre_cannot_be_classified():
    with pytest.raises(ValueError, match="at least two"):
        GenreClassifier.train(np.zeros((2, 3)), [LOW, LOW])
