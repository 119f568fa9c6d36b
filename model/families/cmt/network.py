"""The network of CMT: compound words in, the logits of the next word's attributes out.

Symbols: B batch, W words, P prefix tokens, D width, H heads. The network sees P = 6 prefix tokens
(a beginning, and which of the five instruments play), then the words so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.families.cmt.grid import FAMILIES
from model.families.cmt.words import ATTRIBUTES, CLASSES, P_BEAT, P_BEATS, TICK, TYPE
from model.families.notes.sinusoid import sinusoid

PREFIX = 1 + len(FAMILIES)
PREFIX_WIDTH = 64
OTHERS = tuple(name for name in ATTRIBUTES if name != "type")
"""The attributes that are predicted once the type is known."""
Cache = list[tuple[Tensor, Tensor]]
"""The keys and values (B, H, positions, D / H) of each layer."""


class Block(nn.Module):
    """Causal attention and a feed-forward network, both after a layer norm."""

    def __init__(self, width: int, heads: int, wide: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.norm, self.wide_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Continue after `past`, the keys and values of earlier positions; return those of all.

        With a past, x (B, 1, D) is one position, which sees all of them.
        """
        batch, length, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        dropout = self.drop if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=past is None)
        x = x + self.dropout(self.out(found.transpose(1, 2).reshape(batch, length, width)))
        wide = F.gelu(self.wide(self.wide_norm(x)))
        return x + self.dropout(self.narrow(self.dropout(wide))), (k, v)


class CmtNetwork(nn.Module):
    """Embeddings of the attributes, a causal transformer, and heads in two stages.

    `embeddings` has the width of each attribute in the order of `ATTRIBUTES`; `wide` is the width
    inside the feed-forward networks.
    """

    def __init__(
        self,
        embeddings: Sequence[int],
        p_beat_width: int,
        width: int,
        layers: int,
        heads: int,
        wide: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.attributes = nn.ModuleList(
            nn.Embedding(count, size) for count, size in zip(CLASSES, embeddings, strict=True)
        )
        self.words = nn.Linear(sum(embeddings), width)
        self.p_beat = nn.Sequential(
            nn.Embedding(P_BEATS, p_beat_width), nn.Linear(p_beat_width, width)
        )
        # 0: not there, 1 to 5: the instruments, 6: the beginning
        self.prefix = nn.Sequential(
            nn.Embedding(2 + len(FAMILIES), PREFIX_WIDTH), nn.Linear(PREFIX_WIDTH, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, wide, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.type_head = nn.Linear(width, CLASSES[TYPE])
        self.with_type = nn.Linear(width + embeddings[TYPE], width)
        sizes = dict(zip(ATTRIBUTES, CLASSES, strict=True))
        self.heads = nn.ModuleDict({name: nn.Linear(width, sizes[name]) for name in OTHERS})

    def embed(self, words: Tensor) -> Tensor:
        """Return vectors (B, W, D) of words (B, W, 9)."""
        found = [self.attribute(column, words[..., column]) for column in range(len(CLASSES))]
        x = self.words(torch.cat(found, -1)) + self.p_beat(words[..., P_BEAT])
        return x + sinusoid(words[..., TICK], self.width)

    def attribute(self, column: int, classes: Tensor) -> Tensor:
        """Return the vectors of an attribute's classes, scaled as in Vaswani et al. 2017."""
        table = cast(nn.Embedding, self.attributes[column])
        return table(classes) * math.sqrt(table.embedding_dim)

    def forward(self, prefix: Tensor, words: Tensor) -> Tensor:
        """Return states (B, W + 1, D) for a `prefix_of` (B, P) and words (B, W, 9).

        State i has seen i words, and predicts word i.
        """
        x, _ = self.read(torch.cat([self.prefix(prefix), self.embed(words)], 1))
        return x[:, PREFIX - 1 :]

    def begin(self, prefix: Tensor, words: Tensor) -> tuple[Tensor, Cache]:
        """Return the last of `forward`'s states (B, D), and the cache to `go_on` from."""
        x, cache = self.read(torch.cat([self.prefix(prefix), self.embed(words)], 1))
        return x[:, -1], cache

    def go_on(self, word: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Return the state (B, D) after one more word (B, 9), and the cache with it."""
        x, cache = self.read(self.embed(word[:, None]), cache)
        return x[:, -1], cache

    def read(self, x: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        x, grown = self.dropout(x), []
        for i, block in enumerate(self.blocks):
            x, keys_values = block(x, cache[i] if cache else None)
            grown.append(keys_values)
        return self.norm(x), grown

    def logits(self, states: Tensor, types: Tensor) -> dict[str, Tensor]:
        """Return the logits of each attribute from states (…, D) and the next words' types (…)."""
        x = self.with_type(torch.cat([states, self.attribute(TYPE, types)], -1))
        return {"type": self.type_head(states)} | {
            name: head(x) for name, head in self.heads.items()
        }


def prefix_of(families: np.ndarray) -> Tensor:
    """Return the prefix (…, P) of music in which `families` (…, 5) play."""
    there = np.where(families, np.arange(1, len(FAMILIES) + 1), 0)
    begin = np.full((*there.shape[:-1], 1), len(FAMILIES) + 1)
    return torch.from_numpy(np.concatenate([begin, there], -1))
