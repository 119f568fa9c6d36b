"""The optimiser of every network of this project, and its gradient norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def adam(parameters: Iterable[nn.Parameter], lr: float, betas: Sequence[float]) -> torch.optim.Adam:
    """Return Adam in its fused form, which updates all weights in one pass, on CPU and GPU."""
    return torch.optim.Adam(parameters, lr, betas=(betas[0], betas[1]), fused=True)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all later steps, in place of the saved one."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def clip_gradients(optimiser: torch.optim.Optimizer, norm: float) -> None:
    """Make every step of `optimiser` first scale its gradients down to an L2 norm of `norm`.

    In distributed training these are the averaged gradients: `Team.average_gradients` comes first.
    """

    def clip(stepping: torch.optim.Optimizer, *_: Any) -> None:
        held = [p for group in stepping.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(held, norm)

    optimiser.register_step_pre_hook(clip)


def gradient_norm(optimiser: torch.optim.Optimizer) -> Tensor:
    """Return the L2 norm of all the optimiser's gradients, without waiting for the device.

    After a step these are the gradients it used: in distributed training, the averaged ones.
    """
    held = (p.grad for group in optimiser.param_groups for p in group["params"])
    return torch.nn.utils.get_total_norm([grad for grad in held if grad is not None])
