"""The network of one level: the distribution of each code, given all codes before it.

A position of the transformer holds `patch` consecutive codes, so that all levels share the slow
grid of the coarsest one. The codes inside a position are drawn one after another by a small local
network, which sees the transformer's output and the last `reach` codes directly (as in MegaByte, Yu
et al. 2023, with a window of codes in place of an inner transformer): a code depends most on its
direct neighbours, which hold the phase of the waveform.

Symbols: B batch, L positions, N codes (at most L x patch), K entries, C width of an entry, D width,
M width of the condition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.families.tokens.transformer import Transformer


class CodeTable(nn.Module):
    """A vector for each code: a linear map of its codebook entry, plus a free part.

    Codes whose entries are alike sound alike. The linear map lets them share what is learnt; a
    training set has only a few hundred examples of each code.
    """

    entries: Tensor

    def __init__(self, entries: Tensor, width: int, deviation: float) -> None:
        super().__init__()
        entries = entries - entries.mean(0)
        entries = entries / entries.std().clamp(min=1e-6)
        self.register_buffer("entries", entries, persistent=False)
        self.map = nn.Parameter(torch.randn(entries.shape[1], width))
        self.free = nn.Parameter(torch.randn(len(entries), width))
        with torch.no_grad():
            self.map.mul_(deviation * 0.7 * entries.shape[1] ** -0.5)
            self.free.mul_(deviation * 0.7)

    def forward(self) -> Tensor:
        """Return the vectors (K, width)."""
        return torch.addmm(self.free, self.entries, self.map)


class LevelNetwork(nn.Module):
    """The codes of one level, given the condition and, below the first level, the upper codes."""

    def __init__(
        self,
        entries: Tensor,
        patch: int,
        condition: int,
        width: int,
        layers: int,
        heads: int,
        local_width: int,
        local_layers: int,
        reach: int,
        code_width: int,
        dropout: float,
        upper: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.reach, self.code_width = patch, reach, code_width
        self.codes = CodeTable(entries, code_width, 1.0)
        self.start = nn.Parameter(torch.zeros(code_width))
        self.patches = nn.Linear(patch * code_width, width)
        self.condition = nn.Linear(condition, width)
        self.transformer = Transformer(width, layers, heads, condition, dropout)
        self.upper = None if upper is None else UpperCodes(upper, code_width, condition)
        self.unfold = nn.Linear(width, patch * local_width)
        self.recent = nn.Linear(reach * code_width, local_width, bias=False)
        self.local = nn.ModuleList(LocalBlock(local_width, dropout) for _ in range(local_layers))
        self.logits = CodeTable(entries, local_width, local_width**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(entries)))

    def forward(self, codes: Tensor, condition: Tensor, upper: Tensor | None = None) -> Tensor:
        """Return the logits (B, N, K) of codes (B, N), each from the codes before it.

        `condition` (B, L, M) has L = ceil(N / patch) positions; `upper` (B, L') are the codes of
        the level above.
        """
        count, length = codes.shape[1], condition.shape[1]
        codes = F.pad(codes, (0, length * self.patch - count))
        table = self.codes()
        vectors = F.embedding(codes, table)
        condition = self.conditioned(condition, upper)
        start = self.start.expand(len(codes), self.patch, -1)
        x = self.inputs(torch.cat([start, vectors[:, : -self.patch]], 1), condition)
        x = self.transformer(
            x, self.transformer.modulations(condition), self.transformer.turns(length)
        )
        before = torch.cat([self.start.expand(len(codes), self.reach, -1), vectors[:, :-1]], 1)
        recent = before.unfold(1, self.reach, 1).transpose(2, 3).flatten(2)
        return self.local_logits(self.unfolded(x), recent, self.logits())[:, :count]

    # --- parts, also used code by code in generation ---------------------------------------------

    def conditioned(self, condition: Tensor, upper: Tensor | None) -> Tensor:
        """Return the condition (B, L, M) with the upper codes (B, L') added to it."""
        if self.upper is None:
            return condition
        return condition + self.upper(upper, condition.shape[1])

    def inputs(self, vectors: Tensor, condition: Tensor) -> Tensor:
        """Return the transformer's input (B, L, D) from the codes before each position.

        `vectors` (B, L patch, code width) are those of the codes of the preceding position; before
        the first one, they are the start.
        """
        patches = vectors.reshape(len(vectors), -1, self.patch * self.code_width)
        return self.patches(patches) + self.condition(condition)

    def unfolded(self, x: Tensor) -> Tensor:
        """Map the transformer's output (B, L, D) to one vector for each code (B, L patch, …)."""
        return self.unfold(x).view(len(x), x.shape[1] * self.patch, -1)

    def local_logits(self, x: Tensor, recent: Tensor, weight: Tensor) -> Tensor:
        """Return logits (…, K) from `unfolded` (…, local width) and the last codes' vectors."""
        x = x + self.recent(recent)
        for block in self.local:
            x = block(x)
        return F.linear(F.layer_norm(x, x.shape[-1:]), weight, self.bias)


class LocalBlock(nn.Module):
    """A residual feed-forward network of one code: (…, width) to the same."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.narrow(F.gelu(self.wide(self.norm(x)), approximate="tanh")))


class UpperCodes(nn.Module):
    """The codes of the level above around each position: (B, L') to (B, L, M).

    Positions after the last upper code, of which a segment may have one, take the last one.
    """

    AROUND = 2
    """How many codes before and after a position are seen; their music overlaps in time."""

    def __init__(self, entries: Tensor, code_width: int, width: int) -> None:
        super().__init__()
        self.codes = CodeTable(entries, code_width, 1.0)
        self.wide = nn.Linear((2 * self.AROUND + 1) * code_width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, codes: Tensor, length: int) -> Tensor:
        place = torch.arange(length, device=codes.device).clamp(max=codes.shape[1] - 1)
        codes = codes[:, place]
        vectors = F.pad(F.embedding(codes, self.codes()), (0, 0, self.AROUND, self.AROUND))
        around = vectors.unfold(1, 2 * self.AROUND + 1, 1).transpose(2, 3).flatten(2)
        return self.narrow(F.gelu(self.wide(around), approximate="tanh"))
