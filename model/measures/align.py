"""Does the music fall where the dance does? The beat align score of AIST++.

Source: Li et al., AI Choreographer: Music Conditioned 3D Dance Generation with AIST++, ICCV 2021,
section 5.2, and its code (google-research/mint, tools/calculate_beat_scores.py).
"""

from __future__ import annotations

import math

import numpy as np

from model.measures.skeleton import joints_of

SIGMA_S = 3 / 60
"""The paper's σ: three frames at 60 fps."""

REACH_S = 10 / 60
"""A kinematic beat is the slowest moment within ten frames at 60 fps, to either side."""


def kinematic_beats_s(joints: np.ndarray, fps: float, seen: np.ndarray | None = None) -> np.ndarray:
    """Return the times (K,) in seconds at which the dancer slows down and picks up again.

    The local minima, strict ones, of the sum over joints (T, J, C) of how far each went since the
    frame before. Joints not `seen` (T, J) in both frames are left out and the sum is scaled up to
    all J; a frame with none has the speed of the one before. At 60 fps this is the published code.
    A dancer who stands quite still has no strict minimum, hence no beat.
    """
    from scipy.signal import argrelmin

    if len(joints) < 3:
        return np.zeros(0)
    moved = np.linalg.norm(np.diff(joints, axis=0), axis=2)
    speed = np.zeros(len(joints))
    if seen is None:
        speed[1:] = moved.sum(1)
    else:
        both = seen[1:] & seen[:-1]
        counts = both.sum(1)
        speed[1:] = (moved * both).sum(1) * joints.shape[1] / np.maximum(counts, 1)
        for frame in np.flatnonzero(counts == 0) + 1:
            speed[frame] = speed[frame - 1]
    return argrelmin(speed, order=max(1, round(REACH_S * fps)))[0] / fps


def beat_align(from_s: np.ndarray, to_s: np.ndarray, sigma_s: float = SIGMA_S) -> float:
    """Return the mean over times `from_s` (K,) of exp(-d² / 2σ²), d to the nearest of `to_s` (M,).

    The paper's score takes kinematic beats for `from_s` and the music's for `to_s`: 1 where each
    rests on a beat. It is not punished by beats that nobody dances to, so a fast pulse scores well;
    with the two exchanged it is not punished by rests without a beat. No `to_s`: 0. No `from_s`:
    NaN (the published code gives 0), for there is nothing to align.
    """
    from_s, to_s = np.asarray(from_s, float), np.asarray(to_s, float)
    if not len(from_s):
        return math.nan
    if not len(to_s):
        return 0.0
    distance = np.abs(from_s[:, None] - to_s).min(1)
    return float(np.exp(-(distance**2) / (2 * sigma_s**2)).mean())


def align_scores(motion: np.ndarray, fps: float, music_beats_s: np.ndarray) -> dict[str, float]:
    """Return align (the paper's) and align_back (from music to dance) of a stored motion (T, D)."""
    joints, seen = joints_of(motion)
    dance_s = kinematic_beats_s(joints, fps, None if seen.all() else seen)
    back = beat_align(music_beats_s, dance_s) if len(dance_s) and len(music_beats_s) else 0.0
    return {
        "align": beat_align(dance_s, music_beats_s),
        "align_back": back if len(dance_s) else math.nan,
    }
