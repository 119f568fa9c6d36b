"""The optimiser of every network here, and how large its gradients are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def adam(parameters: Iterable[nn.Parameter], lr: float, betas: Sequence[float]) -> torch.optim.Adam:
    """Return Adam that updates all weights in one pass over them, on CPUs and on GPUs."""
    return torch.optim.Adam(parameters, lr, betas=(betas[0], betas[1]), fused=True)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Let all later steps use another learning rate than the one they were saved with."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def gradient_norm(optimiser: torch.optim.Optimizer) -> Tensor:
    """Return the L2 norm of all gradients that the optimiser has, without waiting for the device.

    After its step they are those it stepped with: averaged, where several processes train.
    """
    held = (p.grad for group in optimiser.param_groups for p in group["params"])
    return torch.nn.utils.get_total_norm([grad for grad in held if grad is not None])
