"""The codebook: quantisation to the nearest entry, and look-up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codecs.quantise import nearest


class Codebook(nn.Module):
    """K entries of width C, as a buffer: they are learned by moving averages, not by gradients."""

    k: Tensor

    def __init__(self, l_bins: int, emb_width: int) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(l_bins, emb_width))

    @torch.no_grad()
    def quantise(self, latents: Tensor) -> Tensor:
        """Map latents (B, C, L) to codes (B, L), int64."""
        batch, width, steps = latents.shape
        return nearest(latents.transpose(1, 2).reshape(-1, width), self.k).view(batch, steps)

    def lookup(self, codes: Tensor) -> Tensor:
        """Map codes (B, L) to latents (B, C, L)."""
        return F.embedding(codes, self.k).transpose(1, 2)
