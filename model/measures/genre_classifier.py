"""Which genre does music sound like? A small classifier, trained on the songs of a training split.

Linear discriminant analysis (scikit-learn) of the mean and deviation of log-mel bands. It needs no
downloaded weights. It learns the training songs as they are and as the codec leaves them:
otherwise the codec's noise weighs more than the genre.

Symbols: S segments, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model.contract.segment import GENRES, PEAK
from model.measures.embeddings import mel_statistics


class GenreClassifier:
    """A classifier of genres; `train` makes one."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def train(cls, features: np.ndarray, genres: Sequence[str]) -> GenreClassifier:
        """Return a classifier trained on `genre_features` (S, D) of segments and their genres (S,).

        Raises ValueError if there are fewer than two genres.
        """
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if len(set(genres)) < 2:
            raise ValueError(f"genres {sorted(set(genres))}: a classifier needs at least two")
        model = make_pipeline(
            StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        )
        return cls(model.fit(features, list(genres)))

    def right(self, features: np.ndarray, genres: Sequence[str]) -> np.ndarray:
        """Return 1.0 for each segment (S, D) classified as the genre given, else 0.0: (S,).

        NaN for a genre that is not in GENRES.
        """
        right = (self._model.predict(features) == np.asarray(genres)).astype(float)
        right[~np.isin(genres, GENRES)] = np.nan
        return right


def genre_features(audio: np.ndarray) -> np.ndarray:
    """Return the features (D,) of audio (N,), scaled to the peak 0.95."""
    return mel_statistics(PEAK / max(float(np.abs(audio).max()), 1e-9) * audio)[0]
