"""Draw codes from a level's network: guidance, temperature, top-p, and windows for any length.

A network is trained on segments. A longer piece is drawn in windows as long as a segment: each
begins with the last half of its predecessor's codes and continues them. Every code is thus drawn
from the network's distribution given its window so far, and there is no seam between windows. Keys
and values are held for one window, whatever the length of the piece.

Symbols: B batch, G rows (B, or 2 B with guidance), L positions, N codes, K entries, M width of the
condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.families.notes.nucleus import nucleus
from model.families.tokens.level import LevelNetwork
from model.families.tokens.on_cpu import LevelArrays


@dataclass(frozen=True)
class Sampler:
    """Draws codes (B,) from their logits (G, K): see `guided` and `chosen`.

    `by_numpy` does the same in NumPy, which is faster on a CPU for the few rows of a position.
    """

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

    def by_numpy(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.guides:
            logits, without = np.split(logits, 2)
            logits = without + np.float32(self.guidance) * (logits - without)
        return np.array([nucleus(row, self.top_p, self.temperature, rng) for row in logits])


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
    choose: Sampler,
) -> Tensor:
    """Return `count` codes (B, N), drawn one after another.

    `condition` (G, L, M) has at least ceil(count / patch) positions. `upper` (G, L') are the codes
    of the level above. `window` is the length of a window in positions, at least 2.
    """
    patch, total = network.patch, -(-count // network.patch)
    condition = network.conditioned(condition, upper)
    kind = Drawer if condition.is_cuda else CpuDrawer
    drawer = kind(network, len(condition), min(window, total), choose)
    codes: list[Tensor] = []
    start = known = 0
    while start + known < total:
        stop = min(start + window, total)
        begin = torch.cat(codes, 1)[:, start * patch :] if codes else None
        codes.append(drawer.window(condition[:, start:stop], begin))
        start, known = stop - window // 2, window // 2
        if stop == total:
            break
    return torch.cat(codes, 1)[:, :count]


class Drawer:
    """Draws the codes of windows, position by position, in buffers that all windows share.

    The work of a position reads where it is from a tensor, and has the same shapes everywhere. So a
    GPU records it once, as a CUDA graph, and repeats it: launching its hundreds of small kernels
    one by one would take many times as long as computing them.
    """

    def __init__(self, network: LevelNetwork, rows: int, length: int, choose: Sampler) -> None:
        device = network.start.device
        self.network, self.rows, self.choose = network, rows, choose
        patch, width = network.patch, network.code_width
        self.ahead = max(network.reach, patch)
        """How many vectors of the start come before those of the codes."""
        self.table, self.weight = network.codes(), network.logits()
        self.vectors = torch.zeros(rows, self.ahead + length * patch, width, device=device)
        self.codes = torch.zeros(0, dtype=torch.long, device=device)
        transformer = network.transformer
        self.cache, self.turns = transformer.cache(rows, length), transformer.turns(length)
        self.condition = torch.zeros(rows, length, network.condition.in_features, device=device)
        self.modulations = transformer.modulations(self.condition)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        inner = torch.arange(patch, device=device)
        self.before = inner + self.ahead - patch
        """Where the vectors of the preceding position are, at position 0."""
        back = torch.arange(network.reach, device=device) + self.ahead - network.reach
        self.places = torch.cat(
            [inner[:, None], inner[:, None] + self.ahead, inner[:, None] + back], 1
        )
        """For each code of position 0: its place, that of its vector, and of those it sees."""
        self.graph: torch.cuda.CUDAGraph | None = None

    def window(self, condition: Tensor, begin: Tensor | None) -> Tensor:
        """Return the codes (B, N) of a window's positions that follow `begin` (B, N').

        `condition` (G, L, M) is that of the window; L is at most `length`.
        """
        network, patch, length = self.network, self.network.patch, condition.shape[1]
        self.condition[:, :length] = condition
        for held, new in zip(
            self.modulations, network.transformer.modulations(condition), strict=True
        ):
            held[:, :length] = new
        self.vectors[:] = network.start
        first = 0 if begin is None else begin.shape[1] // patch
        if begin is not None:
            known = shared(F.embedding(begin, self.table), self.rows)
            self.vectors[:, self.ahead : self.ahead + first * patch] = known
            self.remember(first)
        self.position.fill_(first)
        for _ in range(first, length):
            self.advance()
        return self.codes[:, first * patch : length * patch].clone()

    def remember(self, count: int) -> None:
        """Pass the first `count` positions, whose codes are known, into the cache."""
        network, places = self.network, torch.arange(count, device=self.position.device)
        begin = self.ahead - network.patch
        old = self.vectors[:, begin : begin + count * network.patch]
        x = network.inputs(old, self.condition[:, :count])
        modulations = [each[:, :count] for each in self.modulations]
        network.transformer(x, modulations, self.turns[:, :count], self.cache, places)

    def advance(self) -> None:
        """Draw the codes of the next position."""
        if self.position.device.type != "cuda":
            self.draw_position()
        elif self.graph is None:
            self.record()
        else:
            self.graph.replay()

    def draw_position(self) -> None:
        """Draw the codes of the position that `self.position` names, and move it on."""
        network, position = self.network, self.position
        begin = position * network.patch
        old = self.vectors.index_select(1, begin + self.before)
        x = network.inputs(old, self.condition.index_select(1, position))
        modulations = [each.index_select(1, position) for each in self.modulations]
        turns = self.turns.index_select(1, position)
        x = network.transformer(x, modulations, turns, self.cache, position)
        unfolded = network.unfolded(x)
        for inner, places in enumerate((begin + self.places).unbind()):
            place, own, seen = places.split([1, 1, network.reach])
            recent = self.vectors.index_select(1, seen).flatten(1)
            code = self.choose(network.local_logits(unfolded[:, inner], recent, self.weight))
            new = shared(F.embedding(code, self.table), self.rows)
            self.vectors.index_copy_(1, own, new[:, None])
            self.codes_of(len(code)).index_copy_(1, place, code[:, None])
        position += 1

    def codes_of(self, pieces: int) -> Tensor:
        """Return the codes (B, N) of the window, of so many pieces."""
        if not len(self.codes):
            shape = pieces, self.vectors.shape[1] - self.ahead
            self.codes = torch.zeros(shape, dtype=torch.long, device=self.vectors.device)
        return self.codes

    def record(self) -> None:
        """Draw a position on a GPU, and record the work for all that follow."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is loaded lazily must not be recorded
            self.draw_position()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.draw_position()


class CpuDrawer(Drawer):
    """Draws on a CPU, where a position is computed in NumPy, in views of the same buffers."""

    def __init__(self, network: LevelNetwork, rows: int, length: int, choose: Sampler) -> None:
        super().__init__(network, rows, length, choose)
        self.arrays = LevelArrays(network, self.weight, self.cache)
        self.rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        self.changes = [
            each.view(rows, length, 4, -1).permute(1, 2, 0, 3).numpy() for each in self.modulations
        ]
        """Of each layer, the scales and shifts (L, 4, G, D) of all positions."""

    def window(self, condition: Tensor, begin: Tensor | None) -> Tensor:
        self.given = self.network.condition(condition).numpy()
        return super().window(condition, begin)

    def draw_position(self) -> None:
        position, patch, reach = int(self.position), self.network.patch, self.network.reach
        vectors, table = self.vectors.numpy(), self.table.numpy()
        first = position * patch + self.ahead
        x = self.arrays.position(
            vectors[:, first - patch : first],
            self.given[:, position],
            [each[position] for each in self.changes],
            self.turns[:, position].numpy(),
            position,
        )
        for inner in range(patch):
            at = first + inner
            logits = self.arrays.logits(x[:, inner], vectors[:, at - reach : at])
            code = self.choose.by_numpy(logits, self.rng)
            new = table[code]
            vectors[: len(new), at] = vectors[-len(new) :, at] = new
            self.codes_of(len(code)).numpy()[:, position * patch + inner] = code
        self.position += 1


def shared(vectors: Tensor, rows: int) -> Tensor:
    """Return vectors (B, …) for all rows (G, …)."""
    return vectors if len(vectors) == rows else torch.cat([vectors, vectors])
