"""BlazePose's landmarks: 33 points of a person in a square crop, in plain torch.

Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose tracking", and Google's "MediaPipe
BlazePose GHUM 3D" model card (2021). The crop is rotated so that the trunk is upright. The joints
that MoveNet finds (movenet.py) place it, or the box, if the detector finds boxes only.

Legend: n crops, K = 33 points, S = 256, the side of a crop in px, h, w sides of the heat maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from pipeline.features.motion.body25 import COCO
from pipeline.features.pose.base import joints_of
from pipeline.features.pose.graph_network import GraphNetwork
from pipeline.features.runtime import each_batch

NAMES = ("blazepose_full", "blazepose_heavy")
SIDE_PX = 256
POINTS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye",
    "right_eye_outer", "left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky",
    "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel",
    "left_big_toe", "right_big_toe",
)  # fmt: skip
"""The points in the model card's order; its "foot index" is BODY_25's big toe."""
PADDING = 1.25
"""How much wider than the circle about the body a crop is (mediapipe, pose_landmark_cpu.pbtxt)."""
REACH = 1.15
"""Radius of the circle about the body, relative to the distance from the hips to the farthest of
MoveNet's 17 joints: feet and the top of the head lie outside these."""
LEAST_REACH = 1.6
"""The circle about the body is at least this large, so that the crop includes legs that were not
found. In lengths of the trunk (hips to shoulders)."""
SURE = 0.2
"""If a hip or a shoulder has a lower score than this, the box places the crop, not the joints."""
OTHERS = 0.2
"""If the mean distance of BlazePose's hips and shoulders from MoveNet's is larger than this, in
lengths of the trunk, BlazePose has posed another person who is in the crop. MoveNet's joints are
used instead: in 0 to 0.7 % of the frames of one dancer, in 17 % of those of three dancers who stand
close (docs/results/poses.md)."""
REFINE_CELLS, REFINE_SCORE = 3, 0.5
"""A point is moved to the centre of mass of its heat map, within so many cells in each direction,
if one of these cells has at least this value (mediapipe,
tensors_to_pose_landmarks_and_segmentation.pbtxt)."""
OUTPUTS = (
    "StatefulPartitionedCall/model/ld_3d/Reshape",
    "StatefulPartitionedCall/model/activation_heatmap/Sigmoid",
)


@dataclass
class BlazePose(GraphNetwork):
    """BlazePose's landmark network, on crops."""

    NAMES: ClassVar[tuple[str, ...]] = NAMES
    OUTPUTS: ClassVar[tuple[str, ...]] = OUTPUTS
    BATCHES: ClassVar[tuple[int, int]] = (4, 64)
    WEIGHTS: ClassVar[str] = NAMES[0]
    INPUT: ClassVar[Literal["crops"]] = "crops"
    DETECTOR: ClassVar[str] = "movenet"

    weights: str = WEIGHTS
    names: tuple[str, ...] = POINTS
    input_px: tuple[int, int] = (SIDE_PX, SIDE_PX)

    def places(self, people: np.ndarray) -> np.ndarray:
        """Return where crops lie: float64 (n, 2, 3), from px of a crop to px of the frame.

        `people` is (n, 4 + 3 J): boxes, and MoveNet's joints where the detector has them (J is 17,
        or 0).
        """
        return squares(people)

    def settle(self, joints: np.ndarray, people: np.ndarray) -> np.ndarray:
        """Return joints (n, K, 3) in px of the frame, MoveNet's if another person was posed."""
        return own_joints(joints, people)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Return float32 (n, K, 3), x and y in px of the crop and score, for uint8 (n, S, S, 3)."""
        if crops.shape[1:] != (SIDE_PX, SIDE_PX, 3):
            raise ValueError(
                f"crops have shape {crops.shape}, expected (n, {SIDE_PX}, {SIDE_PX}, 3)"
            )
        none = np.empty((0, len(self.names), 3), dtype=np.float32)
        found = each_batch(self._some, crops, self.batch, self.runtime, self.device)
        return np.concatenate([none, *found])

    def _some(self, crops: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return decode(*self.heads(crops, divisor=255)).cpu().numpy()


def squares(people: np.ndarray) -> np.ndarray:
    """Return where the square crops of persons lie: (n, 2, 3), px of a crop to px of the frame.

    A square has the hips in its middle and the shoulders above them, and is PADDING times as wide
    as the circle about the body. If hips or shoulders have low scores, it is about the box, and not
    rotated.
    """
    corners = people[:, :4].reshape(-1, 2, 2)
    middle = corners.mean(1)
    radius = (corners[:, 1] - corners[:, 0]).max(1) / 2
    up = np.tile([0.0, -1.0], (len(people), 1))
    if people.shape[1] > 4:
        joints = joints_of(people)
        hips, shoulders = (
            joints[:, [COCO.index(f"{side}_{part}") for side in ("left", "right")]]
            for part in ("hip", "shoulder")
        )
        trunk = shoulders[..., :2].mean(1) - hips[..., :2].mean(1)
        long = np.linalg.norm(trunk, axis=1)
        known = (hips[..., 2].min(1) >= SURE) & (shoulders[..., 2].min(1) >= SURE) & (long > 1)
        away = np.linalg.norm(joints[..., :2] - hips[..., :2].mean(1)[:, None], axis=2)
        away = np.where(joints[..., 2] >= SURE, away, 0).max(1)
        middle = np.where(known[:, None], hips[..., :2].mean(1), middle)
        radius = np.where(known, np.maximum(REACH * away, LEAST_REACH * long), radius)
        up = np.where(known[:, None], trunk / np.maximum(long, 1e-6)[:, None], up)
    scale = np.maximum(2 * radius * PADDING / SIDE_PX, 1e-3)
    down, right = -up, np.stack([-up[:, 1], up[:, 0]], 1)
    linear = np.stack([right, down], 2) * scale[:, None, None]
    shift = middle - linear @ np.full(2, (SIDE_PX - 1) / 2)
    return np.concatenate([linear, shift[..., None]], 2)


def own_joints(joints: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return joints (n, K, 3), with MoveNet's 17 if the trunk of `joints` is too far from theirs.

    `people` (n, 4 + 3 J) has MoveNet's joints; without them (J = 0) nothing changes.
    """
    if people.shape[1] == 4:
        return joints
    theirs = joints_of(people)
    trunk = [f"{side}_{part}" for part in ("shoulder", "hip") for side in ("left", "right")]
    a, b = (x[:, [names.index(name) for name in trunk]]
            for x, names in ((joints, POINTS), (theirs, COCO)))  # fmt: skip
    long = np.linalg.norm(b[:, :2, :2].mean(1) - b[:, 2:, :2].mean(1), axis=1)
    off = np.linalg.norm(a[..., :2] - b[..., :2], axis=2).mean(1)
    taken = (b[..., 2].min(1) >= SURE) & (off > OTHERS * long)
    stand_in = np.zeros_like(joints)
    stand_in[:, [POINTS.index(name) for name in COCO]] = theirs
    return np.where(taken[:, None, None], stand_in, joints)


def decode(points: Any, heat: Any) -> Any:
    """Return float32 (n, K, 3): x and y in px of the crop, and score, of the network's heads.

    Visibility alone cannot be compared with the scores of other estimators: guessed legs, and
    joints in a crowd, have a visibility of 0.5 or more. The score is therefore the product of
    visibility, presence and the maximum of the heat map near the joint. docs/reference/features.md
    compares the joints with MoveNet's by score.

    Args:
        points: (n, 195, 1, 1): x, y, z in px, logits of visibility and presence, of 39 points.
        heat: (n, 39, h, w): heat maps, 0 to 1.
    """
    import torch

    kinds = len(POINTS)
    points = points.flatten(1).unflatten(1, (-1, 5))[:, :kinds]
    places, hottest = refine(points[..., :2] / SIDE_PX, heat[:, :kinds])
    score = points[..., 3].sigmoid() * points[..., 4].sigmoid() * hottest
    return torch.cat([places * SIDE_PX - 0.5, score[..., None]], -1)


def refine(places: Any, heat: Any) -> tuple[Any, Any]:
    """Return places (n, K, 2), refined by heat maps (n, K, h, w), and the maxima near them (n, K).

    Places are fractions of the crop's side. The maximum of a place outside the crop is 0.
    """
    import torch

    high, wide = heat.shape[2:]
    near = torch.arange(-REFINE_CELLS, REFINE_CELLS + 1, device=heat.device)
    x = (places[..., 0] * wide).floor().long()
    y = (places[..., 1] * high).floor().long()
    rows, columns = y[..., None] + near, x[..., None] + near  # (n, K, 7)
    row_there, column_there = (rows >= 0) & (rows < high), (columns >= 0) & (columns < wide)
    inside = row_there[..., None] & column_there[..., None, :]
    at = rows.clamp(0, high - 1)[..., None] * wide + columns.clamp(0, wide - 1)[..., None, :]
    values = heat.flatten(2).gather(2, at.flatten(2)).unflatten(2, at.shape[2:]) * inside
    total = values.sum((2, 3)).clamp(min=1e-9)
    mean_x = (values * columns[..., None, :]).sum((2, 3)) / total / wide
    mean_y = (values * rows[..., None]).sum((2, 3)) / total / high
    hottest = values.amax((2, 3)) * ((x >= 0) & (x < wide) & (y >= 0) & (y < high))
    moved = (hottest >= REFINE_SCORE)[..., None]
    return torch.where(moved, torch.stack([mean_x, mean_y], -1), places), hottest
