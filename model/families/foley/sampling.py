"""Draw events, or search for the likeliest, one after another with a cache.

Symbols: V entries of the vocabulary, K sequences of a beam.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.families.foley.events import END, PAD, START
from model.families.foley.network import FoleyNetwork
from model.families.notes.nucleus import nucleus


def music(logits: Tensor) -> Tensor:
    """Return logits in which START and PAD, which never follow an event, are impossible."""
    impossible = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    impossible[[START, PAD]] = True
    return logits.float().masked_fill(impossible, -torch.inf)


@torch.inference_mode()
def draw(
    network: FoleyNetwork, poses: Tensor, begin: Sequence[int], top_p: float, temperature: float,
    rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Return `begin` and the events drawn after it, up to END or the most that the network reads.

    `poses` (1, 3, T, J) are those of a window, `begin` events known at its start, without START.
    """
    events = list(begin)
    cache = network.begin(poses)
    new = torch.tensor([[START, *events]], device=poses.device)[:, : network.most]
    while cache.length + new.shape[1] <= network.most:
        logits = music(network.follow(new, cache)[0, -1]).cpu().numpy()
        event = nucleus(logits, top_p, temperature, rng)
        if event == END:
            break
        events.append(event)
        new = torch.tensor([[event]], device=poses.device)
    return events


@torch.inference_mode()
def beam(network: FoleyNetwork, poses: Tensor, begin: Sequence[int], width: int) -> list[int]:
    """Return `begin` and the events after it whose joint probability is the highest found.

    The `width` likeliest sequences are continued, by the sums of all their log-probabilities. A
    sequence that ended is kept aside; the search is over when no open one is likelier than it,
    since sums only fall. Arguments as for `draw`.
    """
    cache = network.begin(poses)
    new = torch.tensor([[START, *begin]], device=poses.device)[:, : network.most]
    open_ = [(0.0, list(begin))]
    best: tuple[float, list[int]] = (-np.inf, list(begin))
    while open_ and cache.length + new.shape[1] <= network.most:
        shares = music(network.follow(new, cache)[:, -1]).log_softmax(-1)
        sums = shares + shares.new_tensor([[total] for total, _ in open_])
        top = sums.flatten().topk(min(width + len(open_), sums.numel()))
        longer: list[tuple[float, list[int]]] = []
        rows: list[int] = []
        for total, place in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            row, event = divmod(place, sums.shape[1])
            if event == END:
                best = max(best, (total, open_[row][1]), key=lambda one: one[0])
            elif len(longer) < width:
                longer.append((total, [*open_[row][1], event]))
                rows.append(row)
        kept = [i for i, (total, _) in enumerate(longer) if total > best[0]]
        open_ = [longer[i] for i in kept]
        index = torch.tensor([rows[i] for i in kept], dtype=torch.long, device=poses.device)
        cache = cache.rows(index)
        new = torch.tensor([[events[-1]] for _, events in open_], device=poses.device)
    return max([best, *open_], key=lambda one: one[0])[1]
