"""Genre accuracy: which original segment sounds most like the generated one, and of which genre.

Legend: S segments of the database, Q queries, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.segment import GENRES


@dataclass(frozen=True)
class Database:
    """Original segments of the queries' length: features (S, D), and each one's genre and song.

    `embedding` names what made the features; queries by another are refused.
    """

    features: np.ndarray
    genres: tuple[str, ...]
    songs: tuple[str, ...]
    samples: int
    embedding: str

    def __post_init__(self) -> None:
        counts = {len(self.features), len(self.genres), len(self.songs)}
        if len(counts) != 1 or not len(self.features) or np.ndim(self.features) != 2:
            raise ValueError(
                f"features {np.shape(self.features)}, {len(self.genres)} genres, {len(self.songs)} "
                "songs: expected (S, D) with one genre and one song each, S at least 1"
            )
        if not np.isfinite(self.features).all():
            raise ValueError("the database's features are not finite")


def retrieve(
    database: Database, queries: np.ndarray, without_songs: Sequence[str] | None = None
) -> np.ndarray:
    """Return for each query (Q, D) the index (Q,) of the nearest segment, Euclidean, in float64.

    The first of several equally near. `without_songs` (Q,) names a song per query whose segments do
    not count: the dance's own, where finding it again would be no test; -1 where no other is there.
    """
    from scipy.spatial.distance import cdist

    queries = np.asarray(queries, np.float64)
    if queries.ndim != 2 or queries.shape[1] != database.features.shape[1]:
        raise ValueError(
            f"queries {queries.shape}, database {database.features.shape}: expected the same "
            "width; embed both alike"
        )
    if not np.isfinite(queries).all():
        raise ValueError("the queries' features are not finite")
    distance = cdist(queries, np.asarray(database.features, np.float64))
    if without_songs is not None:
        if len(without_songs) != len(queries):
            raise ValueError(f"{len(without_songs)} songs for {len(queries)} queries")
        distance[np.asarray(without_songs)[:, None] == np.asarray(database.songs)] = np.inf
    return np.where(np.isinf(distance).all(1), -1, distance.argmin(1))


def genre_right(
    database: Database,
    queries: np.ndarray,
    genres: Sequence[str],
    samples: int,
    embedding: str,
    without_songs: Sequence[str] | None = None,
) -> np.ndarray:
    """Return for each query (Q, D) 1.0 where the segment found is of its dance's genre: (Q,).

    NaN where the dance has no genre of GENRES, or the database no other song. The paper's genre
    accuracy is the mean. `samples` is the queries' length and `embedding` the name of what made
    them: both must be the database's. The paper does not say whether the dance's own music is in
    the database; `without_songs` leaves it out.
    """
    if samples != database.samples:
        raise ValueError(
            f"queries of {samples} samples, database of {database.samples}: the protocol compares "
            "segments of one length; cut the database's anew"
        )
    if embedding != database.embedding:
        raise ValueError(f"queries by {embedding}, database by {database.embedding}: embed alike")
    if len(genres) != len(queries):
        raise ValueError(f"{len(genres)} genres for {len(queries)} queries")
    found = retrieve(database, queries, without_songs)
    right = (np.asarray(database.genres)[found] == np.asarray(genres)).astype(float)
    right[(found < 0) | ~np.isin(genres, GENRES)] = np.nan
    return right
