"""The networks of a masked model: the distribution of each masked code, given all that are not.

As a token model's, a level has a transformer over positions of several codes, and a small local
network for the codes of a position, which also sees the codes around its own directly. Both look
forward as well as back. A level is told which share of its codes is masked.

Symbols: B batch, L positions, N codes (at most L x patch), K entries, D width, M width of the
condition. A masked code is K.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.base import Codec
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.inputs import GENRE, Inputs
from model.families.masked.conditions import VectorEncoder
from model.families.masked.config import VECTOR, Config
from model.families.tokens.conditions import Condition, ConditionEncoder
from model.families.tokens.level import CodeTable, LocalBlock, UpperCodes
from model.families.tokens.network import LevelNetworks, entries_of, of_level
from model.families.tokens.transformer import Transformer

SHARE_WAVES = 16
"""Sines and as many cosines that describe the masked share."""


class MaskedLevel(nn.Module):
    """The codes of one level, given the condition and, below the first level, the upper codes."""

    def __init__(
        self, config: Config, index: int, patch: int, entries: Tensor, upper: Tensor | None
    ) -> None:
        super().__init__()
        width, code_width = of_level(config.width, index), config.code_width
        condition, local = config.condition_width, config.local_width
        self.patch, self.reach, self.mask = patch, config.reach, len(entries)
        self.codes = CodeTable(entries, code_width, 1.0)
        self.masked = nn.Parameter(torch.randn(1, code_width))
        self.patches = nn.Linear(patch * code_width, width)
        self.condition = nn.Linear(condition, width)
        self.share = nn.Sequential(
            nn.Linear(2 * SHARE_WAVES, condition), nn.GELU(), nn.Linear(condition, condition)
        )
        self.upper = None if upper is None else UpperCodes(upper, code_width, condition)
        self.transformer = Transformer(
            width, of_level(config.layers, index), of_level(config.heads, index), condition,
            config.dropout, causal=False,
        )  # fmt: skip
        self.unfold = nn.Linear(width, patch * local)
        self.around = nn.Linear((2 * self.reach + 1) * code_width, local, bias=False)
        blocks = (LocalBlock(local, config.dropout) for _ in range(config.local_layers))
        self.local = nn.ModuleList(blocks)
        self.logits = CodeTable(entries, local, local**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(entries)))

    def conditioned(self, condition: Tensor, upper: Tensor | None) -> Tensor:
        """Return the condition (B, L, M) with the upper codes (B, L') added to it."""
        if self.upper is None:
            return condition
        return condition + self.upper(upper, condition.shape[1])

    def forward(self, codes: Tensor, condition: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the logits (B, N, K) of codes (B, N), of which some are masked.

        `condition` (B, L, M) is the result of `conditioned`, for L = ceil(N / patch) positions.
        `at` (B, n) are the indices of the codes whose logits (B, n, K) are wanted.
        """
        count, length = codes.shape[1], condition.shape[1]
        share = (codes == self.mask).float().mean(1, keepdim=True)
        condition = condition + self.share(waves(share))[:, None]
        # What fills the last position stays masked: no such code exists.
        codes = F.pad(codes, (0, length * self.patch - count), value=self.mask)
        vectors = F.embedding(codes, torch.cat([self.codes(), self.masked]))
        x = self.patches(vectors.reshape(len(codes), length, -1)) + self.condition(condition)
        x = self.transformer(
            x, self.transformer.modulations(condition), self.transformer.turns(length)
        )
        x = self.unfold(x).view(len(codes), length * self.patch, -1)
        near = F.pad(vectors, (0, 0, self.reach, self.reach)).unfold(1, 2 * self.reach + 1, 1)
        if at is None:
            x, near = x[:, :count], near[:, :count]
        else:
            rows = torch.arange(len(codes), device=codes.device)[:, None]
            x, near = x[rows, at], near[rows, at]
        x = x + self.around(near.transpose(2, 3).flatten(2))
        for block in self.local:
            x = block(x)
        return F.linear(F.layer_norm(x, x.shape[-1:]), self.logits(), self.bias)


class MaskedNetwork(LevelNetworks):
    """The encoder of the dance, and a network for each level that sees both sides."""

    def __init__(self, config: Config, inputs: Inputs, codec: Codec) -> None:
        super().__init__(config, codec)
        levels = config.level_names
        self.encoder: VectorEncoder | ConditionEncoder
        if config.condition == VECTOR:
            self.encoder = VectorEncoder(inputs, config.condition_width, config.motion_channels)
        else:
            self.encoder = ConditionEncoder(
                inputs, self.step_samples / SAMPLE_RATE_HZ, config.condition_width,
                config.motion_channels, config.dilations, config.dropout,
            )  # fmt: skip
        self.inputs = inputs
        entries = {name: entries_of(codec, name) for name in levels}
        counts = {name: codec.steps(inputs.samples, name) for name in levels}
        self.window = self.positions(counts)
        """The positions of a segment."""
        self.levels = nn.ModuleDict(
            {
                name: MaskedLevel(
                    config, i, self.patches[name], entries[name],
                    entries[self.above[name]] if name in self.above else None,
                )
                for i, name in enumerate(levels)
            }
        )  # fmt: skip

    def condition(
        self,
        inputs: Mapping[str, Tensor],
        batch: int,
        kept: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Condition | None]:
        """Return the condition (B, L, M) of segments, and the heads' predictions if there are any.

        Inputs that are not given count as missing; `kept` (B,) bool by name says which segments
        keep an input.
        """
        found = self.encoder(inputs, batch, self.window, kept)
        return (found, None) if isinstance(found, Tensor) else (found.values, found)

    def conditions(
        self, inputs: Mapping[str, Tensor], batch: int, total: int
    ) -> Callable[[int, int], Tensor]:
        """Return a function from the start and stop of a window to its condition (B, L, M).

        `inputs` are those of pieces of `total` positions. Where the condition is one vector, each
        window of a segment's length has its own.
        """
        if isinstance(self.encoder, ConditionEncoder):
            values = self.encoder(inputs, batch, total).values
            return lambda start, stop: values[:, start:stop]
        encoder = self.encoder

        def window(start: int, stop: int) -> Tensor:
            start_s = start * self.step_samples / SAMPLE_RATE_HZ
            own = {name: self.cut(name, x, start_s) for name, x in inputs.items()}
            return encoder(own, batch, stop - start)

        return window

    def cut(self, name: str, x: Tensor, start_s: float) -> Tensor:
        """Return a segment's part of an input (B, T, F) from `start_s` on."""
        spec = self.inputs.specs[name]
        if name == GENRE:
            return x
        first = min(round(start_s / spec.step_s), x.shape[1] - spec.vectors)
        return x[:, first : first + spec.vectors]

    def logits(
        self, name: str, codes: Tensor, condition: Tensor, upper: Tensor | None = None
    ) -> Tensor:
        """Return the logits (B, N, K) of a level's codes (B, N), of which some are masked.

        `upper` (B, N') are the codes of the level above, unless this is the first.
        """
        level = cast(MaskedLevel, self.levels[name])
        length = -(-codes.shape[1] // self.patches[name])
        return level(codes, level.conditioned(condition, upper)[:, :length])


def waves(share: Tensor) -> Tensor:
    """Return sines and cosines (B, 2 SHARE_WAVES) of shares (B, 1) from 0 to 1.

    The slowest makes half a turn, the fastest 32 turns.
    """
    turns = torch.logspace(-1, 5, SHARE_WAVES, base=2.0, device=share.device)
    angle = 2 * math.pi * share * turns
    return torch.cat([angle.sin(), angle.cos()], 1)
