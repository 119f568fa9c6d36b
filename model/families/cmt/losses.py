"""The loss of CMT: the mean of one masked cross-entropy for each attribute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from model.families.cmt.words import ATTRIBUTES


def attribute_losses(
    logits: Mapping[str, Tensor], words: Tensor, known: Tensor
) -> dict[str, Tensor]:
    """Return the cross-entropy of each attribute in nats, and their mean as `total`: 0-dim tensors.

    `logits` are (B, W, classes) by attribute, for words (B, W, 9); `known` (B, W) is false for
    padding. The type counts in every word; another attribute counts in the words that have it.
    """
    losses = {}
    for column, name in enumerate(ATTRIBUTES):
        truth = words[..., column]
        counts = known if name == "type" else known & (truth > 0)
        each = F.cross_entropy(logits[name].float().transpose(1, 2), truth, reduction="none")
        losses[name] = (each * counts).sum() / counts.sum().clamp(min=1)
    return losses | {"total": torch.stack(list(losses.values())).mean()}
