"""Speed and impacts of a dance, in body heights, from joints of any layout.

Symbols: T frames, J joints, C coordinates. Real 2D poses jitter and lose joints, so gaps are
interpolated, single wrong frames removed, and speeds smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.measures.align import REACH_S

RATE_FPS = 30.0
"""Faster motions are thinned to about this rate."""
DROP_S = 0.4
"""An impact compares a joint's speed with its highest one in this time before."""
MEDIAN_S, SMOOTH_S = 0.16, 0.03
"""Width of the median filter of positions (against single wrong frames), and sigma of the Gaussian
that smooths them."""
LEAST = 0.015
"""The least impact of a rest, as a share of the 99th percentile of all impacts."""


@dataclass(frozen=True)
class Movement:
    """What a dancer does, at `fps` frames a second.

    `speed` (T,) is the mean speed of the joints, and `impact` (T,) their mean drop of speed, both
    in body heights per second.
    """

    speed: np.ndarray
    impact: np.ndarray
    fps: float

    def rests(self) -> tuple[np.ndarray, np.ndarray]:
        """Return times (K,) in seconds of the moments of rest, and their impacts (K,).

        A rest is the slowest moment of `REACH_S` on either side, as the kinematic beats of AIST++.
        """
        from scipy.signal import argrelmin

        scale = float(np.percentile(self.impact, 99)) if len(self.impact) else 0.0
        if not scale > 1e-9:
            return np.zeros(0), np.zeros(0)
        (found,) = argrelmin(self.speed, order=max(1, round(REACH_S * self.fps)))
        found = found[self.impact[found] > LEAST * scale]
        before, at, after = (self.speed[found + shift] for shift in (-1, 0, 1))
        # The lowest point of a parabola through three frames; the middle one is strictly lowest.
        shift = 0.5 * (before - after) / (before - 2 * at + after)
        return (found + shift) / self.fps, self.impact[found]


def movement_of(joints: np.ndarray, seen: np.ndarray | None, fps: float) -> Movement:
    """Return the movement of joints (T, J, C) that are `seen` (T, J); None: all are.

    Joints that are never seen are left out; without any joint, and in clips of fewer than three
    frames, nothing moves.
    """
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter

    step = max(1, round(fps / RATE_FPS))
    joints, fps = np.asarray(joints, float)[::step], fps / step
    seen = np.ones(joints.shape[:2], bool) if seen is None else np.asarray(seen, bool)[::step]
    seen = seen & np.isfinite(joints).all(2)
    joints = filled(joints, seen)[:, seen.any(0)]
    if len(joints) < 3 or not joints.shape[1]:
        return Movement(np.zeros(len(joints)), np.zeros(len(joints)), fps)
    width = 1 + 2 * round(MEDIAN_S * fps / 2)
    smooth = median_filter(joints, (width, 1, 1), mode="nearest")
    smooth = gaussian_filter1d(smooth, SMOOTH_S * fps, axis=0, mode="nearest")
    height = float(np.median(np.linalg.norm(np.ptp(smooth, axis=1), axis=1)))
    speeds = np.linalg.norm(np.gradient(smooth, axis=0), axis=2) * fps / max(height, 1e-6)
    window = max(2, round(DROP_S * fps))
    # The window ends at the present frame.
    highest = maximum_filter1d(speeds, window, axis=0, mode="nearest", origin=(window - 1) // 2)
    drops = np.maximum(highest - speeds, 0)
    return Movement(speeds.mean(1), drops.mean(1), fps)


def filled(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return joints (T, J, C) with unseen ones interpolated over time; at both ends, held.

    Joints that are never seen become 0.
    """
    frames, result = np.arange(len(joints)), np.zeros(joints.shape)
    for joint in np.flatnonzero(seen.any(0)):
        known = seen[:, joint]
        for axis in range(joints.shape[2]):
            result[:, joint, axis] = np.interp(frames, frames[known], joints[known, joint, axis])
    return result
