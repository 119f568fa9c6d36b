"""A skeleton with SMPL's 24 joints: names, parents, rest pose, forward kinematics.

The joint order, the axes (x to the dancer's left, y up, z forward) and the axis-angle parameters
are SMPL's, so code that reads AIST++ motion can read this too. The bone lengths are invented; they
are those of an adult of 1.72 m.
"""

from __future__ import annotations

import numpy as np

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
J = {name: index for index, name in enumerate(JOINTS)}

OFFSETS_M = np.array(
    [
        (0, 0, 0), (0.09, -0.08, 0), (-0.09, -0.08, 0), (0, 0.11, -0.01), (0.02, -0.39, 0),
        (-0.02, -0.39, 0), (0, 0.13, 0), (0, -0.40, -0.02), (0, -0.40, -0.02), (0, 0.06, 0.01),
        (0.02, -0.05, 0.13), (-0.02, -0.05, 0.13), (0, 0.21, -0.01), (0.07, 0.12, 0),
        (-0.07, 0.12, 0), (0, 0.10, 0.03), (0.11, 0.03, -0.01), (-0.11, 0.03, -0.01),
        (0.26, 0, 0), (-0.26, 0, 0), (0.25, 0, 0), (-0.25, 0, 0), (0.08, 0, 0), (-0.08, 0, 0),
    ]
)  # fmt: skip
"""(24, 3) offset of each joint from its parent, in metres, in the rest pose (arms out, facing z).
"""


def rotations(axis_angle: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (..., 3, 3) of axis-angle vectors (..., 3), in radians."""
    # the formula of Rodrigues
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    small = angle < 1e-8
    safe = np.where(small, 1, angle)
    first = np.where(small, 1, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + first * cross + second * cross @ cross


def axis_angles(matrices: np.ndarray) -> np.ndarray:
    """Return the axis-angle vectors (..., 3), of length at most π, of matrices (..., 3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(
        matrices.shape[:-1]
    )  # fmt: skip


def forward_kinematics(poses: np.ndarray, trans_m: np.ndarray) -> np.ndarray:
    """Return the joints (T, 24, 3) in metres for `poses` (T, 72) and pelvis positions (T, 3)."""
    return kinematics(poses, trans_m)[0]


def kinematics(
    poses: np.ndarray, trans_m: np.ndarray, offsets_m: np.ndarray = OFFSETS_M
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints (T, 24, 3) in metres, and the rotation (T, 24, 3, 3) of each in the world.

    `offsets_m` are the offsets of a body with other proportions.
    """
    local = rotations(poses.reshape(len(poses), len(JOINTS), 3))
    turned, joints = np.empty_like(local), np.empty((len(poses), len(JOINTS), 3))
    turned[:, 0], joints[:, 0] = local[:, 0], trans_m
    for joint, parent in enumerate(PARENTS[1:], start=1):
        turned[:, joint] = turned[:, parent] @ local[:, joint]
        joints[:, joint] = joints[:, parent] + turned[:, parent] @ offsets_m[joint]
    return joints, turned
