"""Cut persons out of frames as an estimator's input, and put its joints back into the frame.

Legend: n crops, K joints, (w, h) the network's input in px.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PADDING = 1.25
"""How much larger than the person's box a crop is: mmpose's default, and what it is trained on."""


def crop_scale(boxes: np.ndarray, input_px: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (n, 2) of the crops of boxes (n, 4), and frame px per crop px (n,).

    The crop has the box's centre, 1.25 times its size, grown to the network's shape.
    """
    width, height = input_px
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    sides = (boxes[:, 2:4] - boxes[:, :2]) * PADDING
    scale = np.maximum((sides / [width, height]).max(1), 1e-3)
    return centre - scale[:, None] * np.array([width, height]) / 2, scale


def crop(frame: np.ndarray, boxes: np.ndarray, input_px: Sequence[int]) -> np.ndarray:
    """Return uint8 (n, h, w, 3) cut from one frame (H, W, 3); black beyond its edges."""
    import cv2

    width, height = input_px
    out = np.empty((len(boxes), height, width, 3), dtype=np.uint8)
    for i, (corner, scale) in enumerate(zip(*crop_scale(boxes, input_px), strict=True)):
        to_crop = np.array([[1 / scale, 0, -corner[0] / scale], [0, 1 / scale, -corner[1] / scale]])
        out[i] = cv2.warpAffine(frame, to_crop, (width, height), flags=cv2.INTER_LINEAR)
    return out


def cut(frame: np.ndarray, places: np.ndarray, input_px: Sequence[int]) -> np.ndarray:
    """Return uint8 (n, h, w, 3) cut from one frame (H, W, 3) at places (n, 2, 3), turned as these.

    A place maps px of the crop to px of the frame; the crop is black beyond the frame's edges.
    """
    import cv2

    width, height = input_px
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crops = [cv2.warpAffine(frame, place, (width, height), flags=how) for place in places]
    return np.array(crops, dtype=np.uint8).reshape(-1, height, width, 3)


def put_back(joints: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return joints (n, K, 3) of crops that were cut at places (n, 2, 3) in px of the frame."""
    placed = joints.copy()
    placed[..., :2] = joints[..., :2] @ places[:, :, :2].transpose(0, 2, 1) + places[:, None, :, 2]
    return placed


def uncrop(joints: np.ndarray, boxes: np.ndarray, input_px: Sequence[int]) -> np.ndarray:
    """Return joints (n, K, 3) of crops in px of the frame that they were cut from."""
    corner, scale = crop_scale(boxes, input_px)
    placed = joints.copy()
    placed[..., :2] = joints[..., :2] * scale[:, None, None] + corner[:, None]
    return placed
