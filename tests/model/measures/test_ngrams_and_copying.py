"""N-grams and copied runs: exact on small cases, and equal to a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from model.measures.copying import longest_shared_run
from model.measures.ngrams import NGrams, fit, joined


def chain(rng: np.random.Generator, segments: int, length: int, size: int) -> np.ndarray:
    """Return codes in which the sum of two determines the next in four of five cases."""
    codes = rng.integers(size, size=(segments, length))
    for i in range(2, length):
        known = rng.random(segments) < 0.8
        codes[:, i] = np.where(known, (codes[:, i - 1] + codes[:, i - 2]) % size, codes[:, i])
    return codes


def test_longer_contexts_help_where_they_tell_something():
    rng = np.random.default_rng(0)
    train, val, test = (chain(rng, n, 100, 8) for n in (200, 20, 20))
    grams = fit(train, val, 8)
    one, two, three = (grams.bits(test, order).mean() for order in (1, 2, 3))
    assert one == pytest.approx(3, abs=0.02) and two == pytest.approx(3, abs=0.02)
    # The first of 98 in five is free: p = 0.825 for the sum, 0.025 for each other.
    least = -(0.825 * np.log2(0.825) + 7 * 0.025 * np.log2(0.025))
    assert least - 0.05 < three < least + 0.15


def test_probabilities_sum_to_one():
    rng = np.random.default_rng(1)
    train = rng.integers(5, size=(4, 30))
    grams = fit(train, rng.integers(5, size=(2, 30)), 5)
    for order in (1, 2, 3):
        every = np.array([[1, 2, code] for code in range(5)])
        last = grams._probability(every, order)[:, -1]
        assert last.sum() == pytest.approx(1)


def test_the_unigram_counts():
    grams = NGrams(2, {1: (np.array([0, 1]), np.array([6, 1]))}, {}, {})
    found = grams.bits(np.array([[0, 0], [1, 0]]), 1)
    p = np.array([6.5, 1.5]) / 8
    assert found == pytest.approx([-np.log2(p[0]), -np.log2(p).mean()])


def test_joined_codes_are_numbers_of_their_base():
    assert joined(np.array([[1, 2, 3]]), 2, 10).tolist() == [[12, 23]]
    assert joined(np.array([[1, 2, 3]]), 3, 10).tolist() == [[123]]


def test_codes_outside_the_codebook_are_refused():
    codes = np.array([[0, 9]])
    with pytest.raises(ValueError, match="each from 0 to 8"):
        fit(codes, codes, 9)


def plain_search(row: list[int], training: list[list[int]]) -> int:
    known = {
        tuple(t[i:j]) for t in training for i in range(len(t)) for j in range(i + 1, len(t) + 1)
    }
    runs = [j - i for i in range(len(row)) for j in range(i + 1, len(row) + 1)
            if tuple(row[i:j]) in known]  # fmt: skip
    return max(runs, default=0)


def test_the_longest_shared_run_is_that_of_a_plain_search():
    rng = np.random.default_rng(2)
    training = rng.integers(3, size=(4, 25))
    codes = rng.integers(4, size=(6, 25))
    codes[1, 3:20] = training[2, 5:22]
    codes[2] = training[0]
    codes[3] = 3  # not in the training split
    found = longest_shared_run(codes, training)
    assert found.tolist() == [plain_search(r, training.tolist()) for r in codes.tolist()]
    assert found[1] >= 17 and found[2] == 25 and found[3] == 0


def test_a_run_does_not_cross_the_border_of_segments():
    training = np.array([[0, 1, 2], [3, 4, 5]])
    assert longest_shared_run(np.array([[1, 2, 3, 4]]), training).tolist() == [2]
    with pytest.raises(ValueError, match="expected"):
        longest_shared_run(np.zeros((1, 0)), training)
