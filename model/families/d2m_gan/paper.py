"""The authors' network (`arch: paper`): convolutions along the feature axis.

It has the shapes of the authors' published code (github L-YeZhu/D2M-GAN). In the motion encoder,
frames are channels; its convolutions slide over feature columns, and its result has no time axis.
Motion, visual features and genre become one vector. A linear layer turns this vector into a
sequence, which does not represent time, and convolutions turn the sequence into latents. The
network works on one segment of fixed length, 2 s in the paper. For other windows the widths of the
linear layers are computed by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.segment import MOTION, SAMPLE_RATE_HZ, VISUAL
from model.data.inputs import GENRE, Inputs, InputSpec, given
from model.families.aligned import Standardise
from model.families.d2m_gan.base import Generator
from model.families.d2m_gan.config import Config
from model.families.d2m_gan.layers import GAIN, SLOPE, begin, residuals

COLUMNS = 800
"""Feature columns over which the motion encoder slides."""
MOTION_WIDTH = 1024
GENRE_WIDTH = 256
DILATIONS = (1, 3, 9, 27)


class Slide(nn.Module):
    """Plain convolution with zero or reflection padding: (B, C, X) to (B, outputs, X')."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, zeros: int = 0,
        reflect: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding=zeros)
        begin(self.conv, GAIN / (inputs * kernel) ** 0.5)
        self.kernel, self.stride, self.outside = kernel, stride, zeros + reflect
        self.reflect = reflect

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, X) to (B, outputs, `length(X)`)."""
        if self.reflect:
            x = F.pad(x, (self.reflect, self.reflect), mode="reflect")
        return self.conv(x)

    def length(self, length: int) -> int:
        """Return the output length for an input length."""
        return (length + 2 * self.outside - self.kernel) // self.stride + 1


class ReferenceMotion(nn.Module):
    """Maps motion (B, T, D) to a vector (B, 1024); the first convolution has T input channels."""

    def __init__(self, spec: InputSpec, channels: int) -> None:
        super().__init__()
        self.standardise = Standardise(spec.features)
        self.columns = nn.Linear(spec.features, COLUMNS)
        self.layers = nn.Sequential(
            Slide(spec.vectors, channels, 6),
            nn.ReLU(),
            residuals(channels, DILATIONS),
            nn.LeakyReLU(SLOPE),
            Slide(channels, 2 * channels, 4),
            residuals(2 * channels, DILATIONS),
            nn.LeakyReLU(SLOPE),
            Slide(2 * channels, 4 * channels, 4),
            residuals(4 * channels, DILATIONS),
            nn.LeakyReLU(SLOPE),
            Slide(4 * channels, 1, 4),
        )
        self.last = nn.Linear(_length(self.layers, COLUMNS), MOTION_WIDTH)
        self.width = MOTION_WIDTH

    def forward(self, motion: Tensor) -> Tensor:
        """Map motion (B, T, D) to (B, 1024)."""
        return self.last(self.layers(self.columns(self.standardise(motion)))).squeeze(1)


class ReferenceVisual(nn.Module):
    """Flattens standardised visual features (B, W, D) to one vector (B, W * D)."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.standardise = Standardise(spec.features)
        self.width = spec.vectors * spec.features

    def forward(self, visual: Tensor) -> Tensor:
        """Map features (B, W, D) to (B, W * D)."""
        return self.standardise(visual).flatten(1)


class ReferenceGenerator(Generator):
    """Maps motion, visual features and genre of one segment to its latents (B, C, length).

    `hop` is the codec's, in samples. At the low level the network ends with a linear layer over
    positions, before the tanh, or after it as in the authors' code (`linear_after_tanh`).
    """

    motion: ReferenceMotion | None
    visual: ReferenceVisual | None
    genre: nn.Embedding | None
    any_length = False

    def __init__(
        self, config: Config, inputs: Inputs, hop: int, emb_width: int, sigma: float
    ) -> None:
        super().__init__()
        if config.noise_channels:
            raise ValueError("arch paper has no noise input; set noise_channels=0")
        self.motion = self.visual = self.genre = None
        width = 0
        if (spec := inputs.get(MOTION)) is not None:
            self.motion = ReferenceMotion(spec, config.motion_channels)
            width += self.motion.width
        if (spec := inputs.get(VISUAL)) is not None:
            self.visual = ReferenceVisual(spec)
            width += self.visual.width
        if (genres := inputs.get(GENRE)) is not None:
            self.genre = nn.Embedding(genres.features, GENRE_WIDTH)
            width += GENRE_WIDTH
        self.length = inputs.samples // hop
        if config.level == "high":
            # Chosen so that the strided and unpadded convolutions output `length` positions: at
            # 2 s, 2058 columns give 344.
            self.columns = nn.Linear(width, 4 * self.length + 682)
            self.layers = _layers_high(config.channels, emb_width)
            self.stretch = None
        else:
            columns = round(1024 * inputs.samples / SAMPLE_RATE_HZ)
            self.columns = nn.Linear(width, columns)
            self.layers = _layers_low(config.channels, emb_width)
            self.stretch = nn.Linear(_length(self.layers, columns), self.length)
        self.sigma, self.linear_after_tanh = sigma, config.linear_after_tanh

    def forward(self, inputs: Mapping[str, Tensor], length: int) -> Tensor:
        """Map motion (B, T, D), visual (B, W, D) and genre (B,) to latents within +- sigma.

        With `linear_after_tanh` at the low level the bound does not hold. Raises ValueError if
        `length` is not that of a segment.
        """
        if length != self.length:
            raise ValueError(f"arch paper gives {self.length} codes per segment, not {length}")
        parts: list[Tensor] = []
        if self.motion is not None:
            parts.append(self.motion(given(inputs, MOTION)))
        if self.visual is not None:
            parts.append(self.visual(given(inputs, VISUAL)))
        if self.genre is not None:
            parts.append(self.genre(given(inputs, GENRE)))
        x = self.layers(self.columns(torch.cat(parts, 1))[:, None])
        if self.stretch is None:
            return torch.tanh(x.float()) * self.sigma
        if self.linear_after_tanh:
            return self.stretch(torch.tanh(x)).float() * self.sigma
        return torch.tanh(self.stretch(x).float()) * self.sigma

    @torch.no_grad()
    def init_output_to(self, codebook: Tensor) -> None:
        """Initialise the output layer so that outputs have the codebook's (K, C) mean and spread.

        A linear layer after it is initialised as interpolation over positions, which keeps both.
        """
        last = self.layers[-1]
        assert isinstance(last, Slide) and last.conv.bias is not None, (
            "the layers end with a Slide that has a bias"
        )
        last.conv.bias.copy_(torch.atanh((codebook.mean(0) / self.sigma).clamp(-0.99, 0.99)))
        last.conv.weight.mul_((0.4 * codebook.std(0) / self.sigma)[:, None, None])
        if self.stretch is not None:
            eye = torch.eye(self.stretch.in_features)[None]
            hat = F.interpolate(eye, self.length, mode="linear", align_corners=True)[0]
            self.stretch.weight.copy_(hat.T)
            nn.init.zeros_(self.stretch.bias)


def _layers_high(channels: int, emb_width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 1
    for halvings, kernel, stride in ((4, 6, 2), (3, 41, 2), (2, 41, 1), (1, 41, 1), (0, 41, 1)):
        after = max(1, channels >> halvings)
        layers += [Slide(before, after, kernel, stride, zeros=1), residuals(after, DILATIONS)]
        layers.append(nn.LeakyReLU(SLOPE))
        before = after
    return nn.Sequential(*layers, Slide(before, emb_width, 40, zeros=1))


def _layers_low(channels: int, emb_width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 1
    for halvings, kernel, stride, reflect in (
        (4, 6, 2, 3), (3, 4, 1, 32), (2, 40, 2, 64), (1, 40, 1, 64), (0, 40, 1, 64),
        (-1, 40, 1, 64),
    ):  # fmt: skip
        after = max(1, channels >> halvings if halvings >= 0 else channels << -halvings)
        layers += [Slide(before, after, kernel, stride, 1, reflect), residuals(after, DILATIONS)]
        layers.append(nn.LeakyReLU(SLOPE))
        before = after
    # The authors' code has no residual blocks after this layer, and no activation before the last.
    layers.append(Slide(before, before, 40, zeros=1, reflect=64))
    return nn.Sequential(*layers, Slide(before, emb_width, 40, zeros=1, reflect=64))


def _length(layers: nn.Sequential, length: int) -> int:
    """Return the output length of the convolutions in `layers` for an input length."""
    for layer in layers:
        if isinstance(layer, Slide):
            length = layer.length(length)
    return length
