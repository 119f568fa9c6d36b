"""An artificial data set to try the trainer: `write_fake_dataset(root, load_codec("demo"))`.

Motion and visual features are noise, and the music is a few tones with a beat, so results on it
say nothing about dance. The codes are that music, encoded by the given codec.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from model.codecs.base import Codec, streams_of
from model.contract.dataset import Codes, Dataset, Shard, save_dataset
from model.contract.files import atomic_file
from model.contract.segment import (
    GENRES,
    META,
    MOTION,
    SAMPLE_RATE_HZ,
    VISUAL,
    WAV,
    segment_key,
    window_samples,
)
from model.contract.shards import TarWriter, npy_bytes
from model.contract.wav import encode_wav


def write_fake_dataset(
    root: Path,
    codec: Codec,
    source: str = "demo",
    videos: dict[str, int] | None = None,
    segments: int = 4,
    window_s: str = "2",
    motion: tuple[int, int] | None = (60, 219),
    visual_windows: int | None = 1,
    segments_per_shard: int = 8,
    seed: int = 0,
    prefix: str = "",
) -> Dataset:
    """Write shards, codes and dataset.json under `root` and return what dataset.json holds.

    `source` is the name or path from which `load_codec` loaded `codec`. `videos` is the number of
    videos per split (default: 4 train, 1 val, 1 test); each has `segments` segments. `motion` is
    (fps, features), or None for no motion; `visual_windows` is None for no visual features. The
    names of videos and songs begin with `prefix`.
    """
    rng = np.random.default_rng(seed)
    samples = window_samples(window_s)
    fields: dict[str, dict] = {WAV: {"dtype": "int16", "shape": [samples]}}
    if motion is not None:
        frames = round(float(Fraction(window_s)) * motion[0])
        fields[MOTION] = {
            "dtype": "float32", "shape": [frames, motion[1]], "fps": motion[0], "kind": "fake",
        }  # fmt: skip
    if visual_windows is not None:
        fields[VISUAL] = {"dtype": "float32", "shape": [visual_windows, 2048]}
    levels = [*codec.levels]
    codes = Codes(
        levels, source, codec.note, {}, codec.sample_rate_hz, streams_of(codec, levels, samples)
    )
    dataset = Dataset("fake", window_s, fields, {}, {}, untrained=["features: noise"])
    dataset.codecs[codec.codes_id] = codes
    for split, count in (videos or {"train": 4, "val": 1, "test": 1}).items():
        rows = [(f"{prefix}{split}{v}", s) for v in range(count) for s in range(1, segments + 1)]
        shards = dataset.splits.setdefault(split, [])
        code_shards = codes.splits.setdefault(split, [])
        for start in range(0, len(rows), segments_per_shard):
            name = f"{split}-{len(shards):06d}.tar"
            part = rows[start : start + segments_per_shard]
            entries: list[tuple[str, bytes]] = []
            code_entries: list[tuple[str, bytes]] = []
            for video_id, index in part:
                key = segment_key(video_id, index)
                wav, _ = encode_wav(tones(rng, samples))
                entries.append((f"{key}.{WAV}", wav))
                for suffix in (MOTION, VISUAL):
                    if suffix in fields:
                        noise = rng.standard_normal(fields[suffix]["shape"], np.float32)
                        entries.append((f"{key}.{suffix}", npy_bytes(noise)))
                meta = {
                    "video_id": video_id, "segment": index, "split": split,
                    "start_s": (index - 1) * float(Fraction(window_s)), "song": f"{video_id}-song",
                    "genre": GENRES[len(video_id) % len(GENRES)], "dancers": 1, "source": "",
                    "padded_ms": 0, "gain": 1.0, "untrained": dataset.untrained,
                }  # fmt: skip
                entries.append((f"{key}.{META}", json.dumps(meta).encode()))
                pcm = np.frombuffer(wav[44:], "<i2").astype(np.float32) / 32768
                for level in levels:
                    found = codec.encode(torch.from_numpy(pcm)[None], level)[0]
                    array = found.cpu().numpy().astype(np.uint16)
                    code_entries.append((f"{key}.{codes.streams[level].suffix}", npy_bytes(array)))
            shards.append(write_tar(root / name, entries, len(part)))
            code_shards.append(
                write_tar(root / "codes" / codec.codes_id / name, code_entries, len(part))
            )
    save_dataset(root, dataset)
    return dataset


def tones(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Return (N,) samples within +- 0.8: a random chord with a beat of random tempo."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    beat_s = 60 / rng.uniform(90, 140)
    pitches_hz = 110 * 2 ** (rng.choice(24, 3, replace=False) / 12)
    chord = np.sin(2 * np.pi * pitches_hz[:, None] * time_s + rng.uniform(0, 6, (3, 1))).mean(0)
    pulse = np.exp(-((time_s + rng.uniform(0, beat_s)) % beat_s) * 12)
    return 0.4 * chord * (0.3 + pulse) + 0.2 * pulse * np.sin(2 * np.pi * 60 * time_s)


def write_tar(path: Path, entries: list[tuple[str, bytes]], segments: int) -> Shard:
    """Write members in the given order, as in real shards; return the entry for dataset.json."""
    with atomic_file(path) as file:
        writer = TarWriter(file)
        for name, data in entries:
            writer.add_member(name, data)
        return replace(writer.finish(path.name), segments=segments)
