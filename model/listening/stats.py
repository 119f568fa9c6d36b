"""Statistics of scores: intervals over listeners and clips, and Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 4000
SCORES = 5
FEW = 5


def interval(
    scores: np.ndarray, raters: bool = True, clips: bool = True, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of scores (R, V), which are NaN where missing.

    The bootstrap resamples listeners (rows), clips (columns), or both independently, with
    replacement. Resampling both (Owen's pigeonhole bootstrap, 2007) estimates the variation for
    other listeners and other clips. With fewer than `FEW` listeners or clips the interval tends to
    be too narrow. The result is None if there are fewer than two of what is resampled.
    """
    given = ~np.isnan(scores)
    scores, given = (a[given.any(1)][:, given.any(0)] for a in (scores, given))
    for drawn, count in zip((raters, clips), scores.shape, strict=True):
        if not count or (drawn and count < 2):
            return None
    rng = np.random.default_rng(seed)

    def weights(count: int, drawn: bool) -> np.ndarray:
        if not drawn:
            return np.ones((DRAWS, count))
        return rng.multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)

    rows, columns = weights(scores.shape[0], raters), weights(scores.shape[1], clips)
    total = np.einsum("dr,rv,dv->d", rows, np.where(given, scores, 0), columns, optimize=True)
    weight = np.einsum("dr,rv,dv->d", rows, given.astype(float), columns, optimize=True)
    means = total[weight > 0] / weight[weight > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def alpha(units: Sequence[Sequence[int]], metric: str = "ordinal") -> float | None:
    """Return Krippendorff's alpha of scores 1..5, one sequence per unit (clip); 1: full agreement.

    `metric` is `ordinal` or `interval`. Units with one score are ignored. The result is None if
    there is no pair to compare, or if all scores are equal. Source: Krippendorff, Computing
    Krippendorff's Alpha-Reliability, 2011.
    """
    pairs = np.zeros((SCORES, SCORES))
    for unit in units:
        counts = np.bincount(np.asarray(unit, int) - 1, minlength=SCORES).astype(float)
        if len(unit) > 1:
            pairs += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    of_score = pairs.sum(1)
    total = of_score.sum()
    if metric == "interval":
        places = np.arange(SCORES, dtype=float)
    elif metric == "ordinal":
        places = np.cumsum(of_score) - of_score / 2
    else:
        raise ValueError(f"metric {metric!r}; expected ordinal or interval")
    distance = (places[:, None] - places) ** 2
    expected = (np.outer(of_score, of_score) * distance).sum()
    if not expected:
        return None
    return float(1 - (total - 1) * (pairs * distance).sum() / expected)
