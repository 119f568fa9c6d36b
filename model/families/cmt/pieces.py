"""Clips as pieces of music on a grid, and batches of their words to learn from.

Symbols: B batch, W words, N notes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.families.cmt.grid import BASS, DRUMS, FAMILIES, Grid, grid_of_steps, to_grid
from model.families.cmt.tempo import track
from model.families.cmt.words import BAR, BEAT, COLUMNS, TICK, end_word, to_words
from model.families.notes.clips import NoteClip

ENVELOPE_FPS = 100.0
"""The rate at which beats are tracked in notes."""


def grid_of_notes(notes: np.ndarray, seconds: float) -> Grid:
    """Return the grid of notes (N, 7): their known steps, or beats tracked in their loudness."""
    if len(notes) and notes[:, 6].min() >= 0:
        return grid_of_steps(notes, seconds)
    envelope = np.zeros(round(seconds * ENVELOPE_FPS) + 1)
    at = np.clip(np.round(notes[:, 0] * ENVELOPE_FPS).astype(int), 0, len(envelope) - 1)
    np.add.at(envelope, at, notes[:, 3])
    return track(np.convolve(envelope, np.hanning(9), "same"), ENVELOPE_FPS, seconds)


def piece_of(clip: NoteClip, grid: Grid | None = None) -> tuple[np.ndarray, int]:
    """Return the notes of a clip on a grid (N, 4), their own if none is given, and its end tick."""
    assert clip.notes is not None, "this clip has no notes to learn from"
    grid = grid or grid_of_notes(clip.notes, clip.seconds)
    end = max(1, grid.span(clip.seconds)[1])
    rows = to_grid(clip.notes, grid)
    return rows[rows[:, 0] < end], end


def varied(
    rows: np.ndarray, rng: np.random.Generator, transpose: int, drop_instruments: float
) -> np.ndarray:
    """Return notes (M, 4) in another key, by up to `transpose` semitones, and maybe with less
    instruments: all but a random set, with the probability `drop_instruments`."""
    rows = rows.copy()
    pitched = rows[:, 1] != DRUMS
    if pitched.any():
        low, high = rows[pitched, 2].min(), rows[pitched, 2].max()
        by = int(rng.integers(-transpose, transpose + 1))
        rows[pitched, 2] += np.clip(by, -low, 127 - high)
    families = np.unique(rows[:, 1])
    if len(families) > 1 and rng.random() < drop_instruments:
        kept = rng.permutation(families)[: int(rng.integers(1, len(families)))]
        rows = rows[np.isin(rows[:, 1], kept)]
    return rows


def part_of(words: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return at most `most` of the words (W, 9) of a piece, from a random bar whose tick is 0."""
    bars = np.flatnonzero(words[:, BEAT] == BAR)
    starts = bars[bars <= max(0, len(words) - most)]
    start = int(rng.choice(starts))
    part = words[start : start + most].copy()
    part[:, TICK] -= part[0, TICK]
    return part


def batch(
    pieces: Sequence[tuple[np.ndarray, int]], most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return words (B, W, 9), which of them are known (B, W), and who plays (B, 5).

    A piece of fewer words ends with EOS, and is padded.
    """
    parts, plays = [], np.zeros((len(pieces), len(FAMILIES)), bool)
    for i, (rows, end) in enumerate(pieces):
        plays[i, rows[:, 1]] = True
        parts.append(part_of(np.vstack([to_words(rows, end), end_word()]), most, rng))
    length = max(len(part) for part in parts)
    words = np.zeros((len(parts), length, len(COLUMNS)), np.int64)
    known = np.zeros((len(parts), length), bool)
    for i, part in enumerate(parts):
        words[i, : len(part)], known[i, : len(part)] = part, True
    return words, known, plays


def melodic(families: np.ndarray) -> np.ndarray:
    """Return which of `families` (5,) bool play chords or melodies."""
    found = families.copy()
    found[[DRUMS, BASS]] = False
    return found
