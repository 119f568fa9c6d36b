"""Stream segments from shards: pairs of tars read strictly, in an order that can be resumed.

The order of an epoch follows from (seed, epoch) and the shards' sizes alone: a permutation of the
shards, then a shuffle buffer. It is planned before anything is read, so that each worker reads only
the segments of its own batches, and a position (epoch, batches taken) is enough to go on exactly
where a run stopped.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model.data.reader import Raw
from model.data.source import Batch, Source
from model.data.workers import in_turn

Item = TypeVar("Item")


@dataclass(frozen=True)
class Position:
    """Where a stream stands: the next batch to give is number `batch` of `epoch`, both from 0."""

    epoch: int = 0
    batch: int = 0


def shuffled(items: Iterable[Item], capacity: int, rng: np.random.Generator) -> Iterator[Item]:
    """Yield items in random order through a buffer of `capacity`."""
    held: list[Item] = []
    for item in items:
        if len(held) < capacity:
            held.append(item)
            continue
        i = int(rng.integers(capacity))
        yield held[i]
        held[i] = item
    for i in rng.permutation(len(held)):
        yield held[i]


class TrainingStream:
    """Endless batches from a position on. The last partial batch of an epoch is left out.

    With workers, each takes every n-th batch, so that their turns give the same order as none.

    With several processes the epoch's shards, in their order, are cut into as many equal parts,
    and each process shuffles a part of its own. So all take equally many batches, however unequal
    the shards; no segment comes twice in an epoch; and a process reads the n-th part of the data
    (a shard that a cut goes through is opened by both sides).
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, capacity: int, start: Position,
        rank: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        shards = source.dataset.splits[source.split]
        if processes > len(shards):
            raise ValueError(
                f"{source.root}: {processes} processes, but split {source.split} has "
                f"{len(shards)} shards; each process reads shards of its own: start at most "
                f"{len(shards)} processes, or train on more data"
            )
        self.share = source.segments // processes
        if self.share < batch_size:
            each = f", {self.share} for each of {processes} processes" if processes > 1 else ""
            raise ValueError(
                f"{source.root}: split {source.split} has {source.segments} segments{each}, fewer "
                f"than one batch of {batch_size}; --set batch_size={self.share} or build more"
            )
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.capacity, self.start = capacity, start
        self.rank, self.processes = rank, processes
        self.batches_per_epoch = self.share // batch_size
        self.left_out = source.segments - processes * self.batches_per_epoch * batch_size

    def after(self, position: Position) -> Position:
        """Return the position of the batch after the one at `position`."""
        if position.batch + 1 < self.batches_per_epoch:
            return Position(position.epoch, position.batch + 1)
        return Position(position.epoch + 1, 0)

    def plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the epoch's order of shards, and this process' batches (batches, B).

        A batch holds places in its process' part: place 0 is the first segment of the part.
        """
        rng = np.random.default_rng((self.seed, epoch))
        shards = rng.permutation(len(self.source.dataset.splits[self.source.split]))
        places = np.fromiter(shuffled(range(self.share), self.capacity, rng), int, self.share)
        used = self.batches_per_epoch * self.batch_size
        return shards, places[:used].reshape(-1, self.batch_size)

    def read(self, shards: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, Raw]]:
        """Yield (place, sample) of the `wanted` (share,) places, in the order they are stored."""
        first = -self.rank * self.share
        for shard in map(int, shards):
            count = self.source.dataset.splits[self.source.split][shard].segments
            here = wanted[max(first, 0) : max(first + count, 0)]
            numbers = (np.flatnonzero(here) + max(-first, 0)).tolist()
            # Reads the pair of tars to its end, where counts are checked.
            raws = self.source.raw(shard, set(numbers)) if numbers else ()
            for number, raw in zip(numbers, raws, strict=True):
                yield first + number, raw
            first += count

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of B segments."""
        return self.part(0, 1)

    def part(self, turn: int, turns: int) -> Iterator[Batch]:
        """Yield batch number `turn` and each `turns`-th after it."""
        epoch, first = self.start.epoch, self.start.batch
        while True:
            shards, batches = self.plan(epoch)
            mine = batches[first + turn :: turns]
            wanted = np.zeros(self.share, bool)
            wanted[mine] = True
            raws, held = self.read(shards, wanted), dict[int, Raw]()
            for places in mine.tolist():
                while not all(place in held for place in places):
                    place, raw = next(raws)
                    held[place] = raw
                yield self.source.collate([held.pop(place) for place in places])
            for _ in raws:
                pass
            turn = (turn - len(batches[first:])) % turns
            epoch, first = epoch + 1, 0


def training_batches(
    stream: TrainingStream, workers: int, pin: bool, timeout_s: float = 60.0
) -> Generator[Batch, None, None]:
    """Iterate over the stream's batches of B segments, decoding in `workers` processes (0: here).

    Raises ValueError and OSError, naming the file, where the shards are not as dataset.json says,
    and OSError where a worker dies, or gives no batch and does nothing for `timeout_s`.
    """
    if workers:
        yield from in_turn(stream.part, workers, timeout_s, Batch.pin_memory if pin else None)
    for batch in stream:
        yield batch.pin_memory() if pin else batch
