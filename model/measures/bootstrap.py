"""Is one model better than another on unseen songs? Paired differences, with songs as the unit.

Segments of one song share tempo, pattern and timbre: they are no independent trials, so songs are
drawn anew, each with all its segments. Test sets have few songs (AIST++: ten), of which a plain
percentile interval holds the truth too seldom: 90 % where 95 % is said. So percentiles further out
are taken, as many as Student's t is wider than the normal distribution (the expanded percentile
interval of Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician
2015, section 5.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SHARE, DRAWS, SET_DRAWS = 0.95, 10_000, 200


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, from a bootstrap over `groups` groups."""

    value: float
    low: float
    high: float
    groups: int

    def apart(self, other: Interval) -> bool:
        """Return whether the two intervals have nothing in common."""
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True)
class Difference:
    """Mean of a - b with its interval, and in how many groups a is higher, or the same."""

    mean: float
    low: float
    high: float
    groups_won: int
    groups_tied: int
    groups: int


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    groups: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Return mean(a - b) over pairs (P,), and the interval of a bootstrap over groups.

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
    low, high = _ends(means, len(names))
    size = np.abs(np.nan_to_num(a)) + np.abs(np.nan_to_num(b))
    tied = np.abs(sums) <= 1e-12 * float(size.sum())
    return Difference(
        mean=float(difference.mean()),
        low=low,
        high=high,
        groups_won=int((sums[~tied] > 0).sum()),
        groups_tied=int(tied.sum()),
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
    values: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Return the mean of a score over clips (P,) with its interval; NaN are left out.

    Raises ValueError where fewer than two groups are left.
    """
    found = paired_difference(values, np.zeros(len(values)), groups, draws, seed)
    return Interval(found.mean, found.low, found.high, found.groups)


def interval(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[str],
    draws: int = SET_DRAWS,
    seed: int = 0,
    at_least: float = -math.inf,
) -> Interval:
    """Return a figure of a set of clips with its interval: a deviation, a distance, an entropy.

    `statistic` gives the figure of the clips whose indices (P',) it is handed: all of them once,
    then as drawn, some of them several times. A drawn set has fewer different clips, of which a
    distance (Fréchet) is larger and an entropy smaller: the draws are moved until their median is
    the figure, and the interval ends at what the figure is `at_least`.
    """
    value, drawn, count = _drawn(statistic, groups, draws, seed)
    low, high = _ends(drawn, count)
    return Interval(value, max(low, at_least), high, count)


def set_difference(
    a: np.ndarray,
    b: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    groups: Sequence[str],
    draws: int = SET_DRAWS,
    seed: int = 0,
) -> tuple[Interval, float]:
    """Return how far a figure of one set (P, …) is above that of another, and the p of "no".

    `statistic` is handed what it is computed of (P', …), and the indices (P',) of the clips. The
    interval is of a bootstrap over groups, moved as that of `interval`; all are NaN where the
    figure of either is. p is two-sided: were neither run better, a group's clips could as well be
    exchanged between the two. It counts the exchanges, `draws` random ones and none, which leave a
    difference at least as large.
    """
    everything, (names, index) = np.arange(len(groups)), np.unique(groups, return_inverse=True)

    def apart(at: np.ndarray) -> float:
        return statistic(a[at], at) - statistic(b[at], at)

    value, drawn, count = _drawn(apart, groups, draws, seed)
    low, high = _ends(drawn, count)
    if math.isnan(value):
        return Interval(value, low, high, count), value
    rng = np.random.default_rng(seed)
    far = [value]
    for swapped in rng.integers(2, size=(draws, len(names)), dtype=bool)[:, index]:
        own = swapped.reshape(-1, *(1,) * (a.ndim - 1))
        mixed = statistic(np.where(own, b, a), everything)
        far.append(mixed - statistic(np.where(own, a, b), everything))
    known = np.abs(far)[~np.isnan(far)]
    p = float((known >= abs(value) * (1 - 1e-9)).mean())
    return Interval(value, low, high, count), p


def _drawn(
    statistic: Callable[[np.ndarray], float], groups: Sequence[str], draws: int, seed: int
) -> tuple[float, np.ndarray, int]:
    """Return the figure, that of drawn sets (draws,) around it, and the number of groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} groups: an interval needs at least two")
    members = [np.flatnonzero(index == i) for i in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = np.array([
        statistic(np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]))
        for _ in range(draws)
    ])  # fmt: skip
    value = statistic(np.arange(len(index)))
    if not np.isnan(drawn).all():
        drawn += value - np.nanmedian(drawn)
    return value, drawn, len(names)


def _ends(drawn: np.ndarray, groups: int) -> tuple[float, float]:
    """Return the ends of the expanded percentile interval of a bootstrap over some groups."""
    from scipy.stats import norm, t

    if np.isnan(drawn).all():
        return math.nan, math.nan
    wider = t.ppf((1 + SHARE) / 2, groups - 1) * math.sqrt(groups / (groups - 1))
    low, high = np.nanquantile(drawn, [norm.cdf(-wider), norm.cdf(wider)])
    return float(low), float(high)


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
