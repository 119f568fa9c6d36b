"""Distances of sets of embeddings: their closed forms, and what cannot be compared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.measures.fad import feature_kl, frechet, paired_kl


def test_the_frechet_distance_of_normals_is_the_closed_form():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 1)), 3 * rng.standard_normal((50, 1)) + 2
    by_hand = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(by_hand, rel=1e-12)
    a = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    b = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6)) + 1
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    textbook = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet(a, b) == pytest.approx(textbook, rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_the_frechet_distance_holds_where_covariances_are_singular():
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.standard_normal((5, 100)), np.zeros((5, 28))], 1)
    assert frechet(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet(few, few + 2) == pytest.approx(4 * 128, rel=1e-9)
    for bad in (few[:1], few[0], np.full((3, 4), np.nan)):
        with pytest.raises(ValueError, match="two finite rows"):
            frechet(few, bad)


def test_the_two_kl_are_their_formulas():
    from scipy.special import softmax
    from scipy.stats import entropy

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 128)), rng.standard_normal((4, 128))
    expected = [entropy(softmax(x), softmax(y)) for x, y in zip(a, b, strict=True)]
    assert paired_kl(a, b) == pytest.approx(expected, rel=1e-10)
    assert paired_kl(a, a).max() == 0
    assert np.isfinite(paired_kl(1e4 * a, b)).all()
    with pytest.raises(ValueError, match="expected pairs"):
        paired_kl(a, b[:3])
    t, g = rng.standard_normal((30, 1)), 2 * rng.standard_normal((30, 1)) + 1
    (mt, vt), (mg, vg) = ((x.mean(), x.var(ddof=1)) for x in (t, g))
    by_hand = 0.5 * (vt / vg - 1 + (mg - mt) ** 2 / vg + math.log(vg / vt))
    assert feature_kl(t, g, floor=0) == pytest.approx(by_hand, rel=1e-12)
    assert feature_kl(t, t) == 0 and feature_kl(t, g) > 0
    assert np.isnan(feature_kl(np.ones((3, 2)), np.ones((3, 2))))
