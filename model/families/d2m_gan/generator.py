"""The generator G: motion and visual features in, latents out (paper, eq. 1).

Two networks behind one interface: `temporal` (ours) and `paper` (the reference's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from model.contract.dataset import Dataset
from model.contract.segment import GENRES, LEVELS, MOTION, VISUAL
from model.data.inputs import Inputs, InputSpec
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.encoders import Standardise
from model.families.d2m_gan.paper import ReferenceGenerator
from model.families.d2m_gan.temporal import TemporalGenerator


class Reader(Protocol):
    """A generator's module for one input."""

    standardise: Standardise


class Generator(Protocol):
    """What training and generation ask of a network; `None` for an input that it does not use."""

    motion: Reader | None
    visual: Reader | None
    genre: nn.Embedding | None
    any_length: bool
    """Whether joined segments are one pass; otherwise each segment is one."""
    sigma: float

    def __call__(
        self, motion: Tensor | None, visual: Tensor | None, length: int, genre: Tensor | None = None
    ) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length)."""

    def init_output_to(self, codebook: Tensor) -> None:
        """Let the first outputs have the codebook's (K, C) mean and spread."""


GENERATORS: dict[str, Callable[[Config, Inputs, int, int, float], nn.Module]] = {
    "temporal": TemporalGenerator,
    "paper": ReferenceGenerator,
}


def build_generator(config: Config, inputs: Inputs, codebook: Tensor) -> Generator:
    """Return the generator that `config.arch` names, for a level's codebook (K, C)."""
    if config.arch not in GENERATORS:
        raise ValueError(f"unknown arch {config.arch!r}; expected one of {', '.join(GENERATORS)}")
    sigma = config.sigma or 1.25 * codebook.abs().max().item()
    hop = LEVELS[config.level].hop
    generator = GENERATORS[config.arch](config, inputs, hop, codebook.shape[1], sigma)
    generator.init_output_to(codebook)
    return generator


def input_specs(config: Config, dataset: Dataset) -> Inputs:
    """Return the inputs that the data set has and the configuration uses.

    Raises ValueError where nothing is left.
    """

    def spec(suffix: str, wanted: bool) -> InputSpec | None:
        if not wanted or suffix not in dataset.fields:
            return None
        vectors, features = dataset.fields[suffix]["shape"]
        return InputSpec(features, dataset.seconds / vectors, vectors)

    inputs = Inputs(
        spec(MOTION, config.use_motion),
        spec(VISUAL, config.use_visual),
        len(GENRES) if config.use_genre else 0,
        dataset.samples,
    )
    if inputs.motion is None and inputs.visual is None:
        raise ValueError(
            f"{dataset.name}: nothing to generate from: the data set has "
            f"{', '.join(sorted(dataset.fields))}; use_motion is {config.use_motion}, "
            f"use_visual is {config.use_visual}"
        )
    return inputs
