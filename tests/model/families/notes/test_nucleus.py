"""What is drawn is among the likeliest, in its share, and never what is impossible."""

from __future__ import annotations

import numpy as np
import pytest

from model.families.notes.nucleus import nucleus


@pytest.mark.long
def test_the_nucleus_has_the_likeliest_and_their_shares():
    shares = np.array([0.15, 0.5, 0.3, 0.05])
    rng = np.random.default_rng(0)
    for top_p, left in [
        (1e-9, {1}),
        (0.5, {1}),
        (0.6, {1, 2}),
        (0.9, {0, 1, 2}),
        (1, {0, 1, 2, 3}),
    ]:
        found = {nucleus(np.log(shares), top_p, 1.0, rng) for _ in range(400)}
        assert found == left
    drawn = [nucleus(np.log(shares), 1.0, 1.0, rng) for _ in range(20_000)]
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, shares, atol=0.02)
    drawn = [nucleus(np.log(shares), 1.0, 0.5, rng) for _ in range(20_000)]
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, shares**2 / sum(shares**2), atol=0.02)


def test_drawing_takes_only_what_is_allowed_and_likely():
    rng = np.random.default_rng(0)
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    assert {nucleus(logits, 0.8, 1.0, rng) for _ in range(100)} == {0, 1}
    assert {nucleus(logits, 0.1, 1.0, rng) for _ in range(50)} == {0}
    allowed = np.where([False, False, True, True], logits, -np.inf)
    assert {nucleus(allowed, 1.0, 1.0, rng) for _ in range(100)} == {2, 3}
    counts = np.bincount([nucleus(logits, 1.0, 1.0, rng) for _ in range(4000)], minlength=4)
    np.testing.assert_allclose(counts / 4000, [0.5, 0.3, 0.15, 0.05], atol=0.03)


def test_classes_that_are_not_sorted_are_never_drawn_nor_missed():
    rng = np.random.default_rng(0)
    for seed in range(300):
        logits = np.round(rng.normal(size=rng.choice([2, 5, 300])) * rng.choice([0, 1, 9]), 1)
        top_p = rng.choice([1, 0.99, 0.9, 0.3])
        shares = np.exp(logits - logits.max())
        order = np.argsort(-shares, kind="stable")
        sums = np.cumsum(shares[order]) / shares.sum()
        last = min(np.searchsorted(sums, top_p - 1e-12), len(sums) - 1)
        place = np.random.default_rng(seed).uniform(0, sums[last])
        expected = order[min(np.searchsorted(sums, place, side="right"), last)]
        assert nucleus(logits, top_p, 1.0, np.random.default_rng(seed)) == expected
