"""Joint positions of a stored motion in any layout, and which joints are visible.

Symbols: T motion frames, J joints.
"""

from __future__ import annotations

import numpy as np

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
SMPL_OFFSETS_M = np.array(
    [
        (0, 0, 0), (0.09, -0.08, 0), (-0.09, -0.08, 0), (0, 0.11, -0.01), (0.02, -0.39, 0),
        (-0.02, -0.39, 0), (0, 0.13, 0), (0, -0.40, -0.02), (0, -0.40, -0.02), (0, 0.06, 0.01),
        (0.02, -0.05, 0.13), (-0.02, -0.05, 0.13), (0, 0.21, -0.01), (0.07, 0.12, 0),
        (-0.07, 0.12, 0), (0, 0.10, 0.03), (0.11, 0.03, -0.01), (-0.11, 0.03, -0.01),
        (0.26, 0, 0), (-0.26, 0, 0), (0.25, 0, 0), (-0.25, 0, 0), (0.08, 0, 0), (-0.08, 0, 0),
    ]
)  # fmt: skip
"""Offsets (24, 3), in metres, of each joint from its parent: an adult of 1.72 m, as in the
synthetic benchmark.

The offsets of SMPL itself are under its licence. Rotations do not contain the lengths of bones.
"""

SMPL, SMPL_JOINTS, BODY_25 = 3 + 9 * 24, 3 * 24, 3 * 25
"""Values per frame of each layout."""


def joints_of(motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints (T, J, C) of a stored motion (T, D), and which are visible: (T, J) bool.

    D = 219 (`smpl`): root position, then 24 rotation matrices, applied to the offsets above; C = 3,
    in metres. D = 72 (`smpl-joints`): C = 3, in metres. D = 75 (`body25`): x and y of
    BODY_25, C = 2, in units of the picture's height; a joint with confidence 0 is not visible.
    Raises ValueError for other widths.
    """
    motion = np.asarray(motion, np.float64)
    width = motion.shape[-1]
    if motion.ndim != 2 or width not in (SMPL, SMPL_JOINTS, BODY_25):
        raise ValueError(
            f"motion has shape {motion.shape}; expected (T, {SMPL}), (T, {SMPL_JOINTS}) or "
            f"(T, {BODY_25}): build the shards with --motion smpl, blazepose or another one"
        )
    if width == BODY_25:
        points = motion.reshape(len(motion), 25, 3)
        return points[..., :2], points[..., 2] > 0
    joints = forward_kinematics(motion) if width == SMPL else motion.reshape(len(motion), 24, 3)
    return joints, np.ones(joints.shape[:2], bool)


def forward_kinematics(motion: np.ndarray) -> np.ndarray:
    """Return joints (T, 24, 3) in metres from root positions and rotation matrices (T, 219)."""
    local = motion[:, 3:].reshape(len(motion), 24, 3, 3)
    turned, joints = np.empty_like(local), np.empty((len(motion), 24, 3))
    turned[:, 0], joints[:, 0] = local[:, 0], motion[:, :3]
    for joint, parent in list(enumerate(SMPL_PARENTS))[1:]:
        turned[:, joint] = turned[:, parent] @ local[:, joint]
        joints[:, joint] = joints[:, parent] + turned[:, parent] @ SMPL_OFFSETS_M[joint]
    return joints
