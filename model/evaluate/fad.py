"""Distances between two sets of clips, and between two clips, in features of sound.

Legend: S clips, P patches of all clips, D features; all in float64.
"""

from __future__ import annotations

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
    half = root(cov_a)
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ cov_b @ half), 0)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * middle
    return float(max(distance, 0.0))


def gaussian_kl(truth: np.ndarray, generated: np.ndarray, floor: float = 1e-3) -> float:
    """Return KL(truth ‖ generated), in nats, of Gaussians fitted to features (P, D) and (Q, D).

    ½ (tr(Σg⁻¹ Σt) - D + (μg - μt)ᵀ Σg⁻¹ (μg - μt) + ln det Σg / det Σt), with `floor` times the
    truth's mean variance added to both diagonals, without which features that never vary have no
    inverse: the figure depends on it. Wants P > D. Of sets, not
    pairs, as `frechet`.
    """
    (mean_t, cov_t), (mean_g, cov_g) = moments(truth), moments(generated)
    extra = floor * np.trace(cov_t) / len(mean_t) * np.eye(len(mean_t))
    cov_t, cov_g = cov_t + extra, cov_g + extra
    shift = mean_g - mean_t
    inverse = np.linalg.inv(cov_g)
    log_ratio = np.linalg.slogdet(cov_g)[1] - np.linalg.slogdet(cov_t)[1]
    kl = np.sum(inverse * cov_t) - len(shift) + shift @ inverse @ shift + log_ratio
    return float(kl / 2)


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
