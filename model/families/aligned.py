"""What families share about inputs: their scale, and their place on the time grid of the codes.

Symbols: B batch, C channels, D features, T and W steps of an input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtracts the mean and divides by the standard deviation of each feature.

    Both are buffers, saved with the weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def measure(self, values: Tensor) -> None:
        """Set mean and standard deviation from values (..., D).

        A feature that is almost constant in them keeps deviation 1. Otherwise a movement in other
        data would become thousands of deviations.
        """
        rows = values.reshape(-1, values.shape[-1]).double()
        deviation = rows.std(0, unbiased=False)
        self.mean.copy_(rows.mean(0))
        least = 1e-3 * deviation.mean().clamp(min=1.0)
        self.deviation.copy_(torch.where(deviation > least, deviation, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Map values (..., D) to the same shape."""
        return (x - self.mean) / self.deviation


def resample_time(x: Tensor, step_s: float, length: int, length_step_s: float) -> Tensor:
    """Interpolate x (B, C, T), with steps of `step_s`, to `length` steps of `length_step_s`.

    Both grids start at time 0. The value of a position is that at the middle of its step. Beyond
    both ends, the nearest value is repeated.
    """
    middle = (torch.arange(length, device=x.device, dtype=torch.float64) + 0.5) * length_step_s
    place = (middle / step_s - 0.5).clamp(0, x.shape[-1] - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=x.shape[-1] - 1)
    return torch.lerp(x[..., before], x[..., after], (place - before).to(x.dtype))


def hold_time(x: Tensor, step_s: float, length: int, length_step_s: float) -> Tensor:
    """Repeat values of x (B, C, W), steps of `step_s`, over `length` steps of `length_step_s`."""
    middle = (torch.arange(length, device=x.device, dtype=torch.float64) + 0.5) * length_step_s
    return x[..., (middle / step_s).long().clamp(max=x.shape[-1] - 1)]
