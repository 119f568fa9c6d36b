"""The work of one position on a CPU, in NumPy.

It computes what `LevelNetwork` computes for one position, from the same weights. A position has one
row, or two with guidance: NumPy multiplies one row by a matrix in a third of torch's time, and does
each of the small operations between two products in half of it (benchmarks/README.md).

Symbols: G rows, D width, H heads, E = D / H, K entries, C width of a code's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from model.families.tokens.level import LevelNetwork, LocalBlock
from model.families.tokens.transformer import Block, Cache

NORM_EPSILON = 1e-5
"""torch's default."""


class Matrix:
    """A linear map of rows (G, in) to (G, out), as a matrix (in, out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.values = array(weight).T
        self.bias = None if bias is None else array(bias)

    @classmethod
    def of(cls, linear: nn.Module) -> Matrix:
        """Take over a layer's weights."""
        assert isinstance(linear, nn.Linear)
        return cls(linear.weight, linear.bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if len(x) == 2:  # a product of two rows takes longer than two products
            found = np.empty((2, self.values.shape[1]), np.float32)
            np.dot(x[0], self.values, out=found[0])
            np.dot(x[1], self.values, out=found[1])
        else:
            found = np.dot(x, self.values)
        if self.bias is not None:
            found += self.bias
        return found


def put_together(matrices: Sequence[Matrix]) -> None:
    """Copy the values of matrices into one piece of memory, row by row.

    NumPy asks the system for large pages from 4 MiB on. With small ones, looking up where weights
    are takes a good part of each product's time.
    """
    memory = np.empty(sum(each.values.size for each in matrices), np.float32)
    first = 0
    for matrix in matrices:
        own = memory[first : first + matrix.values.size].reshape(matrix.values.shape)
        own[:] = matrix.values
        matrix.values, first = own, first + own.size


class BlockArrays:
    """The weights of a block, and its keys and values: views of those of a `Cache`."""

    def __init__(self, block: Block, cache: Cache, layer: int) -> None:
        self.heads = block.heads
        self.qkv, self.out = Matrix.of(block.qkv), Matrix.of(block.out)
        self.wide, self.narrow = Matrix.of(block.wide), Matrix.of(block.narrow)
        self.keys, self.values = cache.keys[layer].numpy(), cache.values[layer].numpy()

    def __call__(
        self, x: np.ndarray, modulation: np.ndarray, turn: np.ndarray, position: int
    ) -> np.ndarray:
        """Return what the block makes of rows (G, D) at a position, and note keys and values.

        `modulation` (4, G, D), which scales and shifts twice, and `turn` (2, E / 2) are those of
        the position.
        """
        rows, width = x.shape
        scale, shift, scale_wide, shift_wide = modulation
        inner = normed(x) * scale + shift
        qkv = self.qkv(inner).reshape(rows, 3, self.heads, -1)
        turned = rotate(qkv[:, :2], turn)
        self.keys[:, :, position], self.values[:, :, position] = turned[:, 1], qkv[:, 2]
        seen = slice(0, position + 1)
        queries = turned[:, 0, :, None] * np.float32((width // self.heads) ** -0.5)
        scores = queries @ self.keys[:, :, seen].transpose(0, 1, 3, 2)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        found = scores @ self.values[:, :, seen]
        found /= scores.sum(-1, keepdims=True)
        x = x + self.out(found.reshape(rows, width))
        inner = normed(x) * scale_wide + shift_wide
        return x + self.narrow(gelu(self.wide(inner)))


class LocalArrays:
    """The weights of a `LocalBlock`."""

    def __init__(self, block: LocalBlock) -> None:
        self.scale, self.shift = array(block.norm.weight), array(block.norm.bias)
        self.wide, self.narrow = Matrix.of(block.wide), Matrix.of(block.narrow)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        inner = normed(x) * self.scale + self.shift
        return x + self.narrow(gelu(self.wide(inner)))


class LevelArrays:
    """The network of a level for one position after another, in NumPy.

    `weight` (K, …) is that of the logits. `cache` is the cache of the transformer; its keys and
    values are shared.
    """

    def __init__(self, network: LevelNetwork, weight: Tensor, cache: Cache) -> None:
        self.patch = network.patch
        self.patches = Matrix.of(network.patches)
        self.blocks = [
            BlockArrays(cast(Block, block), cache, layer)
            for layer, block in enumerate(network.transformer.blocks)
        ]
        self.unfold, self.recent = Matrix.of(network.unfold), Matrix.of(network.recent)
        self.local = [LocalArrays(cast(LocalBlock, block)) for block in network.local]
        self.entries = Matrix(weight, network.bias)
        every = [self.patches, self.unfold, self.recent, self.entries]
        for block in self.blocks:
            every += [block.qkv, block.out, block.wide, block.narrow]
        for local in self.local:
            every += [local.wide, local.narrow]
        put_together(every)

    def position(
        self,
        before: np.ndarray,
        condition: np.ndarray,
        modulations: Sequence[np.ndarray],
        turn: np.ndarray,
        position: int,
    ) -> np.ndarray:
        """Return a vector (G, patch, …) for each code of a position.

        `before` (G, patch, C) are the vectors of the codes of the preceding position; `condition`
        (G, D), what the network makes of it, `modulations` (4, G, D) and `turn` (2, E / 2) are
        those of the position.
        """
        x = self.patches(before.reshape(len(before), -1)) + condition
        for block, modulation in zip(self.blocks, modulations, strict=True):
            x = block(x, modulation, turn, position)
        return self.unfold(normed(x)).reshape(len(x), self.patch, -1)

    def logits(self, x: np.ndarray, recent: np.ndarray) -> np.ndarray:
        """Return the logits (G, K) of a code from its vector, and those (G, reach, C) before it."""
        x = x + self.recent(recent.reshape(len(recent), -1))
        for block in self.local:
            x = block(x)
        return self.entries(normed(x))


def array(weight: Tensor) -> np.ndarray:
    """Return a tensor's values as float32."""
    return weight.detach().to(torch.float32).numpy()


def normed(x: np.ndarray) -> np.ndarray:
    """Return rows with mean 0 and variance 1."""
    share = _equal_shares(x.shape[1])
    x = x - (x @ share)[:, None]
    variance = (x * x) @ share
    x /= np.sqrt(variance + np.float32(NORM_EPSILON))[:, None]
    return x


@lru_cache
def _equal_shares(count: int) -> np.ndarray:
    """Return a vector whose product with another one is the other's mean."""
    return np.full(count, 1 / count, np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return the Gaussian error linear unit, by tanh (Hendrycks & Gimpel 2016)."""
    inner = x * x
    inner *= np.float32(0.044715 * (2 / np.pi) ** 0.5)
    inner += np.float32((2 / np.pi) ** 0.5)
    inner *= x
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    inner *= x
    inner *= np.float32(0.5)
    return inner


def rotate(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Rotate the pairs (i, i + E / 2) of x (..., E) by `turn` (2, E / 2)."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    found = np.empty_like(x)
    found[..., :half] = first * turn[0] - second * turn[1]
    found[..., half:] = first * turn[1] + second * turn[0]
    return found
