"""What a generator network is: all that D2M-GAN knows of the networks it trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from model.families.d2m_gan.encoders import Standardise


class Reader(Protocol):
    """A generator's module for one input."""

    standardise: Standardise


class Generator(nn.Module, ABC):
    """What D2M-GAN asks of a network."""

    genre: nn.Embedding | None
    any_length: bool
    """Whether joined segments are one pass; otherwise each segment is one."""
    sigma: float

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], length: int) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length)."""

    @property
    @abstractmethod
    def readers(self) -> Mapping[str, Reader]:
        """The modules for those inputs that are standardised, by name."""

    @abstractmethod
    def init_output_to(self, codebook: Tensor) -> None:
        """Let the first outputs have the codebook's (K, C) mean and spread."""
