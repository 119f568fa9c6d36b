"""Notes for the segments of any shard folder, as `pipeline notes` would store them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.contract.dataset import Notes, load_dataset, save_dataset
from model.contract.notes import DRUM_PROGRAM, NOTES
from model.contract.shards import npy_bytes, read_shard, write_shard


def toy_notes(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Return a few notes of a window, float32 (N, 7), some of drums; none if `seed` is 0."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 9)) if seed else 0
    notes = np.zeros((count, 7), np.float32)
    notes[:, 0] = np.sort(rng.uniform(0, seconds - 0.1, count))
    notes[:, 1] = 0.2
    notes[:, 2] = rng.integers(36, 72, count)
    notes[:, 3] = rng.integers(40, 120, count)
    notes[:, 5] = rng.integers(0, 4, count)
    notes[:, 4] = np.where(notes[:, 5] == 0, DRUM_PROGRAM, 8 * notes[:, 5])
    notes[:, 6] = -1
    return notes


def add_toy_notes(root: Path, notes_id: str = "synthetic") -> dict[str, np.ndarray]:
    """Write notes for every segment of a shard folder, and return them by key.

    The first segment of each shard has none.
    """
    dataset = load_dataset(root)
    entry = Notes(notes_id, "toy notes")
    made: dict[str, np.ndarray] = {}
    for split, shards in dataset.splits.items():
        for shard in shards:
            keys = [key for key, _ in read_shard(root / shard.name)]
            made |= {key: toy_notes(seed, dataset.seconds) for seed, key in enumerate(keys)}
            rows = [(key, {NOTES: npy_bytes(made[key])}) for key in keys]
            written = write_shard(root / "notes" / notes_id / shard.name, rows)
            entry.splits.setdefault(split, []).append(written)
    dataset.notes[notes_id] = entry
    save_dataset(root, dataset)
    return made
