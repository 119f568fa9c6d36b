"""Distances between two sets of clips, and between two clips, in features of sound.

Legend: S clips, P patches of all clips, D features; all in float64.
"""

from __future__ import annotations

import math

import numpy as np


def centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) of features (P, D), and what is left as X (P, D): XᵀX is the covariance.

    With n - 1 in the denominator. Raises ValueError for fewer than two rows, or any not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(
            f"features {features.shape}: expected at least two finite rows (P, D) for a covariance"
        )
    mean = features.mean(0)
    return mean, (features - mean) / math.sqrt(len(features) - 1)


def factor(x: np.ndarray) -> np.ndarray:
    """Return F (R, D), R at most D, whose FᵀF is XᵀX of X (P, D); what rounds below 0 is 0."""
    if len(x) <= x.shape[1]:
        return x
    values, vectors = np.linalg.eigh(x.T @ x)
    return (vectors * np.sqrt(np.maximum(values, 0))).T


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (P, D) and (Q, D).

    |μa - μb|² + tr(Σa + Σb - 2 (Σa^½ Σb Σa^½)^½): Fréchet audio distance where the features are
    VGGish's (Kilgour et al. 2019). Grows as sets shrink, so compare equal sizes only; it knows sets
    and not pairs: clips exchanged among videos leave it as it is. ValueError as `centred`.
    """
    (mean_a, x), (mean_b, y) = centred(a), centred(b)
    # Σa = XᵀX and Σb = YᵀY, so the last trace is the sum of the singular values of XYᵀ: no root of
    # a product, which fails where features never vary.
    middle = np.linalg.svd(factor(x) @ factor(y).T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * middle
    return float(max(distance, 0.0))


def feature_kl(truth: np.ndarray, generated: np.ndarray, floor: float = 1e-3) -> float:
    """Return KL(truth ‖ generated), in nats per feature, of features (P, D) and (Q, D).

    Each feature by itself, as a normal distribution fitted to either set; the mean over features of
    ½ (σt² / σg² - 1 + (μg - μt)² / σg² + ln σg² / σt²). To every variance `floor` times the
    truth's mean variance is added: features that never vary, as many of VGGish's are, would make it
    infinite. NaN where none varies, or, without a floor, one. Of sets and not pairs, as `frechet`.
    A KL of full covariances needs far more patches than a test split has: its value is that of the
    directions in which nothing happens.
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

    Σ p ln(p / q) with p, q the softmax of the clip's features. Work on audio generation reports
    this of a classifier's class probabilities; VGGish has no classes, so its 128 features stand for
    the logits, and figures compare with ours alone.
    """
    truth, generated = (_log_softmax(np.asarray(x, np.float64)) for x in (truth, generated))
    if truth.shape != generated.shape:
        raise ValueError(f"{truth.shape} true and {generated.shape} generated: expected pairs")
    return (np.exp(truth) * (truth - generated)).sum(1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
