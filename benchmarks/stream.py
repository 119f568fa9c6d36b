"""How fast one process reads, checks, decodes and collates segments from warm files.

Without workers the process that trains does it; with one worker a process of its own, which also
hands the batches over. Rates are per second of the clock and, for machines that do something else
besides, per second of processor time of the process that reads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from model.codecs.jukebox import random_codec
from model.contract.dataset import load_dataset
from model.contract.storage import Location, to_location
from model.contract.terminal import print_anything
from model.data.source import Source
from model.data.stream import Position, TrainingStream, training_batches
from model.fake_dataset import write_fake_dataset

WARM_BATCHES = 70


def main() -> None:
    """Print segments per second, in this process and in one worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=place, help="default: made up, at the shapes of AIST++")
    parser.add_argument("--segments", type=int, default=768, help="to make up")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--shuffle", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = arguments.shards or made_up(Path(folder), arguments.segments)
        for workers in (0, 1):
            rates = [measure(root, arguments, workers) for _ in range(arguments.repeats)]
            clock, processor = (statistics.median(column) for column in zip(*rates, strict=True))
            best = max(rate for rate, _ in rates)
            who = "in one worker" if workers else "without workers"
            print(
                f"{who}: {clock:.0f} segments/s by the clock (best {best:.0f}), "
                f"{processor:.0f} per second of processor time"
            )


def made_up(root: Path, segments: int) -> Path:
    """Write segments of 2 s: motion (120, 219), visual (1, 2048), codes of the high level."""
    codec = random_codec(levels=("high",))
    videos = {"train": -(-segments // 12)}
    write_fake_dataset(root, codec, videos=videos, segments=12, segments_per_shard=256)
    return root


def measure(root: Location, arguments: argparse.Namespace, workers: int) -> tuple[float, float]:
    """Return segments per second of the clock and of processor time, from warm files."""
    dataset = load_dataset(root)
    (codec_id,) = dataset.codecs
    source = Source(root, dataset, "train", codec_id, "high", 2**16)
    stream = TrainingStream(source, arguments.batch_size, 0, arguments.shuffle, Position())
    counted = 0
    with closing(training_batches(stream, workers, pin=False)) as batches:
        for _ in range(WARM_BATCHES):
            next(batches)
        pid = multiprocessing.active_children()[0].pid if workers else os.getpid()
        before_s, began_s = processor_s(pid), time.perf_counter()
        while (clock_s := time.perf_counter() - began_s) < arguments.seconds:
            counted += len(next(batches))
        return counted / clock_s, counted / (processor_s(pid) - before_s)


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    user, system = (
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    )
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print_anything()
    main()
