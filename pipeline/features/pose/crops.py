"""Crop persons from frames for an estimator, and convert its joints back to frame coordinates.

Legend: n crops, K joints, (w, h) the network's input in px.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PADDING = 1.25
"""Size of a crop relative to the person's box: the default of mmpose, also used in its training."""


def crop_scale(boxes: np.ndarray, input_px: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper left corners (n, 2) of the crops, and the frame px per crop px (n,).

    A crop has the same centre as its box in `boxes` (n, 4) and 1.25 times the size, extended to the
    aspect ratio of the network's input.
    """
    width, height = input_px
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    sides = (boxes[:, 2:4] - boxes[:, :2]) * PADDING
    scale = np.maximum((sides / [width, height]).max(1), 1e-3)
    return centre - scale[:, None] * np.array([width, height]) / 2, scale


def crop(frame: np.ndarray, boxes: np.ndarray, input_px: Sequence[int]) -> np.ndarray:
    """Return crops uint8 (n, h, w, 3) of one frame (H, W, 3); black outside the frame."""
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
    """Convert joints (n, K, 3) from px of the crops to px of the frame."""
    corner, scale = crop_scale(boxes, input_px)
    placed = joints.copy()
    placed[..., :2] = joints[..., :2] * scale[:, None, None] + corner[:, None]
    return placed
