"""Stream batches of segments from shards, in a random order that can be resumed exactly.

The order of an epoch depends only on (seed, epoch), the sizes of the shards, and the weights of the
data sets: a permutation of each data set's shards, then a shuffle buffer. It is planned before
anything is read, so that each worker reads only the segments of its own batches. A position (epoch,
number of batches taken) is enough to continue exactly where a run stopped.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model.data.reader import Raw
from model.data.source import Batch, Segments, Source, batch_of
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


class Passes:
    """Endless passes over one source, each in an order of its own, and a process's part of them.

    An item is a segment's place in this sequence: item i belongs to pass i // share. `number` tells
    the sources of one training apart; it is part of what the order depends on.

    In distributed training with n processes, a pass's sequence of shards is cut into n parts of
    equal length, and each process shuffles its own part. Both neighbours read a shard that is cut.
    """

    def __init__(
        self, source: Source, number: int, seed: int, capacity: int, rank: int, processes: int
    ) -> None:
        self.source, self.capacity, self.rank = source, capacity, rank
        self.seed = (seed, number)
        self.share = source.segments // processes

    def plan(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a pass's order of shards, and the order of this process's part of it (share,).

        A place is that of a segment in the part; place 0 is the first segment of the part.
        """
        seed, source = self.seed
        rng = np.random.default_rng((seed, number, source) if source else (seed, number))
        shards = rng.permutation(len(self.source.shards))
        return shards, np.fromiter(shuffled(range(self.share), self.capacity, rng), int, self.share)

    def read(self, shards: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, Raw]]:
        """Yield (place, sample) for the `wanted` places, a mask (share,), in the stored order."""
        first = -self.rank * self.share
        for shard in map(int, shards):
            count = self.source.shards[shard].segments
            here = wanted[max(first, 0) : max(first + count, 0)]
            numbers = (np.flatnonzero(here) + max(-first, 0)).tolist()
            # This reads the pair of tars to the end, where the number of segments is checked.
            raws = self.source.raw(shard, set(numbers)) if numbers else ()
            for number, raw in zip(numbers, raws, strict=True):
                yield first + number, raw
            first += count

    def pick(self, items: np.ndarray) -> Iterator[Raw]:
        """Yield the samples of some items, given and yielded in ascending order."""
        passes, within = np.divmod(items, self.share)
        for number in np.unique(passes).tolist():
            shards, order = self.plan(number)
            places = order[within[passes == number]]
            wanted = np.zeros(self.share, bool)
            wanted[places] = True
            raws, held = self.read(shards, wanted), dict[int, Raw]()
            for place in places.tolist():
                while place not in held:
                    found, raw = next(raws)
                    held[found] = raw
                yield held.pop(place)
            for _ in raws:
                pass


class TrainingStream:
    """Endless batches from a position on. The last partial batch of an epoch is left out.

    An epoch takes the next `weight` x (number of segments) items of each source; the sources take
    turns in random order, so that each batch has a share of each. From one source, an epoch is one
    pass over it.

    Of n workers, each makes every n-th batch. Taken in turn, the batches have the same order as
    without workers.

    In distributed training all processes take equally many batches, even if the shards differ in
    size; no segment comes twice in a pass; and each process reads 1/n of the data.
    """

    def __init__(
        self, source: Segments, batch_size: int, seed: int, capacity: int, start: Position,
        rank: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        shards = sum(len(part.shards) for part in source.sources)
        if processes > shards:
            raise ValueError(
                f"{source.address}: {processes} processes, but split {source.split} has "
                f"{shards} shards; each process needs a shard of its own: start at most "
                f"{shards} processes, or train on more data"
            )
        self.counts = epoch_counts(source, processes)
        """How many items of each source an epoch takes in each process."""
        self.share = sum(self.counts)
        """How many items of all sources that is."""
        total = sum(epoch_counts(source))
        if self.share < batch_size:
            each = f", {self.share} for each of {processes} processes" if processes > 1 else ""
            raise ValueError(
                f"{source.address}: split {source.split} has {total} segments{each}, fewer "
                f"than one batch of {batch_size}; --set batch_size={self.share} or build more"
            )
        self.source, self.batch_size, self.seed, self.start = source, batch_size, seed, start
        self.processes = processes
        self.passes = [
            Passes(part, i, seed, max(1, capacity * count // self.share), rank, processes)
            for i, (part, count) in enumerate(zip(source.sources, self.counts, strict=True))
        ]
        self.batches_per_epoch = self.share // batch_size
        self.left_out = total - processes * self.batches_per_epoch * batch_size

    def after(self, position: Position) -> Position:
        """Return the position of the batch after the one at `position`."""
        if position.batch + 1 < self.batches_per_epoch:
            return Position(position.epoch, position.batch + 1)
        return Position(position.epoch + 1, 0)

    def plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the source and the item of each place in the epoch's batches: two (batches, B)."""
        turns = np.repeat(np.arange(len(self.counts)), self.counts)
        if len(self.counts) > 1:
            turns = np.random.default_rng((self.seed, epoch, len(self.counts))).permutation(turns)
        items = np.empty(self.share, int)
        for number, count in enumerate(self.counts):
            items[turns == number] = epoch * count + np.arange(count)
        used = self.batches_per_epoch * self.batch_size
        by_batch = (self.batches_per_epoch, self.batch_size)
        return turns[:used].reshape(by_batch), items[:used].reshape(by_batch)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of B segments."""
        return self.part(0, 1)

    def part(self, turn: int, turns: int) -> Iterator[Batch]:
        """Yield batch number `turn`, then every `turns`-th batch."""
        epoch, first = self.start.epoch, self.start.batch
        levels = self.source.sources[0].sizes
        while True:
            numbers, items = (x[first + turn :: turns] for x in self.plan(epoch))
            raws = [each.pick(items[numbers == i]) for i, each in enumerate(self.passes)]
            for batch in numbers.tolist():
                rows = [self.passes[i].source.row(next(raws[i])) for i in batch]
                yield batch_of(rows, levels)
            for rest in raws:
                for _ in rest:
                    pass
            turn = (turn - (self.batches_per_epoch - first)) % turns
            epoch, first = epoch + 1, 0


def epoch_counts(source: Segments, processes: int = 1) -> list[int]:
    """Return how many segments an epoch takes of each source, in each of the processes.

    Raises ValueError if a source's weight gives none.
    """
    counts = []
    for part, weight in zip(source.sources, source.weights, strict=True):
        count = round(weight * (part.segments // processes))
        if not count:
            raise ValueError(
                f"{part.root}: {part.segments} segments with a weight of {float(weight):g} give an "
                f"epoch of {processes} processes no segment each; raise the weight"
            )
        counts.append(count)
    return counts


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
