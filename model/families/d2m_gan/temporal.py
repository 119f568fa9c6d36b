"""This project's network (`arch: temporal`): convolutions along time, up to the rate of codes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.segment import MOTION, SAMPLE_RATE_HZ, VISUAL
from model.data.inputs import GENRE, Inputs, given
from model.families.d2m_gan.base import Generator
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.encoders import MotionEncoder, VisualModule
from model.families.d2m_gan.layers import SLOPE, Conv, Up, residuals

COARSE_HZ = 25.0
"""The generator starts at a rate of at most this, and doubles it up to the code rate."""


class TemporalGenerator(Generator):
    """A network that is convolutional along time, for any length.

    The inputs are concatenated on a coarse time grid (the code rate divided by a power of two).
    Each stage doubles the rate and applies dilated residual blocks. `hop` is the codec's, in
    samples.
    """

    motion: MotionEncoder | None
    visual: VisualModule | None
    genre: nn.Embedding | None
    any_length = True

    def __init__(
        self, config: Config, inputs: Inputs, hop: int, emb_width: int, sigma: float
    ) -> None:
        super().__init__()
        self.motion = self.visual = self.genre = None
        width = config.noise_channels
        if (spec := inputs.get(MOTION)) is not None:
            self.motion = MotionEncoder(
                spec.features, spec.step_s, config.motion_channels, config.dilations
            )
            width += self.motion.width
        if (spec := inputs.get(VISUAL)) is not None:
            self.visual = VisualModule(spec.features, spec.step_s, config.visual_channels)
            width += self.visual.width
        if (genres := inputs.get(GENRE)) is not None:
            self.genre = nn.Embedding(genres.features, config.genre_channels)
            width += config.genre_channels
        self.step_s = hop / SAMPLE_RATE_HZ
        doublings = 0
        while 1 / (self.step_s * 2**doublings) > COARSE_HZ:
            doublings += 1
        widths = [max(config.channels >> i, config.min_channels) for i in range(doublings + 1)]
        layers: list[nn.Module] = [Conv(width, widths[0], 7)]
        layers.append(residuals(widths[0], config.dilations))
        for before, after in pairwise(widths):
            layers += [Up(before, after), residuals(after, config.dilations)]
        self.layers = nn.Sequential(*layers)
        self.last = Conv(widths[-1], emb_width, 7)
        self.sigma, self.doublings = sigma, doublings
        self.noise_channels = config.noise_channels

    def forward(
        self, inputs: Mapping[str, Tensor], length: int, noise: Tensor | None = None
    ) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents (B, C, length).

        The latents are within +- sigma. Inputs that the generator was not built for are ignored. If
        it has noise channels, `noise` is (B, noise_channels, `coarse(length)`); None draws it.
        """
        coarse, step_s = self.coarse(length), self.step_s * 2**self.doublings
        parts: list[Tensor] = []
        if self.motion is not None:
            parts.append(self.motion(given(inputs, MOTION), coarse, step_s))
        if self.visual is not None:
            parts.append(self.visual(given(inputs, VISUAL), coarse, step_s))
        if self.genre is not None:
            held = self.genre(given(inputs, GENRE))[..., None].expand(-1, -1, coarse)
            parts.append(held.to(parts[0].dtype))
        if self.noise_channels:
            like = parts[0]
            shape = (like.shape[0], self.noise_channels, coarse)
            drawn = noise if noise is not None else torch.randn(shape, device=like.device)
            parts.append(drawn.to(like.dtype))
        x = self.layers(torch.cat(parts, 1))[..., :length]
        return torch.tanh(self.last(F.leaky_relu(x, SLOPE)).float()) * self.sigma

    def coarse(self, length: int) -> int:
        """Return the number of positions of the coarse grid for `length` codes."""
        return ceil(length / 2**self.doublings)

    @torch.no_grad()
    def init_output_to(self, codebook: Tensor) -> None:
        """Initialise the output layer so that outputs have the codebook's (K, C) mean and spread.

        Otherwise tanh * sigma would start far above or below the entries, whose scale depends on
        the codec.
        """
        mean = codebook.mean(0)
        # The output of the previous layers has a standard deviation of about 2.5.
        spread = 0.4 * codebook.std(0)
        self.last.conv.bias.copy_(torch.atanh((mean / self.sigma).clamp(-0.99, 0.99)))
        self.last.conv.parametrizations.weight.original0.copy_((spread / self.sigma)[:, None, None])
