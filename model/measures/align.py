"""The beat alignment score of AIST++: how well the beats of music and dance coincide.

Source: Li et al., AI Choreographer: Music Conditioned 3D Dance Generation with AIST++, ICCV 2021,
section 5.2, and its code (google-research/mint, tools/calculate_beat_scores.py).
"""

from __future__ import annotations

import math

import numpy as np

from model.measures.skeleton import joints_of

SIGMA_S = 3 / 60
"""The paper's σ: three frames at 60 fps."""

MAX_REPEATS = 3
"""So many repeated frames in a row may come from a slower video; at 30 fps, one of 8 fps."""

SMOOTHED = 11
"""Over so many frames of a slower video the times are fitted by a line: more than a period of any
usual pair of rates."""

REACH_S = 10 / 60
"""A kinematic beat is the slowest moment within ten frames at 60 fps on either side."""


def kinematic_beats_s(joints: np.ndarray, fps: float, seen: np.ndarray | None = None) -> np.ndarray:
    """Return the times (K,), in seconds, at which the dancer is slowest: the kinematic beats.

    They are the strict local minima of the speed: the distance that each joint of `joints`
    (T, J, C) moved since the previous frame, summed over joints. Joints that are not `seen` (T, J)
    in both frames are left out, and the sum is scaled up to all J. A frame without any such joint
    gets the speed of the previous frame. At 60 fps this equals the published code. A dancer who
    does not move has no strict minimum, hence no beat. Frames that repeat the one before, as
    those of a slower video do, are no rests: see `without_repeats`.
    """
    from scipy.signal import argrelmin

    if len(joints) < 3:
        return np.zeros(0)
    joints = without_repeats(joints)
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


def without_repeats(joints: np.ndarray) -> np.ndarray:
    """Return joints (T, J, C) with the repeated frames of a slower video replaced by motion.

    A video of 24 frames a second that is stored at 30 shows every fourth frame twice, which looks
    like a rest. Its frames are spread evenly in time again, and joints between them interpolated.
    At most MAX_REPEATS frames in a row are repeats; longer ones are rests, and stay.
    """
    from scipy.signal import savgol_filter

    is_new = np.concatenate([[True], (joints[1:] != joints[:-1]).any((1, 2))])
    starts = np.flatnonzero(is_new)
    lengths = np.diff(starts, append=len(joints))
    kept = is_new | np.repeat(lengths > MAX_REPEATS + 1, lengths)
    shown = np.flatnonzero(kept).astype(float)
    if len(shown) in (len(joints), 1):
        return joints
    width = min(SMOOTHED, len(shown) - 1 + len(shown) % 2)
    even = np.maximum.accumulate(savgol_filter(shown, width, 1)) if width > 1 else shown
    flat, at = joints[kept].reshape(len(shown), -1), np.arange(len(joints))
    found = np.stack([np.interp(at, even, column) for column in flat.T], 1)
    return found.reshape(joints.shape)


def beat_align(from_s: np.ndarray, to_s: np.ndarray, sigma_s: float = SIGMA_S) -> float:
    """Return the mean of exp(-d² / 2σ²) over `from_s` (K,); d: distance to the nearest `to_s` (M,).

    The paper's score has kinematic beats as `from_s` and music beats as `to_s`. It is 1 if every
    kinematic beat coincides with a music beat. Music beats without a kinematic beat are not
    penalised, so music with a fast pulse scores well. With the two exchanged, kinematic beats
    without a music beat are not penalised. The score is 0 if `to_s` is empty. If `from_s` is empty,
    it is NaN, because there is nothing to align (the published code gives 0).
    """
    from_s, to_s = np.asarray(from_s, float), np.asarray(to_s, float)
    if not len(from_s):
        return math.nan
    if not len(to_s):
        return 0.0
    distance = np.abs(from_s[:, None] - to_s).min(1)
    return float(np.exp(-(distance**2) / (2 * sigma_s**2)).mean())


def dance_beats_s(motion: np.ndarray, fps: float) -> np.ndarray:
    """Return the kinematic beats (K,) of a stored motion (T, D) in any layout."""
    joints, seen = joints_of(motion)
    return kinematic_beats_s(joints, fps, None if seen.all() else seen)


def align_scores(motion: np.ndarray, fps: float, music_beats_s: np.ndarray) -> dict[str, float]:
    """Return align (the paper's score) and align_back (music to dance) of a motion (T, D)."""
    dance_s = dance_beats_s(motion, fps)
    back = beat_align(music_beats_s, dance_s) if len(dance_s) and len(music_beats_s) else 0.0
    return {
        "align": beat_align(dance_s, music_beats_s),
        "align_back": back if len(dance_s) else math.nan,
    }
