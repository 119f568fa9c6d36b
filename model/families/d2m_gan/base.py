"""The interface of D2M-GAN's generator networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from model.families.d2m_gan.encoders import Standardise


class Reader(Protocol):
    """The module of a generator for one input."""

    standardise: Standardise


class Generator(nn.Module, ABC):
    """The interface that D2M-GAN needs of a generator network."""

    genre: nn.Embedding | None
    any_length: bool
    """Whether joined segments take one pass; otherwise the network runs on each segment."""
    sigma: float

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], length: int) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length)."""

    @property
    @abstractmethod
    def readers(self) -> Mapping[str, Reader]:
        """The modules of the standardised inputs, by name."""

    @abstractmethod
    def init_output_to(self, codebook: Tensor) -> None:
        """Initialise the output layer so that outputs have the codebook's (K, C) mean and std."""
