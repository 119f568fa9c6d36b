"""The interface of a family of generators, used by training, generation and evaluation.

A family is one class, registered by name. It defines its settings and presets, and how a model is
built, trained by one step, validated, used to generate codes, saved and loaded. A run records the
name of its family.

Symbols: B batch, D features, L code steps, Q codebooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.codecs.base import Codec, decode_in_chunks, samples_per_code
from model.contract.dataset import Dataset
from model.contract.storage import Location
from model.data.inputs import Inputs
from model.data.source import Batch, Segments
from model.runtime.checkpoint import Parts
from model.runtime.settings import Settings
from model.training.config import RunConfig

C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class NoOptions(Settings):
    """The options of a family that has no options for generation."""


class Model(ABC, Generic[C]):
    """A model of one family, for one data set's inputs and one codec; C: type of its settings.

    `network` holds the weights for generation. `start_training` creates what only training needs.
    """

    title: ClassVar[str]
    """The name of the family in tables, such as `D2M-GAN`."""
    Config: ClassVar[type[RunConfig]]
    """The frozen dataclass of the run's settings."""
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings by the name of a preset (`--preset`); the first is used if none is named."""
    Options: ClassVar[type[Settings]] = NoOptions
    """The frozen dataclass of the options for generation, such as a temperature."""
    parts: ClassVar[Parts] = {"network": (dict, ())}
    """The parts of `state_dict`, as checked by `model.runtime.checkpoint`."""
    losses: ClassVar[tuple[str, ...]] = ("loss/total",)
    """The logged numbers of a step that must be finite, in the order of their computation."""
    best: ClassVar[str] = "val/mel"
    """The validation measure whose minimum marks the best checkpoint."""
    flat_memory: ClassVar[bool] = False
    """Whether the memory of generation does not grow with the length of a piece; codes are then
    decoded in chunks, too."""
    pieces_at_once: ClassVar[int] = 1
    """How many pieces of the same length `generate` should get together, for speed."""
    makes_sound: ClassVar[bool] = False
    """Whether the model makes sound itself, by `sound`, without codes and without a codec: it has
    no `levels`, and its `validate` returns no codes."""
    likelihood: ClassVar[bool] = False
    """Whether the model gives codes a probability: `bits` is then called, in validations too."""
    any_motion: ClassVar[bool] = False
    """Whether generation reads motion of any layout and rate, not only of that of the training."""
    inpaints: ClassVar[bool] = False
    """Whether the model can replace a part of given music: `inpaint` is then called."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """The inputs that may be missing in generation, such as an unknown genre."""
    advice: ClassVar[str] = "lower the learning rate"
    """What to do if a loss or a weight is not finite."""

    config: C
    inputs: Inputs
    codec: Codec
    device: torch.device
    network: nn.Module

    @classmethod
    def settled(cls, config: C, dataset: Dataset, root: Location) -> C:
        """Return the configuration with all that the data set decides, as a run records it."""
        return config

    @classmethod
    @abstractmethod
    def levels_of(cls, config: C) -> tuple[str, ...]:
        """Return the codec levels that are read and generated; the last one is decoded to audio."""

    @classmethod
    @abstractmethod
    def inputs_of(cls, config: C, dataset: Dataset) -> Inputs:
        """Return the inputs that the data set has and the configuration uses.

        Raises ValueError if there is no input to generate from.
        """

    @abstractmethod
    def __init__(self, config: C, inputs: Inputs, codec: Codec, device: torch.device) -> None:
        """Create the network, with random numbers of torch's global generator, already seeded."""

    @abstractmethod
    def start_training(self) -> None:
        """Create what only training needs, such as optimisers and discriminators."""

    def read_music(self, source: Segments) -> None:
        """Read what training learns from besides the batches of `source`, if there is any.

        Called before the first step, also of a resumed run. Raises ValueError and OSError if it
        cannot be read or is not what the run was begun with.
        """

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch; return 0-dim tensors by log tag, without waiting for the device."""

    @abstractmethod
    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the measures of a batch, and the codes generated for its segments, by level.

        Without codes, the measures are all that a validation gets.

        Measures are means over the segments, as 0-dim tensors by log tag. Called without gradients,
        in float32, with the network in eval mode.
        """

    def bits(self, inputs: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the bits per code of true codes, by level: (B,), as the model predicts them.

        Only for families with a `likelihood`. Without `inputs` ({}), the model predicts the music
        alone. Called without gradients, in float32, in eval mode.
        """
        raise NotImplementedError

    @property
    def val_sound_segments(self) -> int:
        """How many of `val_segments` `validate` is called for; 0: all. `bits` is, for all."""
        return 0

    def generate(
        self, inputs: Mapping[str, Tensor], steps: Mapping[str, int], options: Any = None
    ) -> dict[str, Tensor]:
        """Return codes by level, (B, L) or (B, Q, L) with L = `steps[level]`.

        `inputs` are those of B pieces of equal length, each one or more windows long: (B, T, D) by
        name, GENRE (B,). `options` is an instance of `Options`; None means its
        defaults. Called without gradients, in eval mode.
        """
        raise NotImplementedError

    def sound(
        self, inputs: Mapping[str, Tensor], samples: int, options: Any = None
    ) -> tuple[Tensor, list[np.ndarray] | None]:
        """Return the music (B, N) for B pieces, N = `samples`, and the notes of each, or None.

        Arguments as for `generate`, whose codes are decoded here. Notes (M, 7) have the columns of
        `model.contract.notes.NOTE_COLUMNS`.
        """
        steps = {name: ceil(samples / samples_per_code(self.codec, name)) for name in self.levels}
        codes = self.generate(inputs, steps, options)[self.sound_level]
        decode = partial(decode_in_chunks, self.codec) if self.flat_memory else self.codec.decode
        return decode(codes, self.sound_level)[:, :samples], None

    def inpaint(
        self,
        inputs: Mapping[str, Tensor],
        codes: Mapping[str, Tensor],
        replaced: Mapping[str, Tensor],
        options: Any = None,
    ) -> dict[str, Tensor]:
        """Return codes by level (B, L), in which those that are `replaced` (L,) bool are new.

        Only for families that can (`inpaints`); all other `codes` (B, L) stay as they are. Else as
        `generate`.
        """
        raise NotImplementedError

    @property
    @abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name; distributed training averages the gradients of each."""

    def networks(self) -> list[nn.Module]:
        """Return all trained modules; distributed training copies their weights at the start."""
        return [self.network]

    def generators(self) -> list[nn.Module]:
        """Return the modules that have the weights for generation, in training several."""
        return [self.network]

    def measure_inputs(self, name: str, values: Tensor) -> None:
        """Set the mean and standard deviation of an input from values (segments, T, D)."""

    def wants_measures(self) -> list[str]:
        """Return the inputs for which `measure_inputs` must be called before training."""
        return []

    def describe(self) -> str:
        """Return a short description of the model."""
        return f"{self.title}, levels {' '.join(self.levels)}"

    def announcements(self) -> list[str]:
        """Return lines to print before training, such as a warning about a setting."""
        return []

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume training, as plain values and tensors."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        """Restore the result of `state_dict`; ValueError, with `what`, if it does not fit."""

    @property
    def levels(self) -> tuple[str, ...]:
        return self.levels_of(self.config)

    @property
    def sound_level(self) -> str:
        """The level that is decoded to audio; "" if the model makes sound itself."""
        return self.levels[-1] if self.levels else ""

    def remarks(self, step: int) -> list[str]:
        """Return what results must repeat about music that a run of `step` steps has made."""
        return []
