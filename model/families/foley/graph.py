"""A graph network over the joints of a body and over time (ST-GCN, Yan et al. 2018).

Symbols: B batch, C channels, T frames, J joints, P = 3 parts of a joint's neighbourhood.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.families.notes.poses import BODY_JOINTS, SMPL_JOINTS
from model.measures.skeleton import SMPL_PARENTS

BODY_25_PARENTS = (
    1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 10, 8, 12, 13, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11,
)  # fmt: skip
"""The joint that each one of BODY_25 hangs on, from the neck outwards (OpenPose)."""
SMPL_NECK, BODY_25_NECK = 12, 1
KERNEL = 9
"""The frames that a convolution along time sees."""


def skeleton(joints: int) -> tuple[Sequence[int], int]:
    """Return each joint's parent, -1 for the root, and the neck; ValueError for other bodies."""
    if joints == SMPL_JOINTS:
        return SMPL_PARENTS, SMPL_NECK
    if joints == BODY_JOINTS:
        return BODY_25_PARENTS, BODY_25_NECK
    raise ValueError(f"{joints} joints; expected {SMPL_JOINTS} of SMPL or {BODY_JOINTS} of BODY_25")


def adjacency(parents: Sequence[int], centre: int) -> Tensor:
    """Return what flows from joint to joint: (3, J, J), from row to column.

    A joint hears itself and its neighbours, each with the weight 1 / their number. The parts are:
    neighbours as far from the centre as the joint itself (so also the joint), those that are
    closer, and those that are further.
    """
    count = len(parents)
    linked = torch.eye(count, dtype=torch.bool)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            linked[joint, parent] = linked[parent, joint] = True
    distance = torch.full((count,), count)
    reached = torch.zeros(count, dtype=torch.bool)
    reached[centre] = True
    for steps in range(count):
        distance[reached & (distance == count)] = steps
        reached = linked[reached].any(0)
    weight = linked.float() / linked.sum(0)
    source, target = distance[:, None], distance[None]
    return torch.stack([weight * (source == target), weight * (source < target),
                        weight * (source > target)])  # fmt: skip


class Block(nn.Module):
    """A convolution over the graph, then one along time: (B, C, T, J) to (B, C', T / stride, J).

    Each block learns how much every link of the graph weighs for it.
    """

    def __init__(
        self, channels: int, width: int, graph: Tensor, stride: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        parts = len(graph)
        self.register_buffer("graph", graph, persistent=False)
        self.weight = nn.Parameter(torch.ones_like(graph))
        self.spread = nn.Conv2d(channels, parts * width, 1)
        self.along = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, (KERNEL, 1), (stride, 1), (KERNEL // 2, 0)),
            nn.BatchNorm2d(width),
            nn.Dropout(dropout),
        )
        self.past: nn.Module | None = None
        if residual and channels == width and stride == 1:
            self.past = nn.Identity()
        elif residual:
            convolution = nn.Conv2d(channels, width, 1, (stride, 1))
            self.past = nn.Sequential(convolution, nn.BatchNorm2d(width))

    graph: Tensor

    def forward(self, x: Tensor) -> Tensor:
        parts = self.spread(x).unflatten(1, (len(self.graph), -1))
        found = self.along(torch.einsum("bpctj,pjk->bctk", parts, self.graph * self.weight))
        return torch.relu(found if self.past is None else found + self.past(x))


class GraphNetwork(nn.Module):
    """From poses (B, C, T, J) to a sequence of vectors (B, T', widths[-1])."""

    def __init__(
        self, joints: int, channels: int, widths: Sequence[int], strides: Sequence[int],
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        graph = adjacency(*skeleton(joints))
        self.norm = nn.BatchNorm1d(channels * joints)
        inner = (channels, *widths)
        self.blocks = nn.Sequential(
            *(
                Block(inner[i], width, graph, stride, dropout, residual=i > 0)
                for i, (width, stride) in enumerate(zip(widths, strides, strict=True))
            )
        )

    def forward(self, poses: Tensor) -> Tensor:
        batch, channels, frames, joints = poses.shape
        flat = poses.permute(0, 1, 3, 2).reshape(batch, channels * joints, frames)
        x = self.norm(flat).view(batch, channels, joints, frames).permute(0, 1, 3, 2)
        return self.blocks(x).mean(3).transpose(1, 2)
