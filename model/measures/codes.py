"""Codes against codes: how many are right, and how much of the codebook is in use."""

from __future__ import annotations

import numpy as np


def code_accuracy(codes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return for each clip the share of codes (S, L) that equal the truth (S, L): (S,).

    Chance is one in the number of entries; the demo codec, as the published one, has many entries
    that sound alike, so a clip may be good with few codes right.
    """
    codes, truth = np.asarray(codes), np.asarray(truth)
    if codes.shape != truth.shape or codes.ndim != 2 or not codes.size:
        raise ValueError(f"codes {codes.shape} against {truth.shape}: expected the same (S, L)")
    return (codes == truth).mean(1)


def perplexity(codes: np.ndarray, bins: int) -> float:
    """Return exp of the entropy of how often each of `bins` entries occurs in codes of any shape.

    1 where one code is all there is, `bins` where all are equally frequent; compare it with the
    true music's. It says nothing of order, so a shuffle of clips leaves it as it is.
    """
    codes = np.asarray(codes)
    if not codes.size or codes.min() < 0 or codes.max() >= bins:
        raise ValueError(f"{codes.size} codes, expected at least one, each from 0 to {bins - 1}")
    share = np.bincount(codes.ravel(), minlength=bins) / codes.size
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
