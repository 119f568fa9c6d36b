"""Is one model better than another on unseen songs? Paired differences, with songs as the unit.

Segments of one song share tempo, pattern and timbre: they are no independent trials, so songs are
drawn anew, each with all its segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SHARE, DRAWS = 0.95, 10_000


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile interval, from a bootstrap over `groups` groups."""

    value: float
    low: float
    high: float
    groups: int

    def apart(self, other: Interval) -> bool:
        """Return whether the two intervals have nothing in common."""
        return self.low > other.high or other.low > self.high


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


def mean_interval(
    values: np.ndarray,
    groups: Sequence[str],
    draws: int = DRAWS,
    share: float = SHARE,
    seed: int = 0,
) -> Interval:
    """Return the mean of a score over clips (P,) with its interval; NaN are left out.

    Raises ValueError where fewer than two groups are left.
    """
    found = paired_difference(values, np.zeros(len(values)), groups, draws, share, seed)
    return Interval(found.mean, found.low, found.high, found.groups)


def interval(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[str],
    draws: int = 1000,
    share: float = SHARE,
    seed: int = 0,
) -> Interval:
    """Return any figure of a set of clips with its interval: a deviation, a distance, a share.

    `statistic` gives the figure of the clips whose indices (P',) it is handed: all of them once,
    then as drawn, some of them several times. A difference of two runs is a statistic too. A
    distance of sets (Fréchet) is larger for a drawn set than for the whole: the value may lie at
    the lower end of its interval, or below.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} groups: an interval needs at least two")
    members = [np.flatnonzero(index == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]))
        for _ in range(draws)
    ]
    low, high = np.nanquantile(drawn, [(1 - share) / 2, (1 + share) / 2])
    return Interval(statistic(np.arange(len(index))), float(low), float(high), len(names))


def sign_flip_p(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> float:
    """Return the two-sided p of "neither run is better", paired over clips (P,) of both runs.

    Were it so, a song's summed difference could as well have the other sign. Counts the signings of
    all groups' sums whose total is at least as far from 0 as the one found: every signing for up to
    13 groups, else `draws` random ones (and the one found). Pairs with a NaN are left out.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    if len(difference) != len(groups):
        raise ValueError(f"{len(difference)} pairs and {len(groups)} groups: expected one each")
    names, index = np.unique(np.asarray(groups)[~np.isnan(difference)], return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} groups with scores: a test needs at least two")
    sums = np.bincount(index, difference[~np.isnan(difference)], len(names))
    if len(names) <= 13:
        bits = np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1
    else:
        bits = np.random.default_rng(seed).integers(2, size=(draws, len(names)))
        bits = np.concatenate([np.zeros((1, len(names)), int), bits])
    totals = np.abs(((1 - 2 * bits) * sums).sum(1))
    # Equal up to rounding is equal: sums taken in another order differ in the last digits.
    return float((totals >= abs(sums.sum()) * (1 - 1e-9)).mean())
