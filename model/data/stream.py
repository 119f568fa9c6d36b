"""Stream batches of segments from shards, in a random order that can be resumed exactly.

The order of an epoch depends only on (seed, epoch) and the sizes of the shards: a permutation of
the shards, then a shuffle buffer. It is planned before anything is read, so that each worker reads
only the segments of its own batches. A position (epoch, number of batches taken) is enough to
continue exactly where a run stopped.
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
    """A position in a stream: the next batch is number `batch` of `epoch`, both from 0."""

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

    Of n workers, each makes every n-th batch. Taken in turn, the batches have the same order as
    without workers.

    In distributed training with n processes, the sequence of the epoch's shards is cut into n
    parts of equal length, and each process shuffles its own part. Therefore all processes take
    equally many batches, even if the shards differ in size; no segment comes twice in an epoch; and
    each process reads 1/n of the data. Both neighbours read a shard that is cut.
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, capacity: int, start: Position,
        rank: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        shards = source.dataset.splits[source.split]
        if processes > len(shards):
            raise ValueError(
                f"{source.root}: {processes} processes, but split {source.split} has "
                f"{len(shards)} shards; each process needs a shard of its own: start at most "
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
        """Return the epoch's order of shards, and this process's batches (batches, B).

        A batch holds places in the process's part; place 0 is the first segment of the part.
        """
        rng = np.random.default_rng((self.seed, epoch))
        shards = rng.permutation(len(self.source.dataset.splits[self.source.split]))
        places = np.fromiter(shuffled(range(self.share), self.capacity, rng), int, self.share)
        used = self.batches_per_epoch * self.batch_size
        return shards, places[:used].reshape(-1, self.batch_size)

    def read(self, shards: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, Raw]]:
        """Yield (place, sample) for the `wanted` places, a mask (share,), in the stored order."""
        first = -self.rank * self.share
        for shard in map(int, shards):
            count = self.source.dataset.splits[self.source.split][shard].segments
            here = wanted[max(first, 0) : max(first + count, 0)]
            numbers = (np.flatnonzero(here) + max(-first, 0)).tolist()
            # This reads the pair of tars to the end, where the number of segments is checked.
            raws = self.source.raw(shard, set(numbers)) if numbers else ()
            for number, raw in zip(numbers, raws, strict=True):
                yield first + number, raw
            first += count

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of B segments."""
        return self.part(0, 1)

    def part(self, turn: int, turns: int) -> Iterator[Batch]:
        """Yield batch number `turn`, then every `turns`-th batch."""
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
    """Yield the stream's batches, decoded by `workers` processes (0: by this process).

    Raises ValueError or OSError, with the file, if the shards differ from dataset.json, and OSError
    if a worker dies, or makes no batch and stays idle for `timeout_s`.
    """
    if workers:
        yield from in_turn(stream.part, workers, timeout_s, Batch.pin_memory if pin else None)
    for batch in stream:
        yield batch.pin_memory() if pin else batch
