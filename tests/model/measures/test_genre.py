"""Genre by the nearest neighbour: exact where it is known, and only like is compared to like."""

from __future__ import annotations

import numpy as np
import pytest
from music_pool import pool

from model.contract.weights_folder import VGGISH_FILE
from model.measures.embeddings import load_embedding
from model.measures.genre import Database, genre_right, retrieve

DATABASE = Database(
    np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]]),
    ("BR", "PO", "LO", "BR"), ("a", "b", "c", "d"), 44100, "vggish",
)  # fmt: skip


def test_genre_accuracy_is_exactly_right_on_a_constructed_database():
    queries = np.array([[1.0, 1], [9, 1], [1, 6], [6, 9], [4, 5.5]])
    assert retrieve(DATABASE, queries).tolist() == [0, 1, 2, 3, 2]
    right = genre_right(DATABASE, queries, ["BR", "PO", "BR", "BR", "LO"], 44100, "vggish")
    assert right.tolist() == [True, True, False, True, True] and right.mean() == 0.8
    # The middle is as far from all four: the first counts.
    assert retrieve(DATABASE, np.array([[5.0, 5.0]])).tolist() == [0]
    without = retrieve(DATABASE, queries[:2], ["a", "x"])
    assert without.tolist() == [1, 1]


def test_distances_far_from_the_origin_lose_no_digits():
    far = Database(1e8 + np.arange(5.0)[:, None], tuple("abcde"), tuple("abcde"), 1, "x")
    assert retrieve(far, np.array([[1e8 + 3.4]])).tolist() == [3]


def test_what_is_not_alike_is_not_compared():
    query = np.zeros((1, 2))
    with pytest.raises(ValueError, match="88200 samples, database of 44100"):
        genre_right(DATABASE, query, ["BR"], 88200, "vggish")
    with pytest.raises(ValueError, match="by mel-statistics, database by vggish"):
        genre_right(DATABASE, query, ["BR"], 44100, "mel-statistics")
    with pytest.raises(ValueError, match="same width"):
        retrieve(DATABASE, np.zeros((1, 3)))
    alone = Database(query, ("BR",), ("a",), 44100, "x")
    assert retrieve(alone, query, ["a"]).tolist() == [-1]
    assert np.isnan(genre_right(alone, query, ["BR"], 44100, "x", ["a"])).all()
    assert np.isnan(genre_right(alone, query, ["no genre"], 44100, "x")).all()
    with pytest.raises(ValueError, match="not finite"):
        retrieve(DATABASE, np.array([[np.nan, 0]]))


def test_without_vggish_the_other_embedding_is_offered_by_name_and_never_taken(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"fetch vggish.*--embedding mel-statistics"):
        load_embedding()
    with pytest.raises(ValueError, match="expected one of vggish, mel-statistics"):
        load_embedding("mel")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / VGGISH_FILE).write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"SHA-256 is .* starts with 10086976"):
        load_embedding("vggish")
    embedding = load_embedding("mel-statistics")
    assert embedding.name == "mel-statistics" and "not VGGish" in embedding.note
    music = pool()[2]
    assert embedding.clip(music).shape == (160,)
    assert not np.allclose(embedding.clip(music), embedding.clip(pool()[9]))
