"""The sinusoidal encoding of positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """Return the encoding (…, D = `width`) of positions (…), as in Vaswani et al. 2017."""
    steps = torch.arange(0, width, 2, device=positions.device)
    angles = positions[..., None] * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)
