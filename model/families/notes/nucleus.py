"""Draw one of the likeliest classes."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-12
"""Sums of shares may be wrong by so much."""


def nucleus(logits: np.ndarray, top_p: float, temperature: float, rng: np.random.Generator) -> int:
    """Draw a class from logits (K,), among the likeliest whose shares reach `top_p`.

    Source: Holtzman et al. 2020; the likeliest class is always among them. Classes with a logit of
    -inf are never drawn.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    shares = np.exp(scaled - scaled.max())
    total = shares.sum()
    # Classes so unlikely that all of them together are not needed to reach `top_p` are not sorted.
    (likely,) = np.nonzero(shares >= (1 - top_p) / 2 * total / len(shares))
    order = likely[np.argsort(-shares[likely], kind="stable")]
    sums = np.cumsum(shares[order]) / total
    last = min(int(np.searchsorted(sums, top_p - ROUNDING)), len(sums) - 1)
    drawn = np.searchsorted(sums, rng.uniform(0, sums[last]), side="right")
    return int(order[min(int(drawn), last)])
