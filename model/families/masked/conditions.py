"""The reference's condition of a masked model: one vector for a segment, from a frozen encoder.

Source: the published code of CDCD (Zhu et al., ICLR 2023). Its motion encoder, that of D2M-GAN's
code, takes the frames as channels and slides over the features. Training does not reach this
encoder, nor the embedding of the genre: only the linear layer after them learns. Nothing in the
vector says when in the segment a movement happens.

Symbols: B batch, T frames, L positions, M width of the condition.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE, Inputs
from model.families.d2m_gan.paper import GENRE_WIDTH, ReferenceMotion, ReferenceVisual


class VectorEncoder(nn.Module):
    """Maps the inputs of a segment to its condition, the same at each position."""

    def __init__(self, inputs: Inputs, width: int, channels: int) -> None:
        super().__init__()
        self.specs, self.width = dict(inputs.specs), width
        self.motion = self.visual = self.genre = None
        widths: dict[str, int] = {}
        """The width of what is read of each input."""
        if (motion := inputs.get(MOTION)) is not None:
            self.motion = ReferenceMotion(motion, channels).requires_grad_(False)
            widths[MOTION] = self.motion.width
        if (visual := inputs.get(VISUAL)) is not None:
            self.visual = ReferenceVisual(visual)
            widths[VISUAL] = self.visual.width
        if (genre := inputs.get(GENRE)) is not None:
            self.genre = nn.Embedding(genre.features, GENRE_WIDTH).requires_grad_(False)
            widths[GENRE] = GENRE_WIDTH
        self.widths = widths
        self.project = nn.Linear(sum(widths.values()), width)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        batch: int,
        length: int,
        kept: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the condition (B, L, M) of `batch` segments; inputs are those of one segment.

        An input that is not given, or not `kept` (B,), counts as zero. Without any, the condition
        is a learnt vector.
        """
        parts, some = [], torch.zeros(batch, 1, dtype=torch.bool, device=self.missing.device)
        readers = {MOTION: self.motion, VISUAL: self.visual, GENRE: self.genre}
        for name, width in self.widths.items():
            reader = readers[name]
            if name not in inputs or reader is None:
                parts.append(torch.zeros(batch, width, device=self.missing.device))
                continue
            keep = torch.ones_like(some) if kept is None else kept[name][:, None]
            parts.append(reader(inputs[name]) * keep)
            some = some | keep
        values = torch.where(some, self.project(torch.cat(parts, 1)), self.missing)
        return values[:, None].expand(-1, length, -1)

    def measured(self) -> list[str]:
        """Return the names of the inputs that are standardised."""
        return [name for name in (MOTION, VISUAL) if name in self.specs]

    def measure(self, name: str, values: Tensor) -> None:
        """Set mean and standard deviation of an input from values (segments, T, F)."""
        module = self.motion if name == MOTION else self.visual
        assert module is not None, "only inputs of `measured` are measured"
        module.standardise.measure(values)
