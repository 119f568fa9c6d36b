"""The generator G: motion and visual features in, latents out (paper, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import Config
from model.encoders import MotionEncoder, VisualModule
from model.layers import SLOPE, Conv, Up, residuals
from model.segment import LEVELS, MOTION, SAMPLE_RATE_HZ, VISUAL, Dataset

COARSE_HZ = 25.0
"""The generator works its way up from the first rate at or below this, by doublings."""


@dataclass(frozen=True)
class InputSpec:
    """One input: features per vector, and the seconds that a vector stands for."""

    features: int
    step_s: float


@dataclass(frozen=True)
class Inputs:
    """What a generator may use: `motion` None or `visual` None where it has no such input."""

    motion: InputSpec | None
    visual: InputSpec | None


def input_specs(config: Config, dataset: Dataset) -> Inputs:
    """Return the inputs that the data set has and the configuration uses.

    Raises ValueError where nothing is left.
    """
    window_s = float(dataset.window_s)

    def spec(suffix: str, wanted: bool) -> InputSpec | None:
        if not wanted or suffix not in dataset.fields:
            return None
        vectors, features = dataset.fields[suffix]["shape"]
        return InputSpec(features, window_s / vectors)

    inputs = Inputs(spec(MOTION, config.use_motion), spec(VISUAL, config.use_visual))
    if inputs.motion is None and inputs.visual is None:
        raise ValueError(
            f"{dataset.name}: nothing to generate from: the data set has "
            f"{', '.join(sorted(dataset.fields))}; use_motion is {config.use_motion}, "
            f"use_visual is {config.use_visual}"
        )
    return inputs


class TemporalGenerator(nn.Module):
    """Convolutional along time, for any length.

    The inputs meet on a coarse grid (a power of two below the code rate); each stage refines with
    dilated residual blocks and doubles the rate. `hop` is the codec's, in samples.
    """

    def __init__(
        self, inputs: Inputs, hop: int, emb_width: int, sigma: float, channels: int,
        min_channels: int, motion_channels: int, visual_channels: int, noise_channels: int,
        dilations: tuple[int, ...],
    ) -> None:  # fmt: skip
        super().__init__()
        self.motion = self.visual = None
        width = noise_channels
        if inputs.motion is not None:
            spec = inputs.motion
            self.motion = MotionEncoder(spec.features, spec.step_s, motion_channels, dilations)
            width += self.motion.width
        if inputs.visual is not None:
            spec = inputs.visual
            self.visual = VisualModule(spec.features, spec.step_s, visual_channels)
            width += self.visual.width
        self.step_s = hop / SAMPLE_RATE_HZ
        doublings = 0
        while 1 / (self.step_s * 2**doublings) > COARSE_HZ:
            doublings += 1
        widths = [max(channels >> i, min_channels) for i in range(doublings + 1)]
        layers: list[nn.Module] = [Conv(width, widths[0], 7), residuals(widths[0], dilations)]
        for before, after in pairwise(widths):
            layers += [Up(before, after), residuals(after, dilations)]
        self.layers = nn.Sequential(*layers)
        self.last = Conv(widths[-1], emb_width, 7)
        self.sigma, self.doublings, self.noise_channels = sigma, doublings, noise_channels

    def forward(
        self, motion: Tensor | None, visual: Tensor | None, length: int, noise: Tensor | None = None
    ) -> Tensor:
        """Map motion (B, T, D) and visual (B, W, D) to latents (B, C, length) within +- sigma.

        An input that the generator has no use for is ignored. `noise`, where the generator has
        noise channels, is (B, noise_channels, `coarse(length)`); without it, it is drawn.
        """
        coarse, step_s = self.coarse(length), self.step_s * 2**self.doublings
        parts: list[Tensor] = []
        if self.motion is not None:
            parts.append(self.motion(_given(motion, "motion"), coarse, step_s))
        if self.visual is not None:
            parts.append(self.visual(_given(visual, "visual"), coarse, step_s))
        if self.noise_channels:
            like = parts[0]
            shape = (like.shape[0], self.noise_channels, coarse)
            drawn = noise if noise is not None else torch.randn(shape, device=like.device)
            parts.append(drawn.to(like.dtype))
        x = self.layers(torch.cat(parts, 1))[..., :length]
        return torch.tanh(self.last(F.leaky_relu(x, SLOPE)).float()) * self.sigma

    def coarse(self, length: int) -> int:
        """Return the positions of the coarse grid for `length` codes."""
        return ceil(length / 2**self.doublings)

    @torch.no_grad()
    def start_at(self, codebook: Tensor) -> None:
        """Set the last layer so that its first outputs have the codebook's (K, C) mean and spread.

        tanh * sigma otherwise begins far above or below the entries, whose scale is the codec's.
        """
        mean = codebook.mean(0)
        # The layers before hand over a deviation of about 2.5.
        spread = 0.4 * codebook.std(0)
        self.last.conv.bias.copy_(torch.atanh((mean / self.sigma).clamp(-0.99, 0.99)))
        self.last.conv.parametrizations.weight.original0.copy_((spread / self.sigma)[:, None, None])


def build_generator(config: Config, inputs: Inputs, codebook: Tensor) -> TemporalGenerator:
    """Return the generator that `config.arch` names, for a level's codebook (K, C)."""
    if config.arch not in GENERATORS:
        raise ValueError(f"unknown arch {config.arch!r}; expected one of {', '.join(GENERATORS)}")
    sigma = config.sigma or 1.25 * codebook.abs().max().item()
    generator = GENERATORS[config.arch](
        inputs,
        LEVELS[config.level].hop,
        codebook.shape[1],
        sigma,
        config.channels,
        config.min_channels,
        config.motion_channels,
        config.visual_channels,
        config.noise_channels,
        config.dilations,
    )
    generator.start_at(codebook)
    return generator


GENERATORS = {"temporal": TemporalGenerator}


def _given(x: Tensor | None, name: str) -> Tensor:
    if x is None:
        raise ValueError(f"the generator was built with {name} features and got none")
    return x
