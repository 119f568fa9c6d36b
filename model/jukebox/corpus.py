"""Music to train the codec on: from a folder of files or from a dataset's shards, held in memory.

Held as PCM16 (44 kB per second); crops are a function of (seed, step), so that a resumed run sees
what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.audio import decode_pcm
from model.data import read_tar
from model.segment import SAMPLE_RATE_HZ, WAV, load_dataset
from model.storage import Place

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
PEAK, GAIN_MIN, SILENCE = 0.95, 0.3, 1e-3
HOLD_OUT_EVERY = 20


@dataclass(frozen=True)
class Corpus:
    """Items of music (N,) int16 at 22 050 Hz; `held_out` is never trained on."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]

    def batch(self, seed: int, step: int, items: int, samples: int) -> np.ndarray:
        """Return crops (items, samples) float32 of step `step`.

        As in the shards, the two seconds around a crop peak at 0.95; then a gain of 0.3 to 1.
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
    """Return the segment scaled to a peak of 0.95; silence stays silence."""
    peak = float(np.abs(segment).max())
    return segment * (PEAK / peak) if peak > SILENCE else segment


def read_folder(folder: Path, samples: int) -> Corpus:
    """Read every music file under `folder`; each twentieth, or the last one, is held out.

    Raises ValueError where a file cannot be read, is shorter than `samples`, or none is there.
    """
    import soundfile
    import soxr

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < 2:
        raise ValueError(
            f"{folder}: found {len(paths)} music files ({', '.join(SUFFIXES)}); "
            "expected at least 2: one to train on and one held out"
        )
    items = []
    for path in paths:
        try:
            audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path}: not readable as music ({error}); remove it") from None
        audio = audio.mean(1)
        if rate_hz != SAMPLE_RATE_HZ:
            audio = soxr.resample(audio, rate_hz, SAMPLE_RATE_HZ)
        items.append(_item(audio, samples, str(path)))
    every = min(HOLD_OUT_EVERY, len(items))
    held = set(range(every - 1, len(items), every))
    train = [item for i, item in enumerate(items) if i not in held]
    return Corpus(train, [items[i] for i in sorted(held)])


def read_shards(root: Path, samples: int) -> Corpus:
    """Read the music of a dataset: its train split to train on, val (or test) held out."""
    dataset = load_dataset(root)
    held_out = "val" if dataset.segments("val") else "test"
    items: dict[str, list[np.ndarray]] = {"train": [], held_out: []}
    for split, found in items.items():
        for shard in dataset.splits.get(split, []):
            found += _read_tar(root / shard.name, samples)
        if not found:
            raise ValueError(f"{root}: split {split!r} has no music; expected at least a segment")
    return Corpus(items["train"], items[held_out])


def _read_tar(path: Place, samples: int) -> list[np.ndarray]:
    items = []
    for raw in read_tar(path):
        name = f"{path}: {raw['__key__']}.{WAV}"
        if WAV not in raw:
            raise ValueError(f"{name}: missing; build the shards again")
        pcm = decode_pcm(raw[WAV], name)
        _check_length(len(pcm), samples, name)
        items.append(pcm)
    return items


def _item(audio: np.ndarray, samples: int, name: str) -> np.ndarray:
    _check_length(len(audio), samples, name)
    return np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)


def _check_length(found: int, samples: int, name: str) -> None:
    if found < samples:
        raise ValueError(f"{name}: {found} samples; expected at least a crop's {samples}")
