"""Find tempo, beats and bars in an envelope: how strongly something happens at each time.

Short clips are the problem: in 8 s at 30 frames a second, an autocorrelation has a bin at 112.5
and the next one at 120 BPM. Therefore a constant tempo is fitted: the one whose beats, and whose
half beats, hold most of the envelope.
"""

from __future__ import annotations

import numpy as np

from model.contract.notes import DEFAULT_BPM
from model.families.cmt.grid import Grid

LOW_BPM, HIGH_BPM, STEP_BPM = 70.0, 150.0, 0.25
PRIOR_BPM, PRIOR_OCTAVES = 108.0, 0.5
"""Tempi far from the prior need a clearer beat: a Gaussian over octaves, as in librosa."""
HALF_BEATS = 0.5
"""The weight of half beats: dancers move on them, too."""
NEAR = 0.2
"""Events belong to a half beat if they are within this part of it."""
DRIFT = 0.02
"""The largest change of the tempo, as a share, by which events may be met better."""


def track(
    envelope: np.ndarray, fps: float, seconds: float,
    events: tuple[np.ndarray, np.ndarray] | None = None,
) -> Grid:  # fmt: skip
    """Return the grid of an envelope (T,), at least 0, sampled `fps` times a second from time 0.

    A bar begins at the beat whose every fourth beat has the most of the envelope. Where nothing
    varies, the grid has DEFAULT_BPM and begins a bar at 0. With `events`, times (K,) and weights
    (K,), the grid is moved to meet those that are near its half beats: a peak is sharper than the
    envelope around it.
    """
    level = np.asarray(envelope, float)
    level = level - level.mean() if len(level) else level
    if len(level) < fps or not np.abs(level).max() > 1e-9:
        return Grid.steady(DEFAULT_BPM, 0.0, seconds)
    times_s = np.arange(len(level)) / fps
    tempi = np.arange(LOW_BPM, HIGH_BPM + STEP_BPM / 2, STEP_BPM)

    def spectrum(hz: np.ndarray) -> np.ndarray:
        return np.exp(-2j * np.pi * hz[:, None] * times_s) @ level

    beats, halves = spectrum(tempi / 60), spectrum(tempi / 30)
    prior = np.exp(-0.5 * (np.log2(tempi / PRIOR_BPM) / PRIOR_OCTAVES) ** 2)
    tempo_bpm = float(tempi[np.argmax((np.abs(beats) + HALF_BEATS * np.abs(halves)) * prior)])
    beat_s = 60 / tempo_bpm
    offsets_s = np.arange(0, beat_s, 1 / (4 * fps))
    sums = [_at(level, fps, np.arange(start, seconds, beat_s)).mean() for start in offsets_s]
    first_s = float(offsets_s[int(np.argmax(sums))])
    if events is not None:
        first_s, beat_s = met(first_s, beat_s, *events)
    bars = [
        _at(level, fps, np.arange(first_s + beat * beat_s, seconds, 4 * beat_s))
        for beat in range(4)
    ]
    downbeat = int(np.argmax([found.mean() if len(found) else -np.inf for found in bars]))
    return Grid.steady(60 / beat_s, first_s + downbeat * beat_s, seconds)


def met(
    first_s: float, beat_s: float, times_s: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return first beat and length of a beat, in seconds, that meet events (K,) at half beats best.

    A line through the near events over their half beats, by weighted least squares. With fewer than
    four of them, or all within two beats, only the first beat is moved.
    """
    slope = beat_s / 2
    low, high = slope / (1 + DRIFT), slope * (1 + DRIFT)
    for _ in range(3):
        steps = np.round((times_s - first_s) / slope)
        near = (np.abs(times_s - first_s - steps * slope) < NEAR * slope) & (weights > 0)
        if not near.any():
            break
        n, t, w = steps[near], times_s[near], weights[near] / weights[near].sum()
        mean_n, mean_t = float(w @ n), float(w @ t)
        if len(n) >= 4 and np.ptp(n) >= 4:
            slope = float((w * (n - mean_n)) @ (t - mean_t) / (w @ (n - mean_n) ** 2))
            slope = float(np.clip(slope, low, high))
        first_s = mean_t - slope * mean_n
    return first_s % (2 * slope), 2 * slope


def _at(level: np.ndarray, fps: float, times_s: np.ndarray) -> np.ndarray:
    return np.interp(times_s, np.arange(len(level)) / fps, level)
