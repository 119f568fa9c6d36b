"""What a dance asks of the music: tempo, beats, density of each bar, and strength of its impacts.

Speeds and impacts have their own units, so they are turned into densities and strengths by
thresholds fitted on the training split: a bar faster than a share q of all training bars gets the
density that a share q of the training music's bars stay below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.families.cmt.grid import BAR_TICKS, DRUMS, FAMILIES, Grid
from model.families.cmt.movement import movement_of
from model.families.cmt.tempo import track
from model.families.cmt.words import MAX_STRENGTH

WEAKEST = 0.2
"""The share of impacts in the training split, the weakest, that are no visual beats."""
OWN, FAINT = 0.4, 0.25
"""A dancer who moves less has visual beats from `OWN` of the median of the dancer's own impacts on,
but none below `FAINT` of what is needed otherwise."""
MOVED_S = 0.04
"""How far what sounds at a visual beat may be from its tick, to meet the moment of rest."""
HITS = ((35, 36), (38, 40))
"""Bass drums and snare drums of General MIDI: one of each plays at a visual beat."""
KNOTS = 21
"""Speeds and impacts are summarised by this many evenly spaced quantiles."""


@dataclass(frozen=True)
class Dance:
    """Measures of a dance, before any threshold.

    `end` is the first tick after the clip; `speeds` (bars,) the mean speed in each bar, in body
    heights per second; `ticks` (K,) those of the visual beats, `impacts` (K,) their values, and
    `times_s` (K,) the moments of rest.
    """

    grid: Grid
    end: int
    speeds: np.ndarray
    ticks: np.ndarray
    impacts: np.ndarray
    times_s: np.ndarray


def measure(joints: np.ndarray, seen: np.ndarray | None, fps: float, seconds: float) -> Dance:
    """Measure a dance from joints (T, J, C) that are `seen` (T, J), at `fps`, in `seconds`.

    A dancer who never moves, or is never seen, has DEFAULT_BPM, no visual beat and speed 0.
    """
    moves = movement_of(joints, seen, fps)
    times_s, impacts = rests = moves.rests()
    grid = track(moves.impact, moves.fps, seconds, rests)
    first, end = grid.span(seconds)
    frames = grid.tick_of(np.arange(len(moves.speed)) / moves.fps) // BAR_TICKS
    bars = -(-end // BAR_TICKS)
    speeds = np.zeros(bars)
    for bar in range(bars):
        inside = moves.speed[frames == bar]
        speeds[bar] = inside.mean() if len(inside) else (speeds[bar - 1] if bar else 0.0)
    ticks = np.floor(grid.tick_of(times_s) + 0.5).astype(np.int64)
    order = np.lexsort((-impacts, ticks))
    ticks, strongest = np.unique(ticks[order], return_index=True)
    impacts, times_s = impacts[order][strongest], times_s[order][strongest]
    inside = (ticks >= first) & (ticks < end)
    return Dance(grid, end, speeds, ticks[inside], impacts[inside], times_s[inside])


@dataclass(frozen=True)
class Thresholds:
    """Quantiles of the training split, evenly spaced from 0 to 1.

    `speeds` and `impacts` (KNOTS,) are those of dances, `densities` (KNOTS,) those of bars of
    music, and `strengths` (5, KNOTS) those of beat words by instrument.
    """

    speeds: np.ndarray
    impacts: np.ndarray
    densities: np.ndarray
    strengths: np.ndarray

    @classmethod
    def fit(
        cls,
        dances: Sequence[Dance],
        densities: np.ndarray,
        strengths: Sequence[np.ndarray],
    ) -> Thresholds:
        """Fit to dances, and to the densities (bars,) and strengths of the music.

        `strengths` has an array for each of the five families, which may be empty. Without dances
        that move, the quantiles of the synthetic benchmark's dances are used.
        """
        speeds = np.concatenate([dance.speeds for dance in dances] or [np.zeros(0)])
        impacts = np.concatenate([dance.impacts for dance in dances] or [np.zeros(0)])
        if not speeds.any() or not len(impacts):
            speeds, impacts = np.asarray(SPEEDS), np.asarray(IMPACTS)
        knots = np.linspace(0, 1, KNOTS)
        return cls(
            np.quantile(speeds, knots),
            np.quantile(impacts, knots),
            np.quantile(densities if len(densities) else np.full(1, 8.0), knots),
            np.stack([np.quantile(of if len(of) else np.ones(1), knots) for of in strengths]),
        )

    def density(self, speeds: np.ndarray) -> np.ndarray:
        """Return the densities (…), 0 to 16, of the speeds of bars (…)."""
        found = _matched(speeds, self.speeds, self.densities)
        return np.clip(np.round(found), 0, BAR_TICKS).astype(np.int64)

    def strength(self, impacts: np.ndarray) -> np.ndarray:
        """Return the strengths (K, 5), at least 1, of impacts (K,) for each family."""
        found = [_matched(impacts, self.impacts, of) for of in self.strengths]
        return np.clip(np.round(np.stack(found, 1)), 1, MAX_STRENGTH).astype(np.int64)


def _matched(values: np.ndarray, of: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Return the quantiles in `to` (KNOTS,) that `values` (…) have in `of` (KNOTS,)."""
    knots = np.linspace(0, 1, KNOTS)
    # Of equal quantiles, the last one counts: np.interp wants increasing values.
    rising = np.maximum.accumulate(of) + 1e-9 * np.arange(KNOTS)
    return np.interp(np.interp(values, rising, knots), knots, to)


@dataclass(frozen=True)
class Controls:
    """What a piece of music must do, on the dance's grid, from tick `first` to tick `end`.

    `densities` (bars,) has the number of ticks with notes in each bar. `beats` maps the tick of
    each visual beat to its strength by family (5,), and `times_s` to when it sounds, if not at the
    tick.
    """

    grid: Grid
    first: int
    end: int
    densities: np.ndarray
    beats: dict[int, np.ndarray]
    times_s: dict[int, float] = field(default_factory=dict)

    @property
    def bars(self) -> int:
        return -(-self.end // BAR_TICKS)


def controls_of(dance: Dance, thresholds: Thresholds) -> Controls:
    """Return the controls of a dance by thresholds; its weakest impacts are left out.

    The music begins with the bar in which the dance begins, so that some of it sounds from the
    first moment on.
    """
    counts = dance.impacts >= _least(dance.impacts, thresholds)
    ticks, strengths = dance.ticks[counts], thresholds.strength(dance.impacts[counts])
    assert strengths.shape[1:] == (len(FAMILIES),)
    strengths[:, DRUMS] = np.maximum(strengths[:, DRUMS], len(HITS))
    at_s = dance.grid.time_of(ticks)
    times_s = np.clip(dance.times_s[counts], at_s - MOVED_S, at_s + MOVED_S)
    return Controls(
        dance.grid,
        0,
        dance.end,
        thresholds.density(dance.speeds),
        dict(zip(ticks.tolist(), strengths, strict=True)),
        dict(zip(ticks.tolist(), times_s.tolist(), strict=True)),
    )


def _least(impacts: np.ndarray, thresholds: Thresholds) -> float:
    """Return the least impact of a visual beat among `impacts` (K,)."""
    weakest = float(np.interp(WEAKEST, np.linspace(0, 1, KNOTS), thresholds.impacts))
    own = OWN * float(np.median(impacts)) if len(impacts) else weakest
    return float(np.clip(own, FAINT * weakest, weakest))


SPEEDS = (
    0.002, 0.165, 0.19, 0.202, 0.216, 0.227, 0.244, 0.256, 0.269, 0.285, 0.3,
    0.313, 0.325, 0.342, 0.366, 0.389, 0.416, 0.455, 0.552, 0.706, 0.853,
)  # fmt: skip
IMPACTS = (
    0.008, 0.32, 0.404, 0.449, 0.492, 0.536, 0.572, 0.61, 0.639, 0.677, 0.716,
    0.752, 0.788, 0.83, 0.891, 0.95, 1.039, 1.141, 1.31, 1.675, 2.769,
)  # fmt: skip
"""Quantiles of the synthetic benchmark's dances for training, in body heights per second."""
