"""The delay pattern of MusicGen (Copet et al. 2023, figure 1): codebook k is k steps late.

transformers delays codes when it generates, but not in training: there, the labels must be delayed.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100
"""The label of a position that is not scored; transformers feeds it as the padding code."""


def delayed(codes: Tensor) -> Tensor:
    """Return codes (B, Q, T) as delayed labels (B, T + Q - 1, Q), int64.

    Codebook k has rows k to k + T - 1; its other rows are IGNORED.
    """
    count, books, steps = codes.shape
    labels = torch.full((count, steps + books - 1, books), IGNORED, device=codes.device)
    for k in range(books):
        labels[:, k : k + steps, k] = codes[:, k]
    return labels
