"""Codes, intervals and the paired test: exact on small cases, and counted by songs."""

from __future__ import annotations

import numpy as np
import pytest

from model.measures.bootstrap import interval, mean_interval, sign_flip_p
from model.measures.codes import code_accuracy, perplexity
from model.measures.rhythm import (
    spread,
)


def test_code_accuracy_and_perplexity():
    codes, truth = np.array([[1, 2, 3, 4], [5, 5, 5, 5]]), np.array([[1, 2, 0, 0], [5, 5, 5, 5]])
    assert code_accuracy(codes, truth).tolist() == [0.5, 1.0]
    assert perplexity(truth[1], 8) == 1.0
    assert perplexity(np.arange(8).repeat(3), 8) == pytest.approx(8)
    assert perplexity(np.array([0, 0, 1, 2]), 8) == pytest.approx(2**1.5)
    with pytest.raises(ValueError, match=r"\(2, 4\) against \(2, 3\)"):
        code_accuracy(codes, truth[:, :3])
    with pytest.raises(ValueError, match="each from 0 to 4"):
        perplexity(codes, 5)


def test_intervals_of_means_and_of_any_figure():
    rng = np.random.default_rng(0)
    songs = np.repeat([f"s{i}" for i in range(40)], 5)
    values = np.repeat(rng.standard_normal(40), 5)
    mean = mean_interval(values, songs)
    assert mean.value == pytest.approx(values.mean()) and mean.groups == 40
    # The standard error of a mean of 40 songs is 0.16, not that of 200 clips.
    assert 0.4 < mean.high - mean.low < 0.8
    same = interval(lambda at: float(values[at].mean()), songs)
    assert (same.low, same.high) == pytest.approx((mean.low, mean.high), abs=0.05)
    deviation = interval(lambda at: spread(values[at]), songs)
    assert deviation.low < deviation.value < deviation.high
    assert mean.apart(mean_interval(values + 1, songs)) and not mean.apart(same)
    with pytest.raises(ValueError, match="1 groups"):
        interval(lambda at: 0.0, ["a", "a"])


def test_the_paired_test_counts_signs_of_songs():
    songs = ["a", "a", "b", "b", "c", "c"]
    assert sign_flip_p(np.ones(6), np.zeros(6), songs) == 2 / 8
    assert sign_flip_p(np.array([1, 1, 1, 1, -2, -2.0]), np.zeros(6), songs) == 1.0
    many = [f"s{i}" for i in range(20)]
    assert sign_flip_p(np.ones(20), np.zeros(20), many) < 1e-3
    assert sign_flip_p(np.full(20, 0.1), np.full(20, 0.1), many) == 1.0
    rng = np.random.default_rng(0)
    p = [sign_flip_p(rng.standard_normal(10), np.zeros(10), many[:10]) for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.1
    with pytest.raises(ValueError, match="6 pairs and 2 groups"):
        sign_flip_p(np.ones(6), np.zeros(6), ["a", "b"])
