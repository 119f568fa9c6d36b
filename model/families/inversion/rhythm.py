"""The rhythm of a dance as zeros and ones, one for each frame; nothing in it is learnt.

Source: the MusicGen branch of the code of Li et al., "Dance-to-Music Generation with Encoder-based
Textual Inversion" (SIGGRAPH Asia 2024, arXiv 2401.17800). There, a magnitude is added to bin
`angle mod 10`, with the angle in whole degrees mod 180; the paper describes contiguous sectors.

Symbols: T frames at FPS, R = T - 2 values, J = 17 joints of COCO.
"""

from __future__ import annotations

import numpy as np

from model.families.notes.poses import filled
from model.measures.skeleton import joints_of

FPS = 60
"""The rate of AIST++'s keypoints, on which the windows below are counted."""
LOST_FRAMES = 2
"""A difference of differences is two values shorter than the frames."""
PAPER_S, PAPER_FRAMES = 5.12, 305
"""The published length of a clip, and to how many frames its keypoints are cut."""
BINS = 10
PEAK_FRAMES, MEAN_FRAMES = 6, 4
"""Frames from a peak on of which it is the highest, and whose mean it exceeds."""
LEAST = 0.1
"""By how much, as a share of the mean over the clip."""
BODY_25_TO_COCO = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11)
SMPL_TO_COCO = (15, 15, 15, 15, 15, 16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)
"""The joint of BODY_25, or of SMPL, for each of COCO's; SMPL's head stands for nose, eyes, ears."""


def frames_of(seconds: float) -> int:
    """Return how many frames are read of a window; of 5.12 s, as published, 305."""
    whole = int(seconds * FPS + 1e-6)
    return min(whole, PAPER_FRAMES) if abs(seconds - PAPER_S) < 1e-6 else whole


def rhythm_of(motion: np.ndarray, seconds: float, true_sectors: bool = False) -> np.ndarray:
    """Return the rhythm (R,) float32 of a window's stored motion (any T, D), in any layout.

    R = `frames_of(seconds)` - 2. Raises ValueError for a motion of another layout.
    """
    return peaks(envelope(coco_points(motion, seconds), true_sectors))


def coco_points(motion: np.ndarray, seconds: float) -> np.ndarray:
    """Return the joints (T, 17, 2) of COCO in a plane, y downwards, at FPS; T = `frames_of`.

    SMPL's joints are seen from the front. A joint that is not seen stays where it was; between the
    frames of slower motions, positions are interpolated.
    """
    joints, seen = joints_of(motion)
    if joints.shape[1] == 25:
        points = filled(joints, seen)[:, BODY_25_TO_COCO]
    else:
        points = joints[:, SMPL_TO_COCO, :2] * (1, -1)
    held = (np.arange(len(points)) + 0.5) * (seconds / len(points))
    wanted = (np.arange(frames_of(seconds)) + 0.5) / FPS
    first = np.clip(np.searchsorted(held, wanted, "right") - 1, 0, max(0, len(held) - 2))
    after = np.minimum(first + 1, len(held) - 1)
    apart = np.maximum(held[after] - held[first], 1e-9)
    share = np.clip((wanted - held[first]) / apart, 0, 1)[:, None, None]
    return points[first] * (1 - share) + points[after] * share


def envelope(points: np.ndarray, true_sectors: bool = False) -> np.ndarray:
    """Return how much more the joints (T, J, 2) move in each direction than before: (T - 2,).

    The highest value is 1; a dancer who stands still has zeros (the published code divides by 0).
    `true_sectors` sorts directions into ten sectors of 18 degrees instead of by `angle mod 10`.
    """
    moved = np.diff(points, axis=0)
    speed = np.linalg.norm(moved, axis=2)
    degrees = np.degrees(np.arctan2(moved[..., 1], moved[..., 0])) % 180
    whole = np.minimum(np.floor(degrees).astype(int), 179)
    bins = whole // (180 // BINS) if true_sectors else whole % BINS
    sums = np.stack([(speed * (bins == k)).sum(1) for k in range(BINS)], 1)
    rising = np.maximum(np.diff(sums, axis=0), 0).sum(1)
    highest = rising.max(initial=0.0)
    return rising / highest if highest > 1e-12 else np.zeros_like(rising)


def peaks(strength: np.ndarray) -> np.ndarray:
    """Return 1 where `strength` (R,) has a peak, else 0: (R,) float32.

    A peak is the highest of itself and the next five values, and exceeds the mean of itself and the
    next three by a tenth of the mean over all. Of consecutive peaks the last one is kept.
    """
    if not len(strength):
        return np.zeros(0, np.float32)

    def ahead(frames: int, of: np.ufunc, fill: float) -> np.ndarray:
        padded = np.concatenate([strength, np.full(frames - 1, fill)])
        return of.reduce(np.lib.stride_tricks.sliding_window_view(padded, frames), axis=1)

    highest = ahead(PEAK_FRAMES, np.maximum, -np.inf)
    counts = np.minimum(MEAN_FRAMES, len(strength) - np.arange(len(strength)))
    mean = ahead(MEAN_FRAMES, np.add, 0.0) / counts
    found = (highest - mean > LEAST * strength.mean()) & (strength == highest)
    found[:-1] &= ~found[1:]
    return found.astype(np.float32)
