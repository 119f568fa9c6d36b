"""Genre accuracy: is the original segment nearest to the generated one of the dance's genre?

Symbols: S segments of the database, Q queries, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.segment import GENRES


@dataclass(frozen=True)
class Database:
    """Original segments: features (S, D), genre and song of each, and their length in `samples`.

    `embedding` is the name of the embedding; queries with another embedding raise an error.
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
    """Return the index (Q,) of the nearest segment of each query (Q, D), Euclidean, in float64.

    Of several equally near segments, the first is returned. `without_songs` (Q,) has a song for
    each query, whose segments are left out. Use it to exclude the dance's own song, which would be
    trivial to find. The index is -1 if no other segment is left.
    """
    from scipy.spatial.distance import cdist

    queries = np.asarray(queries, np.float64)
    if queries.ndim != 2 or queries.shape[1] != database.features.shape[1]:
        raise ValueError(
            f"queries {queries.shape}, database {database.features.shape}: expected the same "
            "width; use the same embedding for both"
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
    """Return 1.0 for each query (Q, D) whose nearest segment has the dance's genre, else 0.0: (Q,).

    The value is NaN if the dance's genre is not in GENRES, or if the database has no other song.
    The paper's genre accuracy is the mean. `samples` is the length of the queries and `embedding`
    the name of their embedding; both must equal the database's. The paper does not say whether the
    dance's own music is in the database; `without_songs` leaves it out.
    """
    if samples != database.samples:
        raise ValueError(
            f"queries of {samples} samples, database of {database.samples}: the protocol compares "
            "segments of equal length; cut the database to the length of the queries"
        )
    if embedding != database.embedding:
        raise ValueError(
            f"queries embedded by {embedding}, database by {database.embedding}: use the same "
            "embedding for both"
        )
    if len(genres) != len(queries):
        raise ValueError(f"{len(genres)} genres for {len(queries)} queries")
    found = retrieve(database, queries, without_songs)
    right = (np.asarray(database.genres)[found] == np.asarray(genres)).astype(float)
    right[(found < 0) | ~np.isin(genres, GENRES)] = np.nan
    return right
