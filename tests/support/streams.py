"""Streams of a data set, and shards whose members a test takes out and puts back."""

import itertools
import tarfile
from pathlib import Path

import torch

from model.contract.dataset import load_dataset
from model.contract.storage import Location
from model.data.source import Batch, Source, spread_batches
from model.data.stream import Position, TrainingStream, training_batches
from model.fake_dataset import write_tar


def source_of(root: Location, codec, split: str = "train", level: str = "high") -> Source:
    return Source(root, load_dataset(root), split, codec.id, {level: codec.level(level).size})


def keys_of(stream: TrainingStream, count: int, workers: int = 0) -> list[list[str]]:
    return [b.keys for b in itertools.islice(training_batches(stream, workers, False), count)]


def stream_of(source: Source, start: Position = Position(), seed: int = 0) -> TrainingStream:  # noqa: B008
    return TrainingStream(source, 4, seed, 6, start)


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]


def rewrite(path: Path, entries: list[tuple[str, bytes]]) -> None:
    write_tar(path, entries, 0)


def read_all(root: Path, codec) -> None:
    for _ in spread_batches(source_of(root, codec), 4, 100):
        pass


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    return [batch.audio, *batch.codes.values(), *batch.inputs.values()]
