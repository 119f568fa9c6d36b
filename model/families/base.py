"""What a family of generators is: all that training, generation and evaluation know of a model.

A family is one class, registered by name: its settings, its presets, how a model of it is built,
trained by a step, validated, asked for codes, saved and loaded. A run records the family's name.

Legend: B batch, D features, L code steps, Q codebooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.data.inputs import Inputs
from model.data.source import Batch
from model.runtime.checkpoint import Parts
from model.runtime.settings import Settings
from model.training.config import RunConfig

C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class NoOptions(Settings):
    """The options of a family whose generation has none."""


class Model(ABC, Generic[C]):
    """A model of one family, for one data set's inputs and one codec; C is its settings' type.

    `network` holds the weights that generate; what only training needs is made by `start_training`.
    """

    title: ClassVar[str]
    """The system's name in tables: `D2M-GAN`."""
    Config: ClassVar[type[RunConfig]]
    """A frozen dataclass of the run's settings."""
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    Options: ClassVar[type[Settings]] = NoOptions
    """A frozen dataclass of what may be chosen at generation, such as a temperature."""
    parts: ClassVar[Parts] = {"network": (dict, ())}
    """What `state_dict` gives, as `model.runtime.checkpoint` checks it."""
    losses: ClassVar[tuple[str, ...]] = ("loss/total",)
    """Of the logs of a step those that must be finite, in the order in which they arise."""
    best: ClassVar[str] = "val/mel"
    """The figure of validation whose least value marks the best checkpoint."""

    config: C
    inputs: Inputs
    codec: Codec
    device: torch.device
    network: nn.Module

    @classmethod
    @abstractmethod
    def levels_of(cls, config: C) -> tuple[str, ...]:
        """Return the codec's levels that are read and made; the last is what is heard."""

    @classmethod
    @abstractmethod
    def inputs_of(cls, config: C, dataset: Dataset) -> Inputs:
        """Return the inputs that the data set has and the configuration uses.

        Raises ValueError where nothing is left to generate from.
        """

    @abstractmethod
    def __init__(self, config: C, inputs: Inputs, codec: Codec, device: torch.device) -> None:
        """Make the network. Random numbers come from torch's global generator, seeded before."""

    @abstractmethod
    def start_training(self) -> None:
        """Make what only training needs, such as optimisers and an adversary."""

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch; return 0-dim tensors by log tag, without waiting for the device."""

    @abstractmethod
    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return figures of a batch (means over its segments, 0-dim, by log tag), and codes.

        The codes are those generated for the batch's segments by level. Called without gradients,
        in float32, the network in eval mode.
        """

    @abstractmethod
    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        """Return codes by level, (B, L) or (B, Q, L) with L = `steps[level]`.

        `inputs` are those of B pieces of equal length, one or more windows long: (B, T, D) by name,
        GENRE (B,). `options` is one of `Options`. Called without gradients, in eval mode.
        """

    @property
    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name; several processes average the gradients of each."""

    def networks(self) -> list[nn.Module]:
        """Return all modules that are trained; several processes begin with the same weights."""
        return [self.network]

    def measure_inputs(self, name: str, values: Tensor) -> None:
        """Take mean and deviation of an input from values (segments, T, D), where it is of use."""

    def wants_measures(self) -> list[str]:
        """Return the inputs whose mean and deviation the network takes before training."""
        return []

    def describe(self) -> str:
        """Return in a few words which model of the family it is."""
        return f"{self.title}, levels {' '.join(self.levels)}"

    def announcements(self) -> list[str]:
        """Return what is to be said before training, such as a warning on a setting."""
        return []

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that training goes on from, in plain values and tensors."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        """Take back what `state_dict` gave; ValueError, naming `what`, for what does not fit."""

    @property
    def levels(self) -> tuple[str, ...]:
        return self.levels_of(self.config)

    @property
    def sound_level(self) -> str:
        """The level that is decoded to sound."""
        return self.levels[-1]
