"""Convolutional layers along time, shared by all D2M-GAN networks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
"""The negative slope of every leaky ReLU (paper, section 4.1)."""
GAIN = (2 / (1 + SLOPE**2)) ** 0.5
"""Initial gain of a convolution after a leaky ReLU that keeps the variance of the signal."""


def begin(conv: nn.Conv1d | nn.ConvTranspose1d, deviation: float) -> None:
    """Initialise a convolution: weights normally distributed around 0, bias 0."""
    assert conv.bias is not None, "torch convolutions have a bias unless bias=False"
    nn.init.normal_(conv.weight, std=deviation)
    nn.init.zeros_(conv.bias)


def pad_time(x: Tensor, left: int, right: int) -> Tensor:
    """Pad x (B, C, T) or (B, C, 1, T) by reflection; if x is too short for that, add zeros."""
    reach = x.shape[-1] - 1
    a, b = min(left, reach), min(right, reach)
    if a or b:
        x = F.pad(x, (a, b, 0, 0) if x.ndim == 4 else (a, b), mode="reflect")
    if left > a or right > b:
        x = F.pad(x, (left - a, right - b))
    return x


class Conv(nn.Module):
    """Weight-normalised convolution; keeps the length, or divides it by `stride`, rounding up."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1,
        groups: int = 1, gain: float = GAIN,
    ) -> None:  # fmt: skip
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, kernel, stride, dilation=dilation, groups=groups)
        begin(conv, gain / (inputs // groups * kernel) ** 0.5)
        self.conv = weight_norm(conv)
        self.span, self.stride = dilation * (kernel - 1) + 1, stride

    def forward(self, x: Tensor) -> Tensor:
        length, conv = -(-x.shape[-1] // self.stride), self.conv
        left = max(self.span - self.stride, 0) // 2
        right = max((length - 1) * self.stride + self.span - x.shape[-1] - left, 0)
        if conv.groups > 1 and self.stride > 1:
            return grouped(x, conv.weight, conv.bias, self.stride, conv.groups, left, right)
        # On a CPU with one thread, torch uses its fast path for kernel 1 only with a dilation.
        dilation = 2 if self.span == 1 and x.device.type == "cpu" else conv.dilation[0]
        x = pad_time(x, left, right)
        return F.conv1d(x, conv.weight, conv.bias, self.stride, 0, dilation, conv.groups)


def grouped(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, groups: int, left: int, right: int
) -> Tensor:
    """Apply a grouped convolution with `stride` to x (B, C, T), padded by `left` and `right`.

    The `stride` positions of one step become channels of their group. The kernel, padded with zeros
    to a multiple of `stride`, then moves by 1 in channels-last memory. CPUs are slow for narrow
    groups and for strides; this is about twice as fast.
    """
    x = pad_time(x.unsqueeze(2).contiguous(memory_format=torch.channels_last), left, right)
    batch, channels, _, padded = x.shape
    outputs, width, kernel = weight.shape
    taps, length = -(-kernel // stride), (padded - kernel) // stride + 1
    steps = length + taps - 1
    x = F.pad(x, (0, steps * stride - padded))  # pads, or cuts unused positions
    x = x.permute(0, 2, 3, 1).reshape(batch, 1, steps, stride, groups, width).transpose(3, 4)
    x = x.reshape(batch, 1, steps, channels * stride).permute(0, 3, 1, 2)
    weight = F.pad(weight, (0, taps * stride - kernel)).view(outputs, width, taps, stride)
    weight = weight.permute(0, 3, 1, 2).reshape(outputs, stride * width, 1, taps)
    return F.conv2d(x, weight, bias, groups=groups).squeeze(2)


class Residual(nn.Module):
    """1x1 shortcut plus [LReLU, dilated kernel 3, LReLU, kernel 1]: (B, C, T) to (B, C, T).

    Initialised near the identity, so that deep stacks pass signal and gradient from the start.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.shortcut = Conv(channels, channels, 1)
        self.shortcut.conv.weight = torch.eye(channels)[..., None]
        self.wide = Conv(channels, channels, 3, dilation=dilation)
        self.narrow = Conv(channels, channels, 1, gain=0.25 * GAIN)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.wide(F.leaky_relu(x, SLOPE))
        return self.shortcut(x) + self.narrow(F.leaky_relu(inner, SLOPE))


def residuals(channels: int, dilations: Iterable[int]) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels, dilation) for dilation in dilations))


class Down(nn.Module):
    """Halves the length, rounding up: output i is between input positions 2i and 2i + 1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.leaky_relu(x, SLOPE))


class Up(nn.Module):
    """Doubles the length exactly."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose1d(inputs, outputs, 4, stride=2, padding=1)
        # Each output position is the sum of two of the four taps.
        begin(conv, GAIN / (2 * inputs) ** 0.5)
        self.conv = weight_norm(conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.leaky_relu(x, SLOPE))
