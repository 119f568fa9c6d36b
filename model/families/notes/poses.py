"""A dance as a camera sees it: x and y of each joint, 30 times a second.

Symbols: T frames of a motion, F frames at POSE_FPS, J joints, C coordinates.
"""

from __future__ import annotations

import numpy as np

POSE_FPS = 30
SMPL_JOINTS, BODY_JOINTS = 24, 25


def poses_of(
    joints: np.ndarray, seen: np.ndarray | None, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y (F, J, 2) float64 of joints (T, J, C), and which are seen: (F, J) bool.

    Joints of SMPL (24, C = 3, metres) are seen from the front; the middle of the picture is the
    mean of all joints over the clip. Joints of BODY_25 (25, C = 2, picture heights from the middle)
    stay where they are. A joint that is not seen stays where it was last seen, or is where it will
    first be seen; one that never is, is at (0, 0). Without `seen`, all are seen. Raises ValueError
    for other joints, and for an `fps` that is not positive.
    """
    joints = np.asarray(joints, np.float64)
    if joints.ndim != 3 or joints.shape[1:] not in ((SMPL_JOINTS, 3), (BODY_JOINTS, 2)):
        raise ValueError(
            f"joints have shape {joints.shape}; expected (T, {SMPL_JOINTS}, 3) of SMPL or "
            f"(T, {BODY_JOINTS}, 2) of BODY_25"
        )
    if not fps > 0:
        raise ValueError(f"motion has {fps} frames a second; expected more than 0")
    chosen = frames_at(len(joints), fps)
    joints = joints[chosen]
    seen = np.ones(joints.shape[:2], bool) if seen is None else np.asarray(seen, bool)[chosen]
    points = filled(joints[..., :2], seen)
    if joints.shape[1] == SMPL_JOINTS and len(points):
        points = points - points.mean((0, 1))
    return points, seen


def frames_at(count: int, fps: float) -> np.ndarray:
    """Return the indices (F,) of those of `count` frames that show the moments k / POSE_FPS."""
    moments = np.arange(int(count * POSE_FPS / fps + 1e-6))
    return np.floor(moments * (fps / POSE_FPS) + 1e-6).astype(int)


def filled(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return points (F, J, 2) with those not `seen` (F, J) replaced by the last or first seen."""
    if not len(points):
        return points
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen))[:, None], -1))
    source = np.where(last < 0, seen.argmax(0), last)
    ever = np.any(seen, axis=0)[:, None]
    return np.where(ever, np.take_along_axis(points, source[..., None], 0), 0.0)
