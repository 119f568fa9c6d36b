"""A transformer whose layers are modulated at each position, with a cache for causal generation.

Pre-norm blocks, rotary positions (Su et al. 2021), scaled dot-product attention. Each layer norm is
followed by a scale and a shift that come from the condition of the same position (FiLM, Perez et
al. 2018, as DiT's adaptive layer norm), so that the dance acts where it happens.

Symbols: B batch, L positions, D width, H heads, M width of the condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BASE = 10_000.0
"""The base of the rotary frequencies, as published."""


@dataclass
class Cache:
    """The keys and values (B, H, positions, D / H) of the positions of a window, by layer."""

    keys: list[Tensor]
    values: list[Tensor]

    def with_new(
        self, layer: int, keys: Tensor, values: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Enter keys and values (B, H, L, D / H) at `places` (L,); return those of all places."""
        self.keys[layer].index_copy_(2, places, keys)
        self.values[layer].index_copy_(2, places, values)
        return self.keys[layer], self.values[layer]

    def continued(self, places: Tensor) -> Continued:
        """Return where `places` (L,) belong, and what each sees: itself and those before it.

        On a GPU all shapes stay the same from position to position, so that it can record the work
        of one and repeat it. A CPU leaves out the places that are still empty.
        """
        length = self.keys[0].shape[2]
        if places.device.type != "cuda":
            length = int(places[-1]) + 1
        seen = torch.arange(length, device=places.device) <= places[:, None]
        return Continued(self, places, length, seen)


@dataclass(frozen=True)
class Continued:
    """Where positions belong in a window whose keys and values are in a cache.

    `seen` (L, `length`) tells which of the first `length` positions each sees.
    """

    cache: Cache
    places: Tensor
    length: int
    seen: Tensor


class Block(nn.Module):
    """Attention and a feed-forward network, both on modulated input: (B, L, D) to (B, L, D)."""

    def __init__(
        self, width: int, heads: int, condition: int, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.modulation = nn.Linear(condition, 4 * width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.modulation.weight)
        with torch.no_grad():  # scale 1 and shift 0, twice
            self.modulation.bias.copy_(torch.tensor([1.0, 0, 1, 0]).repeat_interleave(width))

    def forward(
        self, x: Tensor, modulation: Tensor, turn: Tensor, after: Continued | None, layer: int
    ) -> Tensor:
        """Apply the block; `modulation` (B, L, 4 D) is `self.modulation` of the condition."""
        scale, shift, scale_wide, shift_wide = modulation.chunk(4, -1)
        batch, length, width = x.shape
        inner = torch.addcmul(shift, F.layer_norm(x, (width,)), scale)
        qkv = self.qkv(inner).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys = rotate(qkv[:2], turn).unbind()
        values = qkv[2]
        if after is None:
            found = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        else:
            every = after.cache.with_new(layer, keys, values, after.places)
            keys, values = (each[:, :, : after.length] for each in every)
            found = F.scaled_dot_product_attention(queries, keys, values, after.seen)
        x = x + self.dropout(self.out(found.transpose(1, 2).reshape(batch, length, width)))
        inner = torch.addcmul(shift_wide, F.layer_norm(x, (width,)), scale_wide)
        return x + self.dropout(self.narrow(F.gelu(self.wide(inner), approximate="tanh")))


class Transformer(nn.Module):
    """A stack of blocks: input (B, L, D) and condition (B, L, M) to output (B, L, D).

    If it is `causal`, a position sees those before it; otherwise, all.
    """

    def __init__(
        self, width: int, layers: int, heads: int, condition: int, dropout: float,
        causal: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of 2 x heads {heads}")
        self.width, self.heads = width, heads
        blocks = [Block(width, heads, condition, dropout, causal) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        for block in blocks:  # the sum over all layers begins with variance 1
            nn.init.normal_(block.out.weight, std=(2 * layers * width) ** -0.5)
            nn.init.normal_(block.narrow.weight, std=(8 * layers * width) ** -0.5)
        frequency = BASE ** -torch.linspace(0, 1, width // heads // 2 + 1)[:-1]
        self.register_buffer("frequency", frequency, persistent=False)

    frequency: Tensor

    def modulations(self, condition: Tensor) -> list[Tensor]:
        """Return each layer's modulation (B, L, 4 D) for a condition (B, L, M)."""
        return [cast(Block, block).modulation(condition) for block in self.blocks]

    def turns(self, length: int) -> Tensor:
        """Return cosine and sine of each position's rotation: (2, L, D / H / 2)."""
        angle = torch.arange(length, device=self.frequency.device)[:, None] * self.frequency
        return torch.stack([angle.cos(), angle.sin()])

    def cache(self, batch: int, length: int) -> Cache:
        """Return an empty cache for `length` positions."""
        shape = (batch, self.heads, length, self.width // self.heads)
        empty = torch.zeros(shape, device=self.frequency.device)
        return Cache([empty.clone() for _ in self.blocks], [empty.clone() for _ in self.blocks])

    def forward(
        self,
        x: Tensor,
        modulations: list[Tensor],
        turns: Tensor,
        cache: Cache | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Return the last layer's output.

        `modulations` and `turns` are those of the positions of `x`. With a cache, `places` (L,)
        says which positions these are; all before them are in the cache.
        """
        after = None
        if cache is not None and places is not None:
            after = cache.continued(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, modulations[layer], turns, after, layer)
        return F.layer_norm(x, (self.width,))


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate the pairs (i, i + E / 2) of x (..., L, E) by `turn` (2, L, E / 2)."""
    cosine, sine = turn.to(x.dtype).unbind()
    first, second = x.chunk(2, -1)
    return torch.cat(
        [
            torch.addcmul(first * cosine, second, sine, value=-1),
            torch.addcmul(first * sine, second, cosine),
        ],
        -1,
    )
