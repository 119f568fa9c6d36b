"""Extract the codes of many segments: are both cores busy, does memory stay flat?

Makes shards of synthetic songs (sound only), extracts codes with the Ray engine and watches the
machine meanwhile: the share of all cores in use, and the resident memory of the workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray

from model.contract.dataset import Dataset, save_dataset
from model.contract.segment import META, WAV, segment_key
from model.contract.shards import json_bytes, write_shard
from model.contract.terminal import print_anything
from model.contract.wav import wav_bytes
from pipeline.engine.ray import RayEngine
from pipeline.features.codes import extract_codes
from pipeline.sources.synthetic.music import compose

PER_VIDEO, PER_SHARD = 5, 256
EVERY_S, START_S = 0.5, 10.0
"""How often the machine is looked at, and how long workers may take to import and load."""


def main() -> None:
    """Print rate, busy share and memory of the codec stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", default="demo")
    parser.add_argument("--segments", type=int, default=1000)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        write_songs(Path(folder), arguments.segments)
        ray.init(address="local", include_dashboard=False, logging_level="ERROR")
        with PersonCollector() as watch:
            extract_codes(Path(folder), arguments.codec, engine=RayEngine())
        ray.shutdown()
    steady = watch.rows[round(START_S / EVERY_S) : -1]
    memory = [memory_mb for _, memory_mb in steady]
    print(
        f"{arguments.segments} segments of 2 s, both levels, in {watch.seconds:.0f} s: "
        f"{2 * arguments.segments / watch.seconds:.0f} s of sound a second"
    )
    print(f"cores busy: median {statistics.median(busy for busy, _ in steady):.0%}")
    print(f"workers' memory: {memory[0]:.0f} MB early, {memory[-1]:.0f} MB late")


def write_songs(root: Path, segments: int) -> None:
    """Write shards with the sound of synthetic songs and nothing else."""
    songs = [compose(f"m{genre}{i}", 0) for genre in ("BR", "HO", "JB", "KR") for i in range(4)]
    sounds = []
    for song in songs:
        samples, _ = song.excerpt(0.0, 28.0)
        step = song.sample_rate_hz // 22050
        mono = samples.reshape(len(samples), -1).mean(1)[::step]
        sounds += [mono[at : at + 44100] for at in range(0, len(mono) - 44100, 22050)]
    keys = [segment_key(f"v{i // PER_VIDEO}", i % PER_VIDEO + 1) for i in range(segments)]
    shards = []
    for first in range(0, segments, PER_SHARD):
        rows = (
            (
                keys[i],
                {WAV: wav_bytes(np.roll(_pcm(sounds[i % len(sounds)]), i)), META: json_bytes({})},
            )
            for i in range(first, min(first + PER_SHARD, segments))
        )
        shards.append(write_shard(root / f"train-{first // PER_SHARD:06d}.tar", rows))
    fields = {WAV: {"dtype": "int16", "shape": [44100]}}
    save_dataset(root, Dataset("songs", "2", fields, {}, {"train": shards}))


class PersonCollector:
    """Samples /proc twice a second: share of the cores in use, memory of Ray's workers."""

    def __enter__(self) -> PersonCollector:
        self.rows: list[tuple[float, float]] = []
        self._stop, self._began_s = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began_s
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        before = _cpu_ticks()
        while not self._stop.wait(EVERY_S):
            after = _cpu_ticks()
            idle, total = (b - a for a, b in zip(before, after, strict=True))
            self.rows.append((1 - idle / max(total, 1), _workers_mb()))
            before = after


def _pcm(sound: np.ndarray) -> np.ndarray:
    return np.round(0.95 * 32767 * sound / np.abs(sound).max()).astype(np.int16)


def _cpu_ticks() -> tuple[int, int]:
    ticks = [
        int(word)
        for word in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    ]
    return ticks[3] + ticks[4], sum(ticks)


def _workers_mb() -> float:
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::Runner" in (folder / "cmdline").read_bytes():
                pages += int((folder / "statm").read_text(encoding="utf-8").split()[1])
        except OSError:
            continue  # it ended meanwhile
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    print_anything()
    main()
