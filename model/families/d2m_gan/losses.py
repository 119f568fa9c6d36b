"""The generator's non-adversarial losses (paper, eq. 5-8); wave and mel are in `model.audio`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from model.families.d2m_gan.config import LOSSES


def straight_through(latents: Tensor, entries: Tensor) -> Tensor:
    """Return the codebook entries, with the gradient of the latents (both (B, C, L))."""
    return latents + (entries - latents).detach()


def codebook_loss(latents: Tensor, target: Tensor, scale: float) -> Tensor:
    """Return the L1 distance of generated and target latents (B, C, L), in units of `scale`."""
    return F.l1_loss(latents.float(), target.float()) / scale


def weighted_total(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the weighted sum of eq. 8; ValueError unless losses and non-zero weights match."""
    active = {name for name, weight in weights.items() if weight}
    if unknown := sorted(set(weights) - set(LOSSES)):
        raise ValueError(f"weights for unknown losses {unknown}; known: {', '.join(LOSSES)}")
    if active != set(losses):
        raise ValueError(f"losses {sorted(losses)} do not match active weights {sorted(active)}")
    if not active:
        raise ValueError("every loss has weight 0: there is nothing to train")
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
