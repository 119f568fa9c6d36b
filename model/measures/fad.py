"""Distances between two sets of clips, and between two clips, in audio features.

Symbols: S clips, P patches of all clips, D features; all in float64.
"""

from __future__ import annotations

import math

import numpy as np


def centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) of features (P, D), and the scaled residuals X (P, D).

    XᵀX is the covariance, with n - 1 in the denominator. Raises ValueError for fewer than two rows,
    or values that are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(
            f"features {features.shape}: expected at least two finite rows (P, D) for a covariance"
        )
    mean = features.mean(0)
    return mean, (features - mean) / math.sqrt(len(features) - 1)


def factor(x: np.ndarray) -> np.ndarray:
    """Return F (R, D), R at most D, with FᵀF = XᵀX for X (P, D); eigenvalues below 0 count as 0."""
    if len(x) <= x.shape[1]:
        return x
    values, vectors = np.linalg.eigh(x.T @ x)
    return (vectors * np.sqrt(np.maximum(values, 0))).T


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (P, D) and (Q, D).

    |μa - μb|² + tr(Σa + Σb - 2 (Σa^½ Σb Σa^½)^½). With VGGish features this is the Fréchet audio
    distance (Kilgour et al. 2019). It grows as the sets get smaller, so compare only sets of equal
    size. It compares sets, not pairs: exchanging the clips of videos does not change it. Raises
    ValueError as `centred` does.
    """
    (mean_a, x), (mean_b, y) = centred(a), centred(b)
    # Σa = XᵀX and Σb = YᵀY, so the last trace is the sum of the singular values of XYᵀ. This avoids
    # the square root of a matrix product, which fails if some features are constant.
    middle = np.linalg.svd(factor(x) @ factor(y).T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * middle
    return float(max(distance, 0.0))


def feature_kl(truth: np.ndarray, generated: np.ndarray, floor: float = 1e-3) -> float:
    """Return KL(truth ‖ generated), in nats per feature, of features (P, D) and (Q, D).

    Each feature is treated separately, as a normal distribution fitted to each set. The result is
    the mean over features of ½ (σt² / σg² - 1 + (μg - μt)² / σg² + ln σg² / σt²). `floor` times the
    truth's mean variance is added to every variance, because constant features, which VGGish has
    many of, would make the result infinite. The result is NaN if all features are constant, or,
    with a floor of 0, if one is. As `frechet`, it compares sets, not pairs. A KL with full
    covariances would need far more patches than a test split has: directions without variance would
    dominate it.
    """
    (mean_t, x), (mean_g, y) = centred(truth), centred(generated)
    var_t, var_g = (x**2).sum(0), (y**2).sum(0)
    extra = floor * var_t.mean()
    var_t, var_g = var_t + extra, var_g + extra
    if not (var_t.all() and var_g.all()):
        return math.nan
    ratio = var_t / var_g
    return float((ratio - 1 + (mean_g - mean_t) ** 2 / var_g - np.log(ratio)).mean() / 2)


def paired_kl(truth: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Return KL(truth ‖ generated), in nats, for each pair of clips (S, D): (S,).

    Σ p ln(p / q) with p, q the softmax of the clips' features. Papers on audio generation report
    this for the class probabilities of a classifier. VGGish has no classes, so here its 128
    features serve as logits; compare the results only with others of this project.
    """
    truth, generated = (_log_softmax(np.asarray(x, np.float64)) for x in (truth, generated))
    if truth.shape != generated.shape:
        raise ValueError(f"{truth.shape} true and {generated.shape} generated: expected pairs")
    return (np.exp(truth) * (truth - generated)).sum(1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
