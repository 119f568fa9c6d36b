"""Draw codes from a level's network: guidance, temperature, top-p, and windows for any length.

A network is trained on segments. A longer piece is drawn in windows as long as a segment: each
begins with the last half of its predecessor's codes and continues them. Every code is thus drawn
from the network's distribution given its window so far, and there is no seam between windows. Keys
and values are held for one window, whatever the length of the piece.

Symbols: B batch, G rows (B, or 2 B with guidance), L positions, N codes, K entries, M width of the
condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.families.tokens.level import LevelNetwork


@dataclass(frozen=True)
class Sampler:
    """Draws codes (B,) from their logits (G, K): see `guided` and `chosen`."""

    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0

    @property
    def guides(self) -> bool:
        """Whether a second row without the condition is needed for each segment."""
        return self.guidance != 1

    def __call__(self, logits: Tensor) -> Tensor:
        logits = guided(logits, self.guidance) if self.guides else logits
        return chosen(logits, self.temperature, self.top_p)


def guided(logits: Tensor, guidance: float) -> Tensor:
    """Return u + guidance (c - u) for logits [c, u] (2 B, K): classifier-free guidance.

    1 is the distribution with the condition, 0 that without; more exaggerates what the condition
    changes (Ho & Salimans 2022).
    """
    with_condition, without = logits.chunk(2)
    return torch.lerp(without, with_condition, guidance)


def chosen(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Draw codes (B,) from logits (B, K), among the likeliest whose shares reach `top_p`.

    Source: nucleus sampling (Holtzman et al. 2020); the likeliest code is always among them.
    """
    shares, order = (logits.float() / temperature).softmax(-1).sort(-1, descending=True)
    sums = shares.cumsum(-1)
    last = torch.searchsorted(sums, sums.new_full((len(sums), 1), top_p))
    last = last.clamp(max=sums.shape[1] - 1)
    place = torch.rand_like(sums[:, :1]) * sums.gather(1, last)
    drawn = torch.searchsorted(sums, place, right=True).minimum(last)
    return order.gather(1, drawn)[:, 0]


@torch.inference_mode()
def draw(
    network: LevelNetwork,
    condition: Tensor,
    upper: Tensor | None,
    count: int,
    window: int,
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return `count` codes (B, N), drawn one after another.

    `condition` (G, L, M) has at least ceil(count / patch) positions. `upper` (G, L') are the codes
    of the level above. `window` is the length of a window in positions, at least 2. `choose` maps
    the logits (G, K) of a code to codes (B,).
    """
    patch, total = network.patch, -(-count // network.patch)
    condition = network.conditioned(condition, upper)
    codes: list[Tensor] = []
    start = 0
    while len(codes) < total * patch:
        stop = min(start + window, total)
        begin = torch.stack(codes[start * patch :], 1) if codes else None
        codes += window_codes(network, condition[:, start:stop], begin, choose)
        start = stop - window // 2
    return torch.stack(codes[:count], 1)


def window_codes(
    network: LevelNetwork,
    condition: Tensor,
    begin: Tensor | None,
    choose: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Return the codes (B,) of the positions of a window that follow `begin` (B, N)."""
    rows, length, _ = condition.shape
    patch, reach, transformer = network.patch, network.reach, network.transformer
    table, weight = network.codes(), network.logits()
    modulations, turns = transformer.modulations(condition), transformer.turns(length)
    cache = transformer.cache(rows, length)
    # The vectors of all codes, after those of the start; the rows of guidance share the codes.
    vectors = network.start.repeat(rows, reach + length * patch, 1)
    known = 0 if begin is None else begin.shape[1]
    if begin is not None:
        vectors[:, reach : reach + known] = shared(F.embedding(begin, table), rows)
    found: list[Tensor] = []
    for position in range(known // patch, length):
        first = cache.length
        old = vectors[:, reach + max(first - 1, 0) * patch : reach + position * patch]
        new = slice(first, position + 1)
        x = network.inputs(old, condition[:, new], first=first == 0)
        x = transformer(x, [m[:, new] for m in modulations], turns[:, new], cache)
        unfolded = network.unfolded(x[:, -1:])
        for inner in range(patch):
            at = reach + position * patch + inner
            recent = vectors[:, at - reach : at].flatten(1)
            code = choose(network.local_logits(unfolded[:, inner], recent, weight))
            vectors[:, at] = shared(F.embedding(code, table), rows)
            found.append(code)
    return found


def shared(vectors: Tensor, rows: int) -> Tensor:
    """Return vectors (B, …) for all rows (G, …)."""
    return vectors if len(vectors) == rows else torch.cat([vectors, vectors])
