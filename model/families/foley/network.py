"""The network of Foley Music: a graph network reads the dance, and a decoder writes events.

The decoder attends to its events by content and by distance (Shaw et al. 2018; Huang et al. 2018),
and to the dance by content alone, as the original does.

Symbols: B batch, T frames, J joints, M vectors of the dance, L events, K events known, D width,
H heads, E = D / H, V entries of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.families.foley.events import VOCABULARY
from model.families.foley.graph import GraphNetwork
from model.families.notes.sinusoid import sinusoid

Pair = tuple[Tensor, Tensor]
"""Keys and values, each (B, H, …, E)."""
CHANNELS = 3
"""Of a joint: x, y, and whether it is seen."""


@dataclass
class Cache:
    """Keys and values (B, H, K, E) of the events so far, and those of the dance, by layer."""

    known: list[Pair] = field(default_factory=list)
    dance: list[Pair] = field(default_factory=list)

    @property
    def length(self) -> int:
        """K, how many events it holds."""
        return self.known[0][0].shape[2] if self.known else 0

    def rows(self, index: Tensor) -> Cache:
        """Return the cache of the rows `index` (B',): beams go on from some of their sequences."""
        pick = [[(k[index], v[index]) for k, v in pairs] for pairs in (self.known, self.dance)]
        return Cache(*pick)


class SelfAttention(nn.Module):
    """Causal attention with a learnt vector for each distance: (B, L, D) to (B, L, D).

    The logit of event i for event j is q_i · (k_j + r_(i-j)) / √E; all heads share r.
    """

    def __init__(self, width: int, heads: int, most: int) -> None:
        super().__init__()
        self.heads, self.most = heads, most
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distance = nn.Parameter(torch.randn(most, width // heads) * (width // heads) ** -0.5)
        """r: row `most` - 1 - d is that of distance d."""

    def forward(self, x: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        """Return the result for events that follow those of `past`, and all keys and values."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv.unbind()
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        scores = by_distance(queries @ self.distance[self.most - keys.shape[2] :].T)
        causal = torch.ones(length, keys.shape[2], dtype=torch.bool, device=x.device)
        later = causal.triu(keys.shape[2] - length + 1)
        scores = (scores / math.sqrt(queries.shape[-1])).masked_fill(later, -math.inf)
        found = F.scaled_dot_product_attention(queries, keys, values, scores)
        return self.out(found.transpose(1, 2).reshape(batch, length, width)), (keys, values)


def by_distance(scores: Tensor) -> Tensor:
    """Return scores (..., L, K) by key from those by distance; the L queries are the last of K.

    In row i, column c of `scores` is the distance K - 1 - c, so each row moves to the left by one
    place less than the row above it. Places of later keys are filled with any numbers.
    """
    length, known = scores.shape[-2:]
    flat = F.pad(scores, (0, 1)).flatten(-2)[..., length - 1 :]
    return flat[..., : length * known].unflatten(-1, (length, known))


class Layer(nn.Module):
    """Attention to the events, attention to the dance, and a feed-forward network, pre-norm."""

    def __init__(self, width: int, heads: int, inner: int, most: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = SelfAttention(width, heads, most)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def of_dance(self, dance: Tensor) -> Pair:
        """Return the keys and values (B, H, M, E) of the dance (B, M, D)."""
        pairs = self.key_value(dance).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return pairs[0], pairs[1]

    def forward(self, x: Tensor, dance: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
        found, known = self.attention(self.norms[0](x), past)
        x = x + self.dropout(found)
        query = self.query(self.norms[1](x)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        found = F.scaled_dot_product_attention(query, *dance).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(found))
        return x + self.dropout(self.inner(self.norms[2](x))), known


class FoleyNetwork(nn.Module):
    """From poses (B, 3, T, J) and events (B, L) to the logits (B, L, V) of the next events."""

    def __init__(
        self, joints: int, widths: tuple[int, ...], strides: tuple[int, ...], width: int,
        layers: int, heads: int, inner: int, most: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of 2 x heads {heads}")
        self.graph = GraphNetwork(joints, CHANNELS, widths, strides, dropout)
        self.dance = nn.Linear(widths[-1], width)
        self.embedding = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.layers = nn.ModuleList(
            Layer(width, heads, inner, most, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, VOCABULARY)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("waves", sinusoid(torch.arange(most), width), persistent=False)

    waves: Tensor

    @property
    def most(self) -> int:
        """The most events that a sequence can have."""
        return len(self.waves)

    def see(self, poses: Tensor) -> Tensor:
        """Return the dance (B, M, D) of poses (B, 3, T, J)."""
        return self.dance(self.graph(poses))

    def begin(self, poses: Tensor) -> Cache:
        """Return a cache without events for the poses (B, 3, T, J)."""
        dance = self.see(poses)
        return Cache([], [cast(Layer, layer).of_dance(dance) for layer in self.layers])

    def forward(self, poses: Tensor, events: Tensor) -> Tensor:
        return self.follow(events, self.begin(poses))

    def follow(self, events: Tensor, cache: Cache) -> Tensor:
        """Return the logits (B, L, V) of what follows each of `events` (B, L); extend the cache."""
        start = cache.length
        scale = math.sqrt(self.embedding.embedding_dim)
        x = self.embedding(events) * scale + self.waves[start : start + events.shape[1]]
        x = self.dropout(x)
        past: Sequence[Pair | None] = cache.known or [None] * len(self.layers)
        known = []
        for layer, dance, before in zip(self.layers, cache.dance, past, strict=True):
            x, pair = layer(x, dance, before)
            known.append(pair)
        cache.known = known
        return self.out(self.norm(x))
