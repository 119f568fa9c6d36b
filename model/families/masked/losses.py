"""The losses of masked diffusion: the bound on the likelihood, and CDCD's auxiliary and contrast.

At step t of a chain of T steps, each code is masked with probability t / T. The step back to t - 1
shows a masked code again with probability 1 / t. The divergence of the model's step from the true
one is therefore 1 / t of the cross entropy of the masked codes (Austin et al. 2021). The sum over
all t bounds -log p of the codes from above.

CDCD's chain (Zhu et al., ICLR 2023) is that of VQ-Diffusion with the same linear shares, and a
probability of at most 1e-6 to replace a code in place of masking it, which is left out here.

Symbols: B batch, N codes, K entries, T steps of the chain, R negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.families.masked.config import IMPORTANCE, INTER, NONE, STEP, Config

LEAST = -70.0
"""Log probabilities are at least this, as in CDCD's code: a contrast has no other lower bound."""
SEEN = 10
"""How often each step must have been drawn before losses decide how often it is."""


class Times:
    """Draws steps t of the chain, from 1 to T: evenly, or those with large losses more often.

    The latter is CDCD's importance sampling: with probabilities in proportion to the root of the
    mean squared loss, once every step was drawn more than ten times.
    """

    def __init__(self, steps: int, kind: str, device: torch.device) -> None:
        self.kind = kind
        self.squares = torch.zeros(steps, device=device)
        self.counts = torch.zeros(steps, device=device)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Return steps (B,) from 1 to T, and the probability of each (B,)."""
        steps, device = len(self.squares), self.squares.device
        if self.kind == IMPORTANCE:
            # Without waiting for the device: both are drawn, and one is taken.
            by_loss = self.squares.add(1e-10).sqrt() + 1e-4
            known = self.counts.min() > SEEN
            shares = torch.where(
                known, by_loss / by_loss.sum(), torch.full_like(by_loss, 1 / steps)
            )
            drawn = torch.multinomial(shares, count, replacement=True)
            return drawn + 1, shares[drawn]
        places = (torch.randperm(count, device=device) + torch.rand(count, device=device)) / count
        drawn = (places * steps).long().clamp(max=steps - 1)
        return drawn + 1, torch.full((count,), 1 / steps, device=device)

    def record(self, times: Tensor, losses: Tensor) -> None:
        """Take the losses (B,) of drawn steps (B,) into account."""
        if self.kind != IMPORTANCE:
            return
        at = times - 1
        self.squares[at] = 0.9 * self.squares[at] + 0.1 * losses.detach().square()
        self.counts.index_add_(0, at, torch.ones_like(losses.detach()))

    def state_dict(self) -> dict[str, Any]:
        return {"squares": self.squares, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.squares.copy_(state["squares"])
        self.counts.copy_(state["counts"])


def masked_codes(codes: Tensor, shares: Tensor, mask: int) -> Tensor:
    """Return codes (B, N), each replaced by `mask` with its segment's probability (B,)."""
    hidden = torch.rand(codes.shape, device=codes.device) < shares[:, None]
    return torch.where(hidden, mask, codes)


def level_losses(
    config: Config,
    logits: Tensor,
    codes: Tensor,
    hidden: Tensor,
    times: Tensor,
    songs: Sequence[str],
) -> dict[str, Tensor]:
    """Return the losses (B,) of a level's step t: `bound`, `auxiliary` and `contrast`, unweighted.

    Each is in nats per code. `logits` (B, N, K) predict codes (B, N), of which `hidden` (B, N) were
    masked at steps `times` (B,). Negatives of other segments are taken from other `songs`.
    """
    log_p = logits.float().log_softmax(-1).clamp(min=LEAST)
    later = 1 + times / config.chain_steps
    nll = -log_p.gather(2, codes[..., None])[..., 0]
    found = {
        "bound": (nll * hidden).mean(1) / times,
        "auxiliary": later * nll.mean(1),
    }
    if config.contrast != NONE:
        negatives, valid = wrong_music(config, codes, songs)
        wrong = -log_p.gather(2, negatives.permute(1, 2, 0))
        if config.contrast == STEP:
            each = (wrong * hidden[..., None]).mean(1) / times[:, None]
        else:
            each = wrong.mean(1)
        found["contrast"] = -later * (each * valid).mean(1)
    return found


def wrong_music(config: Config, codes: Tensor, songs: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return negatives (R, B, N) for codes (B, N), and which segments have one: (B, 1) bool."""
    everyone = torch.ones(len(codes), 1, dtype=torch.bool, device=codes.device)
    if config.negatives != INTER:
        orders = [
            shuffled(codes.shape[1], config.chunks, codes.device)
            for _ in range(config.negative_count)
        ]
        return torch.stack([codes[:, order] for order in orders]), everyone
    assert len(songs) == len(codes), "batches of data sets have the names of their songs"
    numbers = {song: i for i, song in enumerate(dict.fromkeys(songs))}
    own = torch.tensor([numbers[song] for song in songs], device=codes.device)
    other = own[:, None] != own
    valid = other.any(1, keepdim=True)
    shares = torch.where(valid, other, ~other).float()
    drawn = torch.multinomial(shares, config.negative_count, replacement=True)
    return codes[drawn.T], valid


def shuffled(count: int, chunks: int, device: torch.device) -> Tensor:
    """Return the indices (count,) of codes whose `chunks` equal parts are in a random order."""
    edges = [round(i * count / chunks) for i in range(chunks + 1)]
    parts = torch.arange(count, device=device).tensor_split(edges[1:-1])
    return torch.cat([parts[i] for i in torch.randperm(chunks).tolist()])
