"""The interface of D2M-GAN's generator networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from model.contract.segment import MOTION, VISUAL
from model.families.aligned import Standardise


class Reader(Protocol):
    """The module of a generator for one input."""

    standardise: Standardise


class Generator(nn.Module, ABC):
    """The interface that D2M-GAN needs of a generator network."""

    motion: Reader | None
    visual: Reader | None
    any_length: bool
    """Whether joined segments take one pass; otherwise the network runs on each segment."""
    sigma: float

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], length: int) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length)."""

    @property
    def readers(self) -> dict[str, Reader]:
        """The modules of the standardised inputs, motion and visual features, if they exist."""
        both: dict[str, Reader | None] = {MOTION: self.motion, VISUAL: self.visual}
        return {name: module for name, module in both.items() if module is not None}

    @abstractmethod
    def init_output_to(self, codebook: Tensor) -> None:
        """Initialise the output layer so that outputs have the codebook's (K, C) mean and std."""
