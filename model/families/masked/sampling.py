"""Fill in masked codes: passes over a window, guidance, and windows for any length and any gap.

A window has the length of a segment. Its masked codes are drawn in several passes, and each pass
keeps some of the codes that it draws. A piece is filled from left to right: a long gap in windows
that begin with the half window before the first masked code, a short gap in one window around it.
Where a gap goes on after a window, the window's last codes are masked again, because nothing to
their right was known.

Symbols: B batch, G rows (B, or 2 B with guidance), L positions, N codes, K entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.families.masked.config import CONFIDENT, RANDOM
from model.families.tokens.sampling import chosen, guided

EDGE = 8
"""Positions at the end of a window that the next one draws again."""
NOISE = 4.5
"""Of the order of confident codes: Gumbel noise, less in each pass (Chang et al. 2022)."""

Predict = Callable[[Tensor, Tensor | None], Tensor]
"""Maps codes (B, N), of which some are masked, to logits (G, n, K) of the codes at (B, n), or of
all."""


@dataclass(frozen=True)
class Filler:
    """Draws the masked codes of a window; `steps` are the passes if all codes are masked."""

    steps: int = 64
    order: str = RANDOM
    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0

    @property
    def guides(self) -> bool:
        """Whether a second row without the condition is needed for each segment."""
        return self.guidance != 1

    def __call__(self, predict: Predict, codes: Tensor, mask: int) -> Tensor:
        """Return codes (B, N) without masked ones; each row has as many masked codes."""
        codes = codes.clone()
        total = int((codes[0] == mask).sum())
        passes = min(total, math.ceil(self.steps * total / codes.shape[1]))
        for i in range(passes):
            left = (codes == mask).nonzero()[:, 1].view(len(codes), -1)
            count = left.shape[1] - self.left(total, passes, i + 1)
            if self.order == RANDOM:
                # What is drawn does not decide where: only the codes to be kept are drawn.
                at = left.gather(1, torch.rand(left.shape, device=left.device).topk(count).indices)
                new = self.draw(predict(codes, at))[0]
            else:
                new, log_p = self.draw(predict(codes, left))
                noise = -torch.empty_like(log_p).exponential_().log()
                sure = log_p + NOISE * (1 - (i + 1) / passes) * noise
                best = sure.topk(count).indices
                at, new = left.gather(1, best), new.gather(1, best)
            codes.scatter_(1, at, new)
        return codes

    def left(self, total: int, passes: int, done: int) -> int:
        """Return how many of `total` codes are masked after `done` of the passes, one or more each.

        In random order the share falls linearly, as in the chain; with confident codes first, it
        falls as a cosine, so that the first passes, which know least, keep few.
        """
        if done == passes:
            return 0
        kept = total * done // passes
        if self.order == CONFIDENT:
            kept = int(total * (1 - math.cos(math.pi / 2 * done / passes)))
        return min(total - done, max(passes - done, total - kept))

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (B, n) drawn from logits (G, n, K), and their log probabilities (B, n)."""
        logits = guided(logits, self.guidance) if self.guides else logits
        batch, count, size = logits.shape
        drawn = chosen(logits.reshape(-1, size), self.temperature, self.top_p).view(batch, count)
        shares = (logits.float() / self.temperature).log_softmax(-1)
        return drawn, shares.gather(2, drawn[..., None])[..., 0]


@torch.inference_mode()
def fill(
    codes: Tensor,
    mask: int,
    patch: int,
    window: int,
    predict: Callable[[int, int], Predict],
    filler: Filler,
) -> Tensor:
    """Return codes (B, N) of a piece without masked ones; masked ones are the same in each row.

    `predict(start, stop)` returns the function that predicts the window of positions from `start`
    to `stop`; a window has `window` positions of `patch` codes, the piece's last may end early.
    """
    codes = codes.clone()
    count = codes.shape[1]
    total = -(-count // patch)
    window = min(window, total)
    edge = min(EDGE, window // 8) * patch
    while (hidden := codes[0] == mask).any():
        start = window_start(hidden, patch, window, total)
        part = slice(start * patch, min((start + window) * patch, count))
        codes[:, part] = filler(predict(start, start + window), codes[:, part], mask)
        if part.stop < count and hidden[part.stop]:
            again = hidden.clone()
            again[: part.stop - edge] = False
            again[part.stop :] = False
            codes[:, again] = mask
    return codes


def window_start(hidden: Tensor, patch: int, window: int, total: int) -> int:
    """Return the first position of the window for the first gap in a piece of `total` positions.

    `hidden` (N,) says which codes are masked; at least one is.
    """
    first = int(hidden.nonzero()[0, 0])
    known = (~hidden[first:]).nonzero()
    after = first + int(known[0, 0]) if len(known) else len(hidden)
    length = -(-after // patch) - first // patch
    before = (window - length) // 2 if 2 * length <= window else window // 2
    return min(max(first // patch - before, 0), total - window)
