"""Learning a codebook by exponential moving averages, with restart of unused entries.

JukeBox's rule (openai/jukebox `bottleneck.py`; van den Oord et al. 2017, appendix A.1): an entry
is the moving average of the latents to which it is the nearest entry. An entry that is used too
rarely is replaced by a random latent of the batch, at every step until it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from model.codecs.quantise import full_float32

NOISE = 0.01


@dataclass
class CodebookEMA:
    """Moving averages of one codebook with K entries: `k_sum` (K, C) and `k_elem` (K,)."""

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
        """Start from a codebook without saved sums, as if `tokens` codes were spread evenly.

        With fewer than one code per entry, most entries would restart at once. JukeBox uses the
        number of codes of a clip.
        """
        share = tokens / len(k)
        return cls(share * k, torch.full((len(k),), share, device=k.device), mu, threshold)

    @torch.no_grad()
    def update(
        self, k: Tensor, rows: Tensor, codes: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Update with a batch: latents `rows` (R, C) and their codes (R,) in the old codebook `k`.

        Returns the new codebook, a mask of the entries that were not restarted, and metrics.
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
    """Draw `entries` rows of (R, C) at random; too few rows are repeated with a little noise."""
    rows = rows.detach().float()
    if len(rows) < entries:
        rows = rows.repeat(ceil(entries / len(rows)), 1)
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        rows = rows + noise * (NOISE / rows.shape[1] ** 0.5)
    order = torch.randperm(len(rows), generator=generator)[:entries]
    return rows[order.to(rows.device)]
