"""Music to train the codec on, from a folder of files or from a data set's shards.

All music is held in memory as PCM16 (44 kB per second). Crops depend only on (seed, step), so that
a resumed run gets the same crops as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from model.contract.dataset import Dataset, load_dataset
from model.contract.segment import PEAK, SAMPLE_RATE_HZ, WAV, split_key
from model.contract.storage import Location
from model.contract.wav import decode_pcm
from model.data.music_files import SUFFIXES, music_files, read_music
from model.data.reader import read_tar

Item = TypeVar("Item")

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
GAIN_MIN, SILENCE = 0.3, 1e-3
HOLD_OUT_EVERY = 20


@dataclass(frozen=True)
class Corpus:
    """Items of music (N,) int16 at 22 050 Hz; `held_out` is never used for training."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]

    def batch(self, seed: int, step: int, items: int, samples: int) -> np.ndarray:
        """Return the crops (items, samples) float32 of a step.

        The two seconds around a crop are scaled to a peak of 0.95, as in the shards; then a random
        gain of 0.3 to 1 is applied.
        """
        rng = np.random.default_rng([seed, step])
        lengths = np.array([len(item) for item in self.train], dtype=np.float64)
        chosen = rng.choice(len(self.train), items, p=lengths / lengths.sum())
        crops = [_crop(self.train[i], samples, rng) for i in chosen]
        gains = rng.uniform(GAIN_MIN, 1, (items, 1)).astype(np.float32)
        return np.stack(crops) * gains


def _crop(item: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    length = max(samples, SEGMENT_SAMPLES)
    first = int(rng.integers(0, max(1, len(item) - length + 1)))
    segment = item[first : first + length].astype(np.float32) / 32768
    start = int(rng.integers(0, len(segment) - samples + 1))
    return normalised(segment)[start : start + samples]


def normalised(segment: np.ndarray) -> np.ndarray:
    """Return the segment scaled to a peak of 0.95; silence stays unchanged."""
    peak = float(np.abs(segment).max())
    return segment * (PEAK / peak) if peak > SILENCE else segment


def check_music(audio: Path | None, shards: Location | None) -> None:
    """Raise the error of reading `audio` or `shards` if there is no music; report the hold-out."""
    if audio is not None:
        enough_files(audio)
    elif shards is not None and not held_out_split(load_dataset(shards)):
        print(f"{shards}: splits val and test are empty: every 20th video of train is held out")


def enough_files(folder: Path) -> list[Path]:
    """Return the music files below `folder`; ValueError for fewer than two."""
    paths = music_files(folder, "--audio")
    if len(paths) < 2:
        raise ValueError(
            f"{folder}: found {len(paths)} music files ({', '.join(SUFFIXES)}); "
            "expected at least 2: one to train on and one held out"
        )
    return paths


def held_out_split(dataset: Dataset) -> str:
    """Return the held-out split: val, else test, or "" if both are empty."""
    return next((split for split in ("val", "test") if dataset.segments(split)), "")


def held_out_of(items: Sequence[Item]) -> set[Item]:
    """Return every 20th of at least two items, or the last one if there are fewer than 20."""
    every = min(HOLD_OUT_EVERY, len(items))
    return set(items[every - 1 :: every])


def read_folder(folder: Path, samples: int) -> Corpus:
    """Read every music file below `folder`; every 20th, or the last one, is held out.

    Raises ValueError if a file cannot be read or is shorter than `samples`, or if there are fewer
    than two files; FileNotFoundError if the folder is missing.
    """
    paths = enough_files(folder)
    held_out = held_out_of(paths)
    train: list[np.ndarray] = []
    held: list[np.ndarray] = []
    for path in paths:
        audio = read_music(path, "remove it")
        (held if path in held_out else train).append(_item(audio, samples, str(path)))
    return Corpus(train, held)


def read_shards(root: Location, samples: int) -> Corpus:
    """Read the music of a data set: the train split for training; val (or test) is held out.

    If both are empty, every 20th video of train, or the last one, is held out. Raises ValueError if
    there is no music, or a segment is shorter than `samples`.
    """
    dataset = load_dataset(root)
    train = list(_read_split(root, dataset, "train", samples))
    if not train:
        raise ValueError(f"{root}: split 'train' has no music; expected at least one segment")
    if split := held_out_split(dataset):
        held = [pcm for _, pcm in _read_split(root, dataset, split, samples)]
        return Corpus([pcm for _, pcm in train], held)
    videos = list(dict.fromkeys(video_id for video_id, _ in train))
    if len(videos) < 2:
        raise ValueError(
            f"{root}: one video in split 'train', and val and test are empty; expected at least 2: "
            "one to train on and one held out"
        )
    held_out = held_out_of(videos)
    return Corpus(
        [pcm for video_id, pcm in train if video_id not in held_out],
        [pcm for video_id, pcm in train if video_id in held_out],
    )


def _read_split(
    root: Location, dataset: Dataset, split: str, samples: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield video id and music (N,) int16 of each segment."""
    for shard in dataset.splits.get(split, []):
        path = root / shard.name
        for raw in read_tar(path):
            name = f"{path}: {raw['__key__']}.{WAV}"
            if WAV not in raw:
                raise ValueError(f"{name}: missing; build the shards again")
            pcm = decode_pcm(raw[WAV], name)
            _check_length(len(pcm), samples, name)
            yield split_key(raw["__key__"])[0], pcm


def _item(audio: np.ndarray, samples: int, name: str) -> np.ndarray:
    _check_length(len(audio), samples, name)
    return np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)


def _check_length(found: int, samples: int, name: str) -> None:
    if found < samples:
        raise ValueError(f"{name}: {found} samples; expected at least {samples}, as a crop has")
