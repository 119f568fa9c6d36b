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


class GradientClip:
    """Makes every step of `optimiser` first scale its gradients down to an L2 norm of `most`.

    In distributed training these are the averaged gradients: `Team.average_gradients` comes first.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, most: float) -> None:
        self.most = most
        self.norm = torch.zeros(())
        """The norm of the last step's gradients before they were scaled."""
        optimiser.register_step_pre_hook(self._clip)

    def _clip(self, stepping: torch.optim.Optimizer, *_: Any) -> None:
        held = [p for group in stepping.param_groups for p in group["params"]]
        self.norm = torch.nn.utils.clip_grad_norm_(held, self.most)


def gradient_norm(optimiser: torch.optim.Optimizer) -> Tensor:
    """Return the L2 norm of all the optimiser's gradients, without waiting for the device.

    After a step these are the gradients it used: in distributed training, the averaged ones.
    """
    held = (p.grad for group in optimiser.param_groups for p in group["params"])
    return torch.nn.utils.get_total_norm([grad for grad in held if grad is not None])
