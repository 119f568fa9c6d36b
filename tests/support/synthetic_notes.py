"""The notes of synthetic songs without their sound, which is what takes time."""

from __future__ import annotations

import numpy as np

from pipeline.sources.synthetic.notes import note_array
from pipeline.sources.synthetic.score import write_score
from pipeline.sources.synthetic.styles import STYLES


def song_notes(genre: str, seed: int, tempo_bpm: float, seconds: float = 16.0) -> np.ndarray:
    """Return the notes (N, 7) of a song in a genre's style."""
    rng, beat_s = np.random.default_rng(seed), 60 / tempo_bpm
    start_s = float(rng.uniform(0.05, beat_s / 2))
    return note_array(write_score(STYLES[genre], rng, start_s, beat_s, seconds))


def cut(notes: np.ndarray, start_s: float, seconds: float) -> np.ndarray:
    """Return the notes that begin in [start, start + seconds), in seconds from start."""
    notes = notes[(notes[:, 0] >= start_s) & (notes[:, 0] < start_s + seconds)].copy()
    notes[:, 0] -= start_s
    return notes
