"""The generator G, which maps motion and visual features to latents (paper, eq. 1).

Two networks have one interface (`base.py`): `temporal` (this project's) and `paper` (the authors').
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from model.data.inputs import Inputs
from model.families.d2m_gan.base import Generator
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.paper import ReferenceGenerator
from model.families.d2m_gan.temporal import TemporalGenerator

GENERATORS: dict[str, Callable[[Config, Inputs, int, int, float], Generator]] = {
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
