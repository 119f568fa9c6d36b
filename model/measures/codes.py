"""Measures of codes: their accuracy, and the perplexity of the codebook use.

Symbols: S segments, Q codebooks, L codes.
"""

from __future__ import annotations

import numpy as np


def code_accuracy(codes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each clip the fraction of codes (S, …, L) that equal the truth: (S,).

    Chance level is 1 / (number of entries). Many entries of the demo codec, as of the published
    one, sound alike, so a clip may be good although few codes are equal.
    """
    codes, truth = np.asarray(codes), np.asarray(truth)
    if codes.shape != truth.shape or codes.ndim < 2 or not codes.size:
        raise ValueError(f"codes {codes.shape} against {truth.shape}: expected the same (S, …, L)")
    return (codes == truth).reshape(len(codes), -1).mean(1)


def coarsest(codes: np.ndarray) -> np.ndarray:
    """Return the codes (S, L) of the first of several codebooks (S, Q, L); of one, all codes.

    Entries of different codebooks have nothing to do with each other, and the first has most of the
    sound.
    """
    return codes[:, 0] if codes.ndim == 3 else codes


def perplexity(codes: np.ndarray, bins: int) -> float:
    """Return exp(entropy) of the frequencies of `bins` entries in codes of any shape.

    It is 1 if only one code occurs, and `bins` if all are equally frequent. Compare it with the
    value of the true music. It does not depend on order: shuffling the clips does not change it.
    """
    codes = np.asarray(codes)
    if not codes.size or codes.min() < 0 or codes.max() >= bins:
        raise ValueError(f"{codes.size} codes, expected at least one, each from 0 to {bins - 1}")
    share = np.bincount(codes.ravel(), minlength=bins) / codes.size
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
