"""The delay pattern of MusicGen (Copet et al. 2023, figure 1): codebook k is k steps late.

transformers delays codes in its `generate`, whose result is sound, but not in training.

Symbols: B batch, Q codebooks, T code steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100
"""The label of a position that is not scored; transformers feeds it as the padding code."""


def delayed(codes: Tensor, fill: int) -> Tensor:
    """Return codes (B, Q, T) as rows (B, Q, T + Q - 1): codebook k from k on, elsewhere `fill`."""
    count, books, steps = codes.shape
    rows = codes.new_full((count, books, steps + books - 1), fill)
    for k in range(books):
        rows[:, k, k : k + steps] = codes[:, k]
    return rows


def straightened(rows: Tensor) -> Tensor:
    """Return the codes (B, Q, T) of delayed rows (B, Q, T + Q - 1)."""
    books = rows.shape[1]
    steps = rows.shape[2] - books + 1
    return torch.stack([rows[:, k, k : k + steps] for k in range(books)], 1)
