"""What the families share that give the codec's codes a probability, and draw them.

Symbols: B batch, N codes of a level, T steps, D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from model.contract.dataset import Dataset
from model.contract.precision import BF16, FLOAT32
from model.contract.segment import LEVELS, MOTION, VISUAL
from model.data.inputs import GENRE, Inputs, inputs_of, shown
from model.data.source import Batch
from model.families.averaged import Averaged, AveragedConfig
from model.runtime.settings import Settings, setting

BOTH = "both"
"""The name for the levels of D2M-GAN, high and low, trained together."""
BITS = 1 / math.log(2)
"""The bits of a nat."""


@dataclass(frozen=True)
class CodeConfig(AveragedConfig):
    """The settings that these families share. Lists have one value for each level, or for all."""

    level: str = BOTH
    """`both`: high, and low conditioned on high; or one level of the codec alone."""
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = True
    """Use the dance's genre as an input; in generation it may be missing."""

    position_samples: int = setting(128, min=1)
    """Samples (22 050 Hz) of a position of the transformers; finer codes share a position."""
    width: tuple[int, ...] = setting((512, 384), min=2)
    layers: tuple[int, ...] = setting((12, 8), min=1)
    heads: tuple[int, ...] = setting((8, 6), min=1)
    code_width: int = setting(128, min=1)
    local_width: int = setting(512, min=1)
    """Width of the network that follows the transformer, for each code of a position."""
    local_layers: int = setting(2, min=0)
    reach: int = setting(8, min=1)
    """How many codes beside its own that network sees directly."""
    condition_width: int = setting(256, min=1)
    motion_channels: int = setting(256, min=1)
    dilations: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32, 1, 4, 16), min=1)
    """Of the convolutions along the frames of motion."""

    dropout: float = setting(0.1, below=1)
    drop_all: float = setting(0.1, below=1)
    """Share of segments trained without any input, for guidance."""
    drop_each: float = setting(0.1, below=1)
    """Share of segments trained without one input, for each input."""
    wrong_codes: float = setting(0.05, below=1)
    """Share of the codes read that are replaced, as in generation not every code is right."""
    val_sound_segments: int = setting(32, min=1, may_change=True)
    """How many of `val_segments` are also generated and scored as sound, which takes longer."""

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels of the codec, coarsest first."""
        return tuple(LEVELS) if self.level == BOTH else (self.level,)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "layers", "heads"):
            check_count(name, getattr(self, name), len(self.level_names))


BASE: dict[str, Any] = {"precision": BF16, "batch_size": 64, "max_steps": 50_000}
"""What the presets for a GPU share; their sizes are the defaults."""
TINY: dict[str, Any] = {
    "precision": FLOAT32,
    "code_width": 64,
    "local_width": 160,
    "local_layers": 1,
    "condition_width": 96,
    "motion_channels": 96,
    "lr": 1e-3,
    "warmup_steps": 100,
    "max_steps": 4000,
    "batch_size": 8,
    "shuffle_segments": 256,
    "log_every": 50,
    "checkpoint_every": 200,
    "val_every": 500,
    "sample_every": 2000,
}
"""What the presets for two CPU cores share."""


@dataclass(frozen=True)
class DrawOptions(Settings):
    """How codes are drawn. Lists have one value for each level, or one for all."""

    guidance: tuple[float, ...] = setting((2.0, 1.0), below=100)
    """How strongly codes follow the dance: 1 as learnt, 0 not at all, 2 more than learnt."""
    temperature: tuple[float, ...] = (1.0, 1.0)
    """Below 1 likely codes become likelier; above 1 unlikely ones do."""
    top_p: tuple[float, ...] = (0.9, 0.9)
    """Draw among the likeliest codes that have this share of the probability."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for value in self.temperature:
            if not 0 < value <= 10:
                raise ValueError(
                    f"temperature is {value}; expected above 0, at most 10, such as 0.9; for the "
                    "likeliest codes alone lower top_p"
                )
        for value in self.top_p:
            if not 0 < value <= 1:
                raise ValueError(
                    f"top_p is {value}; expected above 0, at most 1: 1 draws among all codes, 0.9 "
                    "among the likeliest that have 90 % of the probability"
                )


def check_count(name: str, values: tuple[Any, ...], levels: int) -> None:
    """Raise ValueError if a list has neither one value nor one for each level."""
    if len(values) not in (1, levels) and levels > 1:
        raise ValueError(
            f"{name} are {list(values)}; expected one value, or one for each of {levels} levels"
        )


def nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the cross entropy (B, N) of codes (B, N) with logits (B, N, K), in nats.

    The classes stay the last dimension: on a CPU, torch is three times as fast so.
    """
    return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes)


C = TypeVar("C", bound=CodeConfig)


class CodeModel(Averaged[C]):
    """A family whose network has an `encoder` of the dance, and a network for each level."""

    best = "val/bits"
    flat_memory = True
    pieces_at_once = 32
    likelihood = True
    optional = frozenset({GENRE})

    @classmethod
    def levels_of(cls, config: C) -> tuple[str, ...]:
        return config.level_names

    @classmethod
    def inputs_of(cls, config: C, dataset: Dataset) -> Inputs:
        wanted = {MOTION: config.use_motion, VISUAL: config.use_visual, GENRE: config.use_genre}
        inputs = inputs_of(dataset, [name for name, use in wanted.items() if use])
        if not {MOTION, VISUAL} & set(inputs.names):
            raise ValueError(
                f"{dataset.name}: no dance to follow: the data set has "
                f"{', '.join(sorted(dataset.fields))}; use_motion is {config.use_motion}, "
                f"use_visual is {config.use_visual}"
            )
        return inputs

    @property
    def val_sound_segments(self) -> int:
        return self.config.val_sound_segments

    def kept(self, count: int) -> dict[str, Tensor]:
        """Draw which of `count` segments keep each input in a step: (B,) bool by name."""
        some = torch.rand(count, device=self.device) >= self.config.drop_all
        return {
            name: some & (torch.rand(count, device=self.device) >= self.config.drop_each)
            for name in self.inputs.names
        }

    def with_wrong(self, codes: Tensor) -> Tensor:
        """Return codes (B, N) of which a share is replaced by codes of other places."""
        wrong = torch.rand(codes.shape, device=codes.device) < self.config.wrong_codes
        other = torch.randint(codes.numel(), codes.shape, device=codes.device)
        return torch.where(wrong, codes.flatten()[other], codes)

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        steps = {name: codes.shape[-1] for name, codes in batch.codes.items()}
        return {}, self.generate(batch.inputs, steps)

    def wants_measures(self) -> list[str]:
        return cast(Any, self.network.encoder).measured()

    def measure_inputs(self, name: str, values: Tensor) -> None:
        for network in self.networks():
            cast(Any, network.encoder).measure(name, values)

    def announcements(self) -> list[str]:
        unused = [shown(name) for name in (MOTION, VISUAL) if name not in self.inputs.specs]
        return [f"trained without: {', '.join(unused)}"] if unused else []
