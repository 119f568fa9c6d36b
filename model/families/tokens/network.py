"""All networks of a token model: the condition encoder, and one network for each level.

Symbols: B batch, N codes of a level, L positions, K entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.base import Codec, samples_per_code
from model.contract.segment import SAMPLE_RATE_HZ
from model.data.inputs import Inputs
from model.families.code_models import CodeConfig
from model.families.tokens.conditions import Condition, ConditionEncoder, KnownMusic
from model.families.tokens.config import Config
from model.families.tokens.level import LevelNetwork

N = TypeVar("N", int, float)


class LevelNetworks(nn.Module):
    """The levels' networks, each conditioned on the level above, on one grid: see `grid_of`."""

    def __init__(self, config: CodeConfig, codec: Codec) -> None:
        super().__init__()
        names = config.level_names
        self.step_samples, self.patches = grid_of(codec, names, config.position_samples)
        self.above = {lower: upper for upper, lower in pairwise(names)}
        """The level above each, but the first."""

    def positions(self, codes: Mapping[str, int]) -> int:
        """Return the number of positions for counts of codes by level."""
        return max(-(-count // self.patches[name]) for name, count in codes.items())


class TokenNetwork(LevelNetworks):
    """The encoder of the dance, and a causal network for each level."""

    def __init__(self, config: Config, inputs: Inputs, codec: Codec) -> None:
        super().__init__(config, codec)
        levels = config.level_names
        entries = {name: entries_of(codec, name) for name in levels}
        self.encoder = ConditionEncoder(
            inputs, self.step_samples / SAMPLE_RATE_HZ, config.condition_width,
            config.motion_channels, config.dilations, config.dropout,
            style_width(entries) if config.use_style else 0,
        )  # fmt: skip
        self.levels = nn.ModuleDict(
            {
                name: LevelNetwork(
                    entries[name], self.patches[name], config.condition_width,
                    of_level(config.width, i), of_level(config.layers, i),
                    of_level(config.heads, i), config.local_width, config.local_layers,
                    config.reach, config.code_width, config.dropout,
                    entries[self.above[name]] if name in self.above else None,
                )
                for i, name in enumerate(levels)
            }
        )  # fmt: skip

    def condition(
        self,
        inputs: Mapping[str, Tensor],
        batch: int,
        length: int,
        kept: Mapping[str, Tensor] | None = None,
        music: KnownMusic | None = None,
    ) -> Condition:
        """Return the condition of `length` positions: see `ConditionEncoder`."""
        return self.encoder(inputs, batch, length, kept, music)

    def style(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the style (B, S) of music, from its codes (B, N) by level.

        These are the mean and the standard deviation of the codes' vectors over time, for each
        level: which sounds there are, not when.
        """
        found = []
        for name, level in self.levels.items():
            vectors = F.embedding(codes[name], cast(LevelNetwork, level).codes.entries)
            found += [vectors.mean(1), vectors.std(1, unbiased=False)]
        return torch.cat(found, 1)

    def logits(
        self, name: str, codes: Tensor, condition: Tensor, upper: Tensor | None = None
    ) -> Tensor:
        """Return the logits (B, N, K) of a level's codes (B, N), each from the codes before it.

        `upper` (B, N') are the codes of the level above, unless this is the first.
        """
        length = -(-codes.shape[1] // self.patches[name])
        return self.levels[name](codes, condition[:, :length], upper)


def grid_of(
    codec: Codec, levels: Sequence[str], position_samples: int
) -> tuple[float, dict[str, int]]:
    """Return the samples of a position, and how many codes of each level a position holds.

    A position lasts one code of the first level, or as many as make `position_samples`, and holds
    several codes of a finer one. Raises ValueError for a codec whose levels do not fit.
    """
    hops = {name: samples_per_code(codec, name) for name in levels}
    first = hops[levels[0]]
    step_samples = first * max(1, round(position_samples / first))
    patches = {name: round(step_samples / hop) for name, hop in hops.items()}
    for name in levels:
        if codec.level(name).codebooks > 1:
            raise ValueError(
                f"codec {codec.id}, level {name}: {codec.level(name).codebooks} codebooks; "
                "token models need a codec with one codebook a level"
            )
        if hops[name] * patches[name] != step_samples:
            raise ValueError(
                f"codec {codec.id}: positions of {step_samples:g} samples are not a whole "
                f"number of codes of level {name} ({hops[name]:g} samples each); choose "
                "another position_samples, or train each level by itself with --level"
            )
    return step_samples, patches


def entries_of(codec: Codec, name: str) -> Tensor:
    """Return the entries (K, C) of a level's codebook, on the CPU."""
    every = torch.arange(codec.level(name).size, device=codec.device)
    return codec.embed(every[None], name)[0].T.float().cpu().contiguous()


def style_width(entries: Mapping[str, Tensor]) -> int:
    """Return the length S of a style."""
    return sum(2 * each.shape[1] for each in entries.values())


def of_level(values: tuple[N, ...], index: int) -> N:
    """Return the value of a level: `values` has one for each level, or one for all."""
    return values[index] if len(values) > 1 else values[0]
