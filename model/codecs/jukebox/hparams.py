"""The hyper-parameters of a JukeBox VQ-VAE, and the sizes that follow from them.

Levels by name: `high` is JukeBox's level 2 (top), `low` its level 1 (middle), `bottom` its level 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

from model.contract.segment import LEVELS

LEVEL_INDEX = {**{name: level.index for name, level in LEVELS.items()}, "bottom": 0}
LARGEST = 1 << 20
LEVEL_NAME = {index: name for name, index in LEVEL_INDEX.items()}


def level_index(level: str) -> int:
    """Return JukeBox's number for the name of a level; ValueError lists the names."""
    if level not in LEVEL_INDEX:
        raise ValueError(f"unknown level {level!r}; expected one of {', '.join(LEVEL_INDEX)}")
    return LEVEL_INDEX[level]


@dataclass(frozen=True)
class HParams:
    """The hyper-parameters that, with the weights, determine the network's function.

    The defaults are those of OpenAI's "5b" (`vqvae` entry of openai/jukebox `hparams.py`;
    Dhariwal et al. 2020): three levels with hops of 8, 32 and 128 samples. Every tuple has one
    entry per level; `multipliers` scale `width` and `depth`. All strided convolutions have
    stride 2.
    """

    downs: tuple[int, ...] = (3, 2, 2)
    multipliers: tuple[int, ...] = (2, 1, 1)
    width: int = 32
    depth: int = 4
    emb_width: int = 64
    l_bins: int = 2048
    dilation_growth: int = 3

    def __post_init__(self) -> None:
        scalars = (self.width, self.depth, self.emb_width, self.l_bins, self.dilation_growth)
        if not isinstance(self.downs, tuple) or not isinstance(self.multipliers, tuple):
            raise ValueError("downs and multipliers must be lists, with one entry per level")
        numbers = (*self.downs, *self.multipliers, *scalars)
        if not all(type(n) is int and 0 < n <= LARGEST for n in numbers):
            raise ValueError(f"hyper-parameters must be integers from 1 to {LARGEST}")
        if len(self.downs) != len(self.multipliers) or len(self.downs) > len(LEVEL_NAME):
            raise ValueError(f"downs and multipliers must have one entry per level, got {self}")
        blocks = self.depth * max(self.multipliers, default=1)
        if sum(self.downs) > 16 or blocks > 64 or self.dilation_growth**blocks > 1 << 40:
            raise ValueError(f"network too deep, or its receptive field too large: {self}")

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(range(len(self.downs)))

    def hop(self, index: int) -> int:
        """Return the number of samples per code of level `index`."""
        return prod(2**downs for downs in self.downs[: index + 1])

    def width_of(self, index: int) -> int:
        return self.width * self.multipliers[index]

    def dilations(self, index: int) -> tuple[int, ...]:
        """Return the dilations of an encoder's residual stack; a decoder has them reversed."""
        return tuple(self.dilation_growth**b for b in range(self.depth * self.multipliers[index]))

    def context(self, index: int) -> int:
        """Return the encoder's context in hops, on each side of a code's own hop."""
        field, jump, reach = 1, 1, 2 * sum(self.dilations(index))
        for downs in self.downs[: index + 1]:
            for _ in range(downs):
                field += 3 * jump
                jump *= 2
                field += reach * jump
            field += 2 * jump
        hop = self.hop(index)
        return -(-(field - hop) // (2 * hop))

    def dumps(self) -> str:
        """Return canonical JSON: equal hyper-parameters give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> HParams:
        """Read the text of `dumps`; ValueError if it does not fit."""
        try:
            raw: Any = json.loads(text)
        except RecursionError:
            raise ValueError("hyper-parameters: invalid JSON, nested too deeply") from None
        known = {field.name for field in fields(cls)}
        if not isinstance(raw, dict) or raw.keys() != known:
            got = sorted(raw) if isinstance(raw, dict) else type(raw).__name__
            raise ValueError(f"hyper-parameters: expected {sorted(known)}, got {got}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)


JUKEBOX_5B = HParams()
TINY = HParams(width=8, depth=1, multipliers=(1, 1, 1), l_bins=64)
"""For tests: the same hops and latent width, but much less computation."""
