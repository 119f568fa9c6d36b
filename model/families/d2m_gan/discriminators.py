"""The adversary: multi-scale discriminators of latents, with their optimiser and losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from model.families.d2m_gan.config import Config
from model.families.d2m_gan.layers import SLOPE, Conv
from model.runtime.optimiser import adam

FIRST_STRIDE = {"paper": 1, "temporal": 8}
"""Stride of the discriminators' first layer by arch, unless the configuration sets one."""


def arrange(latents: Tensor, order: str) -> Tensor:
    """Reshape latents (B, C, L) for the discriminators (paper, section 3.3).

    "time": (B, 1, C * L), the C values of the first code, then those of the second, …;
    "channel": (B, 1, C * L), the L values of the first channel first; "none": unchanged.
    """
    if order == "time":
        latents = latents.transpose(1, 2)
    return latents if order == "none" else latents.flatten(1).unsqueeze(1)


class Discriminator(nn.Module):
    """Window-based discriminator: (B, inputs, T) to the activations of all layers, output last.

    Sizes of the paper: 32 channels, then four grouped layers with kernel 41 and stride 4, each with
    four times as many channels, up to 1024. For audio (`audio`), the first kernel is 15 and the
    last hidden layer keeps the full width.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        max_channels: int,
        layers: int,
        first_stride: int,
        audio: bool = False,
    ) -> None:
        super().__init__()
        stack: list[Conv] = [Conv(inputs, channels, 15 if audio else 16, stride=first_stride)]
        for _ in range(layers):
            wider, groups = min(4 * channels, max_channels), max(1, channels // 4)
            if channels % groups or wider % groups:
                raise ValueError(
                    f"d_channels and d_max_channels ({max_channels}) give a layer of {channels} to "
                    f"{wider} channels, which {groups} groups do not divide; use powers of two"
                )
            stack.append(Conv(channels, wider, 41, stride=4, groups=groups))
            channels = wider
        last = channels if audio else max(1, channels // 2)
        stack.append(Conv(channels, last, 5))
        self.layers = nn.ModuleList(stack)
        self.verdict = Conv(last, 1, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map a sequence (B, inputs, T) to the layers' activations (B, C, T'); the last has C 1."""
        activations = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            activations.append(x)
        return [*activations, self.verdict(x)]


class MultiScale(nn.Module):
    """Discriminators of the same shape for the sequence and its averages over 2, 4, … positions."""

    def __init__(
        self,
        inputs: int,
        count: int,
        channels: int,
        max_channels: int,
        layers: int,
        first_stride: int,
        audio: bool = False,
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            Discriminator(inputs, channels, max_channels, layers, first_stride, audio)
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Map a sequence (B, inputs, T) to the activations of each scale's discriminator."""
        outputs = []
        for i, discriminator in enumerate(self.scales):
            if i:
                x = F.avg_pool1d(x, 4, 2, padding=1, count_include_pad=False)
            outputs.append(discriminator(x))
        return outputs


class Adversary:
    """Discriminates real and generated latents (B, C, L), or audio (B, 1, N) in order "none".

    `step` trains the discriminators; `losses` returns the generator's losses, with them frozen.
    """

    def __init__(
        self,
        network: MultiScale,
        order: str,
        lr: float,
        betas: tuple[float, ...],
        bf16: bool = False,
    ) -> None:
        self.network, self.order, self.bf16 = network, order, bf16
        self.optimiser = adam(network.parameters(), lr, betas)

    def step(self, real: Tensor, fake: Tensor) -> Tensor:
        """Take one step on the hinge loss (eq. 2) and return it; `fake` gets no gradient."""
        self.optimiser.zero_grad(set_to_none=True)
        both = self._discriminate(torch.cat([real.detach(), fake.detach()]))
        loss = torch.zeros((), device=real.device)
        for outputs in both:
            on_real, on_fake = outputs[-1].float().chunk(2)
            loss = loss + F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def losses(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's hinge loss (eq. 3) and the feature matching loss (eq. 4).

        Feature matching is the mean L1 distance of a layer's activations, summed over layers and
        averaged over discriminators. The discriminators' parameters get no gradient. The
        activations of real latents are computed with the present discriminators. The authors' code
        uses those from before the discriminators' step; that would save one of four passes, but
        compare activations of two different discriminators.
        """
        with self._frozen(), parametrize.cached():
            with torch.no_grad():
                expected = self._discriminate(real)
            got = self._discriminate(fake)
        hinge = matching = torch.zeros((), device=fake.device)
        for layers, targets in zip(got, expected, strict=True):
            hinge = hinge - layers[-1].float().mean()
            for layer, target in zip(layers[:-1], targets[:-1], strict=True):
                matching = matching + F.l1_loss(layer.float(), target.float()) / len(got)
        return hinge, matching

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _discriminate(self, latents: Tensor) -> list[list[Tensor]]:
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network(arrange(latents, self.order))

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        self.network.requires_grad_(False)
        try:
            yield
        finally:
            self.network.requires_grad_(True)


def build_adversary(config: Config, emb_width: int, device: torch.device) -> Adversary:
    """Return the adversary for latents (B, `emb_width`, L), on `device`.

    Raises ValueError if the groups of its convolutions do not divide the channels.
    """
    network = MultiScale(
        emb_width if config.reshape == "none" else 1,
        config.discriminators,
        config.d_channels,
        config.d_max_channels,
        config.d_layers,
        config.d_first_stride or FIRST_STRIDE[config.arch],
    ).to(device)
    return Adversary(network, config.reshape, config.lr_discriminator, config.betas, config.bf16)
