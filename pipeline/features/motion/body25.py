"""Convert named joints to BODY_25, the common format of all 2D poses.

Legend: K joints of the source, J = 25. A joint is (x px, y px, confidence); (0, 0, 0) means not
visible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LAYOUT = "body25"
JOINTS = 25
DIM = 3 * JOINTS
FPS = 30

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""The 17 joints of COCO, in its order."""

FEET = (
    "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

COCO_WHOLEBODY = (
    COCO
    + FEET
    + tuple(f"face_{i}" for i in range(68))
    + tuple(f"{side}_hand_{i}" for side in ("left", "right") for i in range(21))
)
"""The 133 joints of COCO-WholeBody (Jin et al. 2020): body, feet, face, hands."""

BODY_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe",
    "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose's order (its documentation, "Output Format")."""

BETWEEN = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
"""Joints that only OpenPose has: the middle of two joints, with the lower of both confidences."""


def to_body25(names: Sequence[str], joints: np.ndarray) -> np.ndarray:
    """Convert joints (..., K, 3) with the given K `names` to BODY_25: float32 (..., 25, 3).

    Neck and mid-hip are computed unless they are among `names`. A joint that is missing, or whose
    confidence is 0, is (0, 0, 0).

    Raises ValueError if the numbers of names and joints differ.
    """
    if joints.shape[-2:] != (len(names), 3):
        raise ValueError(f"joints have shape {joints.shape}, expected (..., {len(names)}, 3)")
    at = {name: index for index, name in enumerate(names)}
    body = np.zeros((*joints.shape[:-2], JOINTS, 3), dtype=np.float32)
    for index, name in enumerate(BODY_25):
        if name in at:
            body[..., index, :] = joints[..., at[name], :]
        elif name in BETWEEN and all(end in at for end in BETWEEN[name]):
            left, right = (joints[..., at[end], :] for end in BETWEEN[name])
            body[..., index, :2] = (left[..., :2] + right[..., :2]) / 2
            body[..., index, 2] = np.minimum(left[..., 2], right[..., 2])
    return np.where(body[..., 2:] > 0, body, np.float32(0))


def normalise(body_px: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Return float32 (..., 25, 3) with x = (px - width/2) / height, y = (px - height/2) / height.

    So a pose does not depend on the size of the picture. A joint of confidence 0 is (0, 0, 0).
    """
    body = np.array(body_px, dtype=np.float32)
    body[..., 0] = (body[..., 0] - width_px / 2) / height_px
    body[..., 1] = (body[..., 1] - height_px / 2) / height_px
    return np.where(body[..., 2:] > 0, body, np.float32(0))


def nearest(shown_s: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """Return for each wanted time the index of the nearest shown frame; both inputs are sorted.

    If two are equally near, the earlier one is used.
    """
    right = np.clip(np.searchsorted(shown_s, wanted_s), 1, max(1, len(shown_s) - 1))
    left = right - 1
    right = np.minimum(right, len(shown_s) - 1)
    return np.where(wanted_s - shown_s[left] <= shown_s[right] - wanted_s, left, right)


BONES = (
    *("nose neck", "neck right_shoulder", "right_shoulder right_elbow", "right_elbow right_wrist"),
    *("neck left_shoulder", "left_shoulder left_elbow", "left_elbow left_wrist", "neck mid_hip"),
    *("mid_hip right_hip", "right_hip right_knee", "right_knee right_ankle", "mid_hip left_hip"),
    *("left_hip left_knee", "left_knee left_ankle", "left_ankle left_big_toe"),
    "right_ankle right_big_toe",
)
MIN_CONFIDENCE = 0.2
"""A joint with a lower confidence is not drawn."""
