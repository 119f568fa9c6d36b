"""What families share that train by AdamW and generate with a moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from model.families.base import Model
from model.runtime.checkpoint import load_state
from model.runtime.optimiser import GradientClip, set_rate
from model.runtime.precision import Precise, precision
from model.runtime.settings import setting
from model.training.config import RunConfig


@dataclass(frozen=True)
class AveragedConfig(Precise, RunConfig):
    """The settings of the optimiser and of the average."""

    lr: float = setting(3e-4, may_change=True)
    """The highest learning rate: it rises over `warmup_steps`, then falls as a cosine to a 20th at
    `max_steps`."""
    warmup_steps: int = setting(1000, min=1)
    betas: tuple[float, ...] = setting((0.9, 0.95), below=1, length=2)
    weight_decay: float = 0.05
    clip: float = 1.0
    """The largest norm of the gradient."""
    average: float = setting(0.999, below=1)
    """The decay of the moving average of the weights, which is what generates."""
    average_every: int = setting(1, min=1)
    """After how many steps the average is moved."""
    precision: str = precision()


A = TypeVar("A", bound=AveragedConfig)


class Averaged(Model[A]):
    """`network` holds the moving average of the trained weights, `trained` those weights."""

    parts = {  # noqa: RUF012
        "network": (dict, ()),
        "trained": (dict, ()),
        "optimiser": (dict, ()),
        "progress": (dict, ("steps",)),
    }
    advice = "lower lr"
    last_rate: ClassVar[float] = 0.05
    """The rate of the last step, as a share of the highest."""

    trained: nn.Module
    steps: int

    def start_training(self) -> None:
        config = self.config
        self.trained = copy.deepcopy(self.network)
        self.steps = 0
        every = [p for p in self.trained.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in every if self.decays(p)], "weight_decay": config.weight_decay},
            {"params": [p for p in every if not self.decays(p)], "weight_decay": 0.0},
        ]
        betas = (config.betas[0], config.betas[1])
        self.optimiser = torch.optim.AdamW(groups, config.lr, betas, fused=True)
        self.clip = GradientClip(self.optimiser, config.clip)

    def decays(self, parameter: nn.Parameter) -> bool:
        """Return whether weight decay is for a parameter: scales, shifts and biases are few."""
        return parameter.ndim > 1

    def descend(self, loss: torch.Tensor) -> None:
        """Take a step of the optimiser down the gradient of `loss`, and move the average."""
        set_rate(self.optimiser, self.rate(self.steps))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.steps += 1
        if self.steps % self.config.average_every == 0:
            self.update_average()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        config = self.config
        done = min(1.0, step / config.max_steps)
        falling = self.last_rate + (1 - self.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        return config.lr * min(1.0, (step + 1) / config.warmup_steps) * falling

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the trained ones; faster in the first steps."""
        moves = self.steps // self.config.average_every
        decay = min(self.config.average, moves / (moves + 9))
        pairs = zip(self.network.parameters(), self.trained.parameters(), strict=True)
        held, new = zip(*pairs, strict=True)
        torch._foreach_lerp_(held, new, 1 - decay)

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self.optimiser}

    def generators(self) -> list[nn.Module]:
        return [self.network, self.trained]

    def networks(self) -> list[nn.Module]:
        return self.generators()

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "trained": self.trained.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": {"steps": self.steps},
        }

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        load_state(self.network, state["network"], f"{what}: network")
        load_state(self.trained, state["trained"], f"{what}: trained")
        load_state(self.optimiser, state["optimiser"], f"{what}: optimiser")
        self.steps = state["progress"]["steps"]
