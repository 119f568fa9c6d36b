"""The generator G: motion and visual features in, latents out (paper, eq. 1).

Two networks behind one interface: `temporal` (ours) and `paper` (the reference's).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor, nn

from model.data.inputs import Inputs
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.encoders import Standardise
from model.families.d2m_gan.paper import ReferenceGenerator
from model.families.d2m_gan.temporal import TemporalGenerator


class Reader(Protocol):
    """A generator's module for one input."""

    standardise: Standardise


class Generator(Protocol):
    """What D2M-GAN asks of a network."""

    readers: Mapping[str, Reader]
    """The modules for those inputs that are standardised, by name."""
    genre: nn.Embedding | None
    any_length: bool
    """Whether joined segments are one pass; otherwise each segment is one."""
    sigma: float

    def __call__(self, inputs: Mapping[str, Tensor], length: int) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length)."""
        ...

    def init_output_to(self, codebook: Tensor) -> None:
        """Let the first outputs have the codebook's (K, C) mean and spread."""
        ...


GENERATORS: dict[str, Callable[[Config, Inputs, int, int, float], nn.Module]] = {
    "temporal": TemporalGenerator,
    "paper": ReferenceGenerator,
}


def build_generator(config: Config, inputs: Inputs, hop: int, codebook: Tensor) -> Generator:
    """Return the generator that `config.arch` names, for a level's hop and codebook (K, C)."""
    if config.arch not in GENERATORS:
        raise ValueError(f"unknown arch {config.arch!r}; expected one of {', '.join(GENERATORS)}")
    sigma = config.sigma or 1.25 * codebook.abs().max().item()
    generator = GENERATORS[config.arch](config, inputs, hop, codebook.shape[1], sigma)
    generator.init_output_to(codebook)
    return generator
