"""Is one model better than another on unseen songs? Bootstrap intervals and tests over songs.

Segments of one song share tempo, pattern and timbre, so they are not independent. Therefore the
bootstrap resamples songs, each with all its segments. Test sets have few songs (AIST++: ten). For
so few, a plain percentile interval covers the true value too rarely: in 90 % of cases where 95 % is
claimed. Therefore wider percentiles are used; the widening is that of Student's t compared with the
normal distribution (the expanded percentile interval of Hesterberg, What Teachers Should Know About
the Bootstrap, The American Statistician 2015, section 5.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SHARE, DRAWS, SET_DRAWS = 0.95, 10_000, 200


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, from a bootstrap over `groups` groups."""

    value: float
    low: float
    high: float
    groups: int

    def apart(self, other: Interval) -> bool:
        """Return whether the two intervals do not overlap."""
        return self.low > other.high or other.low > self.high


@dataclass(frozen=True)
class Difference:
    """Mean of a - b with its interval, and the number of groups in which a is higher, or equal."""

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
    """Return mean(a - b) over pairs (P,), with the interval of a bootstrap over groups.

    From G groups, each draw takes G groups with replacement, each with all its pairs. Pairs with a
    NaN on either side are left out. Raises ValueError if fewer than two groups are left.
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
    """Return a random permutation (P,) that pairs each item with an item of another group.

    Raises ValueError if one group has more than half of the items: then no such permutation exists.
    """
    names, index, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if counts.max() * 2 > len(index):
        raise ValueError(
            f"group {names[counts.argmax()]} has {counts.max()} of {len(index)} items: more than "
            "half of the items cannot be paired with items of other groups"
        )
    rng = np.random.default_rng(seed)
    # In an order sorted by group, a shift by the size of the largest group always leaves the group.
    labels = rng.permutation(len(names))[index]
    order = np.lexsort((rng.random(len(index)), labels))
    partner = np.empty(len(index), int)
    partner[order] = np.roll(order, counts.max())
    return partner


def mean_interval(
    values: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Return the mean of a score over clips (P,) with its interval; NaN values are left out.

    Raises ValueError if fewer than two groups are left.
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
    """Return a statistic of a set of clips (a deviation, distance or entropy) with its interval.

    `statistic` computes the value from clips given by their indices (P',). It is called first with
    all clips, then with each bootstrap draw, which contains some clips several times. A draw has
    fewer different clips, which makes a distance (Fréchet) larger and an entropy smaller. To
    correct this bias, the draws are shifted so that their median equals the value. The interval's
    lower end is limited to `at_least`, the smallest possible value.
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
    """Return the difference of a statistic between two sets (P, …), and its p-value.

    `statistic` gets the data (P', …) of the clips, and their indices (P',). The difference is
    `a` minus `b`; its interval is from a bootstrap over groups, shifted as in `interval`. All
    results are NaN if the statistic of either set is NaN. The p-value is that of a two-sided
    permutation test over groups: if neither run is better, exchanging a group's clips between the
    two makes no difference. p is the fraction of exchanges (`draws` random ones, and the identity)
    whose difference is at least as large as the observed one.
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
    """Return the value, the shifted values of the draws (draws,), and the number of groups."""
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
    """Return both ends of the expanded percentile interval of a bootstrap over `groups` groups."""
    from scipy.stats import norm, t

    if np.isnan(drawn).all():
        return math.nan, math.nan
    wider = t.ppf((1 + SHARE) / 2, groups - 1) * math.sqrt(groups / (groups - 1))
    low, high = np.nanquantile(drawn, [norm.cdf(-wider), norm.cdf(wider)])
    return float(low), float(high)


def sign_flip_p(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> float:
    """Return the p-value of a two-sided sign-flip test over groups, for paired clips (P,).

    The null hypothesis is that neither run is better; then each group's summed difference may have
    either sign. p is the fraction of sign assignments whose total is at least as far from 0 as the
    observed total. Up to 13 groups all assignments are tested, else `draws` random ones and the
    observed one. Pairs with a NaN are left out.
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
    # Values equal up to rounding count as equal: the order of summation changes the last digits.
    return float((totals >= abs(sums.sum()) * (1 - 1e-9)).mean())
