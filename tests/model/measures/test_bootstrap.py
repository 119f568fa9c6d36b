"""Comparing models: intervals over songs, and pairing each video with another song."""

import numpy as np
import pytest

from model.measures.bootstrap import (
    interval,
    pair_with_other_group,
    paired_difference,
    set_difference,
)
from model.measures.fad import frechet


def test_the_interval_is_that_of_songs_not_of_segments():
    rng = np.random.default_rng(0)
    songs = np.repeat([f"song{i}" for i in range(10)], 50)
    of_song = np.repeat(rng.normal(0.1, 0.2, 10), 50)
    found = paired_difference(of_song + rng.normal(0, 0.02, 500), np.zeros(500), songs)
    assert found.mean == pytest.approx(of_song.mean(), abs=0.01)
    # The standard error of a mean of ten songs is 0.2 / sqrt(10) = 0.063; of 500 segments, 0.009.
    assert 0.12 < found.high - found.low < 0.42
    assert found.low < found.mean < found.high
    assert found.groups == 10
    assert found.groups_won == (of_song[::50] > 0).sum()


@pytest.mark.parametrize("count", [6, 10, 30])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(count):
    rng = np.random.default_rng(1)
    songs = np.repeat(np.arange(count), 4).astype(str)
    held = 0
    for trial in range(400):
        scores = np.repeat(rng.normal(0.3, 1, count), 4) + rng.normal(0, 1, 4 * count)
        found = paired_difference(scores, np.zeros(4 * count), songs, draws=1000, seed=trial)
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_songs_that_are_alike_are_won_by_neither():
    a, b = np.array([1.0, 2.0, 3.0, 0.1 + 0.2]), np.array([1.0, 1.0, 4.0, 0.3])
    found = paired_difference(a, b, ["w", "x", "y", "z"])
    assert (found.groups_won, found.groups_tied, found.groups) == (1, 2, 4)


def test_a_figure_of_a_set_lies_in_its_interval_though_drawn_sets_differ_more():
    """Distances grow as sets shrink, and a drawn set has fewer different songs."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (40, 8)), rng.normal(0.3, 1, (40, 8))
    songs = np.repeat(np.arange(10), 4).astype(str)
    drawn = [rng.integers(10, size=10) for _ in range(50)]
    rows = [np.concatenate([np.flatnonzero(songs == str(g)) for g in d]) for d in drawn]
    found = interval(lambda at: frechet(a[at], b[at]), songs, at_least=0.0)
    assert np.median([frechet(a[at], b[at]) for at in rows]) > 1.2 * found.value
    assert 0 <= found.low < found.value < found.high


@pytest.mark.long
def test_figures_of_two_sets_are_compared_by_exchanging_songs():
    rng = np.random.default_rng(0)
    songs = np.repeat(np.arange(10), 4).astype(str)
    wide, narrow = rng.normal(0, 4, 40), rng.normal(0, 1, 40)

    def deviation(x, at):
        return float(x.std())

    found, p = set_difference(wide, narrow, deviation, songs)
    assert found.value == pytest.approx(wide.std() - narrow.std())
    assert 0 < found.low < found.value < found.high and p < 0.02
    other, p = set_difference(wide, rng.permutation(wide), deviation, songs)
    assert other.value == pytest.approx(0, abs=1e-12) and p > 0.9
    ps = [set_difference(*rng.normal(0, 1, (2, 40)), deviation, songs, 60)[1] for _ in range(200)]
    assert 0.01 <= (np.array(ps) <= 0.05).mean() <= 0.1


def test_segments_without_a_score_are_left_out():
    a = np.array([1.0, np.nan, 3.0, 5.0])
    found = paired_difference(a, np.array([0.0, 0.0, 1.0, np.nan]), ["x", "x", "y", "y"])
    assert found.mean == 1.5 and found.groups_won == 2
    with pytest.raises(ValueError, match="0 groups"):
        paired_difference(a, np.full(4, np.nan), ["x", "x", "x", "x"])
    with pytest.raises(ValueError, match="4 pairs and 2 groups"):
        paired_difference(a, a, ["x", "y"])


@pytest.mark.parametrize("counts", [(2, 2), (5, 5, 10), (1, 2, 3, 4), (4,) * 10])
def test_everybody_gets_another_song(counts):
    songs = [f"song{i}" for i, count in enumerate(counts) for _ in range(count)]
    seen = set()
    for seed in range(20):
        partner = pair_with_other_group(songs, seed)
        assert sorted(partner) == list(range(len(songs)))
        assert all(songs[i] != songs[j] for i, j in enumerate(partner))
        seen.add(tuple(partner))
    assert len(seen) > 1
    assert (pair_with_other_group(songs, 3) == pair_with_other_group(songs, 3)).all()


def test_a_song_of_more_than_half_cannot_be_shuffled_away():
    with pytest.raises(ValueError, match="group a has 3 of 5"):
        pair_with_other_group(["a", "a", "a", "b", "c"])


def test_a_figure_that_is_not_defined_is_no_difference():
    songs = np.repeat(np.arange(4), 2).astype(str)
    nothing, some = np.full(8, np.nan), np.arange(8.0)
    found, p = set_difference(nothing, some, lambda x, at: float(x.mean()), songs)
    assert np.isnan([found.value, found.low, found.high, p]).all()
    assert np.isnan(interval(lambda at: float("nan"), songs).low)
