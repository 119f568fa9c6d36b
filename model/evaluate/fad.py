"""Distances between two sets of clips, and between two clips, in features of sound.

Legend: S clips, P patches of all clips, D features; all in float64.
"""

from __future__ import annotations

import math

import numpy as np


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (D,) and covariance (D, D), n - 1 in the denominator, of features (P, D)."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(
            f"features {features.shape}: expected at least two finite rows (P, D) for a covariance"
        )
    return features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))


def root(matrix: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric matrix (D, D) without negative eigenvalues.

    By eigenvectors: unlike a general matrix root it neither fails nor turns complex where features
    never vary or are fewer patches than dimensions; rounding below 0 is taken as 0.
    """
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (P, D) and (Q, D).

    |μa - μb|² + tr(Σa + Σb - 2 (Σa^½ Σb Σa^½)^½): Fréchet audio distance where the features are
    VGGish's (Kilgour et al. 2019). Grows as sets shrink, so compare equal sizes only; it knows sets
    and not pairs: clips exchanged among videos leave it as it is.
    """
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    # The same trace as singular values of a product: no rounding error comes under a root.
    middle = np.linalg.svd(root(cov_a) @ root(cov_b), compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * middle
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
    (mean_t, cov_t), (mean_g, cov_g) = moments(truth), moments(generated)
    extra = floor * np.trace(cov_t) / len(mean_t)
    var_t, var_g = np.diag(cov_t) + extra, np.diag(cov_g) + extra
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
