"""The condition of each position: motion, visual features and genre at its moment.

The encoder sees all of the dance, before and after a position. An input that is missing, or dropped
in training, is replaced by a learnt vector; without any input this is the null condition, with
which music alone is modelled and from which guidance leads away.

Symbols: B batch, T frames, W visual windows, F features, L positions, M width of the condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.data.inputs import GENRE, Inputs, InputSpec, shown
from model.families.aligned import Standardise, hold_time, resample_time

LIMIT = 10.0
"""Standardised motion and its velocity are limited to this: joints can jump where poses fail."""


@dataclass(frozen=True)
class Condition:
    """The condition (B, L, M), and what the heads predict from the dance.

    `onsets` (B, L) are logits of the strength of onsets; `genre` (B, genres) are logits of the
    genre, None if the data has no genres.
    """

    values: Tensor
    onsets: Tensor
    genre: Tensor | None


@dataclass(frozen=True)
class KnownMusic:
    """What is known of B segments' music before it is drawn; None: nothing.

    `style` (B, S) counts where `styled` (B,) is true, the strengths of `onsets` (B, L), from 0 to
    1, where `hears` (B,) is.
    """

    style: Tensor | None
    styled: Tensor
    onsets: Tensor | None
    hears: Tensor


class ConditionEncoder(nn.Module):
    """Maps the inputs of a dance to the condition of each position.

    Besides the dance, two things may be known of the music: its style, a vector of `style` numbers
    (0: no such input), and for music without a dance the strength of its onsets, which takes the
    place of what is predicted from a dance. So music alone teaches to play where onsets should be.

    `step_s` is the length of a position. Motion, as any array with several vectors in a segment
    would, passes convolutions along time and is interpolated to the middle of each position; the
    other arrays are held over the part of the segment that they describe.
    """

    def __init__(
        self, inputs: Inputs, step_s: float, width: int, channels: int, dilations: Sequence[int],
        dropout: float, style: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.step_s, self.width = step_s, width
        self.specs = dict(inputs.specs)
        self.readers = nn.ModuleDict()
        self.steps_s: dict[str, float] = {}
        for name, spec in self.specs.items():
            self.readers[shown(name)] = reader(name, spec, width, channels, dilations)
            # Exact, as every segment has as many vectors and as many samples.
            self.steps_s[name] = inputs.samples / SAMPLE_RATE_HZ / max(spec.vectors, 1)
        missing = {shown(name): nn.Parameter(torch.zeros(width)) for name in self.specs}
        self.missing = nn.ParameterDict(missing)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.onsets = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        self.onset_input = nn.Linear(1, width)
        self.style = nn.Linear(style, width) if style else None
        self.no_style = nn.Parameter(torch.zeros(width))
        genre = inputs.get(GENRE)
        self.genre = nn.Linear(width, genre.features) if genre is not None else None

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        batch: int,
        length: int,
        kept: Mapping[str, Tensor] | None = None,
        music: KnownMusic | None = None,
    ) -> Condition:
        """Return the condition of `length` positions of `batch` dances.

        Inputs that are not given count as missing, also those of the last segments of a batch, if
        inputs are of fewer. `kept` (B,) bool by name says which segments keep an input; without it,
        all do.
        """
        device = self.norm.weight.device
        dance = torch.zeros(batch, length, self.width, device=device)
        named = self.styled(music, batch)[:, None]
        for name in self.specs:
            key, missing = shown(name), self.missing[shown(name)]
            part = missing.expand(batch, 1, -1)
            if name in inputs and len(inputs[name]):
                read = self.readers[key](inputs[name])
                part = read[:, None] if name == GENRE else self.placed(name, read, length)
                if kept is not None:
                    part = torch.where(kept[name][: len(part), None, None], part, missing)
                rest = missing.expand(batch - len(part), part.shape[1], -1)
                part = torch.cat([part, rest]) if len(rest) else part
            if name == GENRE:
                named = named + part
            else:
                dance = dance + part
        dance = self.dropout(dance)
        onsets = self.onsets(dance)
        curve = onsets.detach().sigmoid()
        if music is not None and music.onsets is not None:
            curve = torch.where(music.hears[:, None, None], music.onsets[..., None], curve)
        heard = self.onset_input(curve)
        genre = None if self.genre is None else self.genre(F.gelu(dance).mean(1))
        return Condition(self.norm(dance + named + heard), onsets[..., 0], genre)

    def styled(self, music: KnownMusic | None, batch: int) -> Tensor:
        """Return the part of the style (B, M)."""
        unknown = self.no_style.expand(batch, -1)
        if self.style is None or music is None or music.style is None:
            return unknown
        return torch.where(music.styled[:, None], self.style(music.style), unknown)

    def placed(self, name: str, read: Tensor, length: int) -> Tensor:
        """Return what was read of an input (B, T, M) at each position (B, L, M)."""
        place = resample_time if name == MOTION else hold_time
        steps = read.transpose(1, 2)
        return place(steps, self.steps_s[name], length, self.step_s).transpose(1, 2)

    def measured(self) -> list[str]:
        """Return the names of the inputs that are standardised."""
        return [name for name in self.specs if name != GENRE]

    def measure(self, name: str, values: Tensor) -> None:
        """Set mean and standard deviation of an input from values (segments, T, F)."""
        cast(VectorReader | MotionReader, self.readers[shown(name)]).measure(values)


def reader(
    name: str, spec: InputSpec, width: int, channels: int, dilations: Sequence[int]
) -> nn.Module:
    """Return the module that reads an input."""
    if name == GENRE:
        return nn.Embedding(spec.features, width)
    if name == MOTION:
        return MotionReader(spec.features, width, channels, dilations)
    return VectorReader(spec.features, width)


class VectorReader(nn.Module):
    """Maps each vector of an input by itself: (B, W, F) to (B, W, M)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.project = nn.Linear(features, width)

    def measure(self, values: Tensor) -> None:
        self.standardise.measure(values)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.standardise(x).clamp(-LIMIT, LIMIT))


class MotionReader(nn.Module):
    """Maps motion and its change from frame to frame: (B, T, F) to (B, T, M)."""

    def __init__(self, features: int, width: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.standardise, self.standardise_change = Standardise(features), Standardise(features)
        self.first = nn.Conv1d(2 * features, channels, 3, padding=1)
        self.layers = nn.Sequential(*(Dilated(channels, dilation) for dilation in dilations))
        self.last = nn.Conv1d(channels, width, 1)

    def measure(self, values: Tensor) -> None:
        self.standardise.measure(values)
        change = values[:, 1:] - values[:, :-1]
        # Not by `measure`: changes are small numbers, and those of a feature that stays are 0.
        deviation = change.double().flatten(0, 1).std(0, unbiased=False)
        least = 1e-3 * deviation.mean().clamp(min=1e-6)
        self.standardise_change.deviation.copy_(torch.where(deviation > least, deviation, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        change = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        both = torch.cat([self.standardise(x), self.standardise_change(change)], 2)
        x = self.first(both.clamp(-LIMIT, LIMIT).transpose(1, 2))
        return self.last(self.layers(x)).transpose(1, 2)


class Dilated(nn.Module):
    """A residual block of a dilated convolution: (B, C, T) to the same."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.wide = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.narrow = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.gelu(self.wide(F.gelu(x))))
