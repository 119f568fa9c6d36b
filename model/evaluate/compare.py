"""Is one model better than another on unseen songs? Paired differences, with songs as the unit.

Segments of one song share tempo, pattern and timbre: they are no independent trials, so songs are
drawn anew, each with all its segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Mean of a - b with its interval, and in how many groups the mean of a is the higher one."""

    mean: float
    low: float
    high: float
    groups_won: int
    groups: int


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    groups: Sequence[str],
    draws: int = 10_000,
    share: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return mean(a - b) over pairs (P,), and the percentile interval of a bootstrap over groups.

    Each draw takes as many groups as there are, with replacement, each with all its pairs. Pairs
    with a NaN on either side are left out. Raises ValueError where fewer than two groups are left.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    if len(difference) != len(groups):
        raise ValueError(f"{len(difference)} pairs and {len(groups)} groups: expected one each")
    names, index = np.unique(np.asarray(groups)[~np.isnan(difference)], return_inverse=True)
    difference = difference[~np.isnan(difference)]
    if len(names) < 2:
        raise ValueError(f"{len(names)} groups with scores: an interval needs at least two")
    sums = np.bincount(index, difference, len(names))
    counts = np.bincount(index, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return Difference(
        mean=float(difference.mean()),
        low=float(low),
        high=float(high),
        groups_won=int((sums > 0).sum()),
        groups=len(names),
    )


def pair_with_other_group(groups: Sequence[str], seed: int = 0) -> np.ndarray:
    """Return a random permutation (P,) that gives each item one of another group.

    Raises ValueError where one group holds more than half of the items: then there is none.
    """
    names, index, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if counts.max() * 2 > len(index):
        raise ValueError(
            f"{names[counts.argmax()]} holds {counts.max()} of {len(index)} items: more than half "
            "cannot all be paired with others"
        )
    rng = np.random.default_rng(seed)
    # In an order in which each group lies together, a shift by the largest group always leaves it.
    labels = rng.permutation(len(names))[index]
    order = np.lexsort((rng.random(len(index)), labels))
    partner = np.empty(len(index), int)
    partner[order] = np.roll(order, counts.max())
    return partner
