"""MoveNet MultiPose: up to six persons in a frame, 17 joints each, in plain torch.

A CenterNet on MobileNetV2 with a feature pyramid (Google, "MoveNet.MultiPose" model card, 2021;
Zhou et al. 2019, "Objects as Points", section 6.2 for the decoding). The network is read from the
published TensorFlow.js graph. The graph decodes only one picture at a time, so a batch is decoded
here.

Legend: n frames, H, W a frame's size, h, w that of the heat maps, P persons, K = 17 joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from pipeline.features.motion.body25 import COCO
from pipeline.features.pose.graph_network import GraphNetwork
from pipeline.features.runtime import each_batch

WEIGHTS = "movenet_multipose"
LONG_SIDE_PX = 256
"""The frame's longer side as the network sees it: what the model card asks for."""
MULTIPLE_PX = 32
"""The network halves its input five times: shorter sides are filled up to a multiple of this."""
STRIDE_PX = 4
PERSONS = 6
NEAR = 0.3
"""Variance of the Gaussian that weights a joint's heat map about its regressed position, relative
to the shorter side of the heat map (a constant of the published graph)."""
SURE = 0.127
"""A joint with a lower score does not count for the person's score (a constant of the published
graph)."""
MIN_PERSON = 0.15
"""A person with a lower score is dropped. The score is the mean score of the joints times that of
the centre, so it is much lower than that of a detector. On the five real clips no dancer is lost,
and nothing else reaches it (docs/results/poses.md)."""
_PREFIX = "StatefulPartitionedCall/"
OUTPUTS = tuple(
    _PREFIX + name
    for name in (
        "Sigmoid",
        "box_scale_0/conv2d_5/BiasAdd",
        "box_offset_0/conv2d_6/BiasAdd",
        "kpt_regress_0/conv2d_8/BiasAdd",
        "Sigmoid_1",
        "kpt_offset_0/conv2d_9/BiasAdd",
    )
)
"""Heat map of the persons' centres, their sizes, offsets of the centres, joints relative to the
centre, heat maps of the joints, offsets of the joints."""


@dataclass
class MoveNet(GraphNetwork):
    """Persons and their joints in complete frames: an estimator, and a detector that has joints.

    As a detector, its `weights` may also be empty or `movenet`.
    """

    NAMES: ClassVar[tuple[str, ...]] = (WEIGHTS,)
    OUTPUTS: ClassVar[tuple[str, ...]] = OUTPUTS
    WEIGHTS: ClassVar[str] = WEIGHTS
    INPUT: ClassVar[Literal["frames"]] = "frames"

    weights: str = WEIGHTS
    names: tuple[str, ...] = COCO
    input_px: tuple[int, int] = (LONG_SIDE_PX, LONG_SIDE_PX)

    def __post_init__(self) -> None:
        if self.weights in ("", "movenet"):
            self.weights = WEIGHTS

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """Return for each RGB frame, uint8 (n, H, W, 3), its persons, float32 (P, 5 + 3 K).

        A row is x0, y0, x1, y1, score, then x, y and score of each joint, in px of the frame. The
        person with the highest score comes first.
        """
        found = each_batch(self._some, frames, self.batch, self.runtime, self.device)
        return [rows for part in found for rows in part]

    def _some(self, frames: np.ndarray) -> list[np.ndarray]:
        import torch

        pictures, scale = fit(frames)
        with torch.inference_mode():
            persons = decode(*self.heads(pictures, divisor=1)).cpu().numpy()
        height, width = frames.shape[1:3]
        found = []
        for rows in persons:
            rows = rows[rows[:, 4] >= MIN_PERSON]
            places = np.concatenate([rows[:, :4].reshape(-1, 2, 2), joints_of(rows)[..., :2]], 1)
            places = (places * STRIDE_PX + 0.5) / scale - 0.5
            rows[:, :4] = np.clip(
                places[:, :2].reshape(-1, 4), -0.5, [width - 0.5, height - 0.5] * 2
            )
            joints_of(rows)[..., :2] = places[:, 2:]
            found.append(rows)
        return found


def joints_of(rows: np.ndarray) -> np.ndarray:
    """Return a view of the joints (P, K, 3) of persons (P, 5 + 3 K)."""
    return rows[:, 5:].reshape(len(rows), (rows.shape[1] - 5) // 3, 3)


def fit(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (n, H, W, 3) scaled for the network, and the scales of x and y.

    The longer side becomes LONG_SIDE_PX; the shorter side is filled up with black.
    """
    import cv2

    height, width = frames.shape[1:3]
    scale = LONG_SIDE_PX / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    out = np.zeros((len(frames), _filled(high), _filled(wide), 3), dtype=np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    for small, frame in zip(out, frames, strict=True):
        small[:high, :wide] = cv2.resize(frame, (wide, high), interpolation=how)
    return out, np.array([wide / width, high / height])


def decode(centres: Any, sizes: Any, offsets: Any, regressed: Any, heat: Any, nudges: Any) -> Any:
    """Return persons, float32 (n, 6, 5 + 3 K), from the outputs of the network, each (n, C, h, w).

    The unit of positions is a cell of the heat maps. A person is a peak of `centres`. Each of its
    joints is the maximum of the joint's heat map, weighted by a Gaussian about the position that is
    regressed from the centre, inside the person's box.
    """
    import torch
    from torch.nn import functional as F

    high, wide = centres.shape[2:]
    kinds = heat.shape[1]
    peaks = centres * (centres == F.max_pool2d(centres, 5, 1, 2))
    surest, at = peaks.flatten(1).topk(PERSONS)  # (n, 6)
    row, column = torch.div(at, wide, rounding_mode="floor").float(), (at % wide).float()

    def there(head: Any) -> Any:
        """Return a head's values at the centres, (n, 6, C)."""
        return (
            head.flatten(2).transpose(1, 2).gather(1, at[..., None].expand(-1, -1, head.shape[1]))
        )

    size, offset = there(sizes).clamp(min=0), there(offsets)
    middle = torch.stack([row, column], -1) + offset
    most = torch.tensor([high, wide], device=at.device).float()
    low = (middle - size / 2).clamp(min=0).minimum(most)
    top = (middle + size / 2).clamp(min=0).minimum(most)

    expected = (
        there(regressed).unflatten(-1, (kinds, 2)) + torch.stack([row, column], -1)[:, :, None]
    )
    rows = torch.arange(high, device=at.device).float()
    columns = torch.arange(wide, device=at.device).float()
    # The Gaussian and the box are products of one part along the rows and one along the columns.
    variance = NEAR * min(high, wide)
    part_y = torch.exp(-((rows - expected[..., :1]) ** 2) / variance)  # (n, 6, K, h)
    part_x = torch.exp(-((columns - expected[..., 1:]) ** 2) / variance)
    part_y = part_y * ((rows >= low[:, :, :1]) & (rows < top[:, :, :1]))[:, :, None]
    part_x = part_x * ((columns >= low[:, :, 1:]) & (columns < top[:, :, 1:]))[:, :, None]
    weighted = heat[:, None] * part_y[..., None] * part_x[..., None, :]  # (n, 6, K, h, w)
    best = weighted.flatten(3).argmax(-1)  # (n, 6, K)
    # As in the graph, the score is the largest of the six persons' weighted values at this cell.
    score = weighted.amax(1).flatten(2).gather(2, best.transpose(1, 2)).transpose(1, 2)
    y, x = torch.div(best, wide, rounding_mode="floor").float(), (best % wide).float()
    nudge = nudges.unflatten(1, (kinds, 2)).flatten(3)  # (n, K, 2, h w)
    nudge = nudge.gather(3, best.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1))
    nudge = nudge.permute(0, 3, 1, 2)  # (n, 6, K, 2)
    joints = torch.stack([x + nudge[..., 1], y + nudge[..., 0], score], -1)

    sure = score > SURE
    person = surest * (score * sure).sum(-1) / sure.sum(-1).clamp(min=1)
    box = torch.cat([low.flip(-1), top.flip(-1)], -1)
    return torch.cat([box, person[..., None], joints.flatten(2)], -1)


def _filled(side_px: int) -> int:
    return -(-side_px // MULTIPLE_PX) * MULTIPLE_PX
