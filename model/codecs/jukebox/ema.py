"""Learning a codebook by exponential moving averages, with restart of unused entries.

JukeBox's rule (openai/jukebox `bottleneck.py`; van den Oord et al. 2017, appendix A.1): an entry
is the running mean of the latents it is nearest to; one that is used too rarely becomes a random
latent of the batch, again each step until it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from model.codecs.jukebox.bottleneck import full_float32

NOISE = 0.01


@dataclass
class CodebookEMA:
    """Running sums of one codebook of K entries: `k_sum` (K, C) and `k_elem` (K,)."""

    k_sum: Tensor
    k_elem: Tensor
    mu: float = 0.99
    threshold: float = 1.0

    @classmethod
    def begin(
        cls, rows: Tensor, entries: int, generator: torch.Generator, mu: float, threshold: float
    ) -> CodebookEMA:
        """Start from random latents of the first batch, rows (R, C)."""
        k = draw(rows, entries, generator)
        return cls(k, torch.ones(entries, device=k.device), mu, threshold)

    @classmethod
    def restore(
        cls, k: Tensor, tokens: float, mu: float = 0.99, threshold: float = 1.0
    ) -> CodebookEMA:
        """Go on from a codebook whose sums are lost, as if `tokens` codes were spread evenly.

        With fewer than one per entry most entries restart at once; JukeBox takes a clip's codes.
        """
        share = tokens / len(k)
        return cls(share * k, torch.full((len(k),), share, device=k.device), mu, threshold)

    @torch.no_grad()
    def update(
        self, k: Tensor, rows: Tensor, codes: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Take in a batch: rows (R, C) and their codes (R,) by the codebook `k` before the update.

        Returns the new codebook, which entries were kept (not restarted), and the metrics.
        """
        with full_float32(rows.device):
            rows = rows.float()
            sums = torch.zeros_like(self.k_sum).index_add_(0, codes, rows)
            counts = torch.bincount(codes, minlength=len(k)).float()
            self.k_sum = self.mu * self.k_sum + (1 - self.mu) * sums
            self.k_elem = self.mu * self.k_elem + (1 - self.mu) * counts
            kept = self.k_elem >= self.threshold
            mean = self.k_sum / self.k_elem.clamp_min(1e-20)[:, None]
            fresh = draw(rows, len(k), generator)
            new = torch.where(kept[:, None], mean, fresh)
            share = counts / counts.sum()
            metrics = {
                "entropy": -(share * (share + 1e-8).log()).sum().item(),
                "used_curr": (counts >= self.threshold).sum().item(),
                "usage": kept.sum().item(),
                "dk": ((new - k).norm() / k.numel() ** 0.5).item(),
                "fit": (rows - k[codes]).square().sum(1).mean().item(),
                "pn": ((rows - rows.mean()).norm() / rows.numel() ** 0.5).item(),
            }
        return new, kept, metrics


def draw(rows: Tensor, entries: int, generator: torch.Generator) -> Tensor:
    """Draw `entries` of the rows (R, C) at random; too few are repeated with a little noise."""
    rows = rows.detach().float()
    if len(rows) < entries:
        rows = rows.repeat(ceil(entries / len(rows)), 1)
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        rows = rows + noise * (NOISE / rows.shape[1] ** 0.5)
    order = torch.randperm(len(rows), generator=generator)[:entries]
    return rows[order.to(rows.device)]
