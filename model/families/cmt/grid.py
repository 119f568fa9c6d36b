"""Beats as a grid of sixteenth notes, and notes on that grid.

A tick is a sixteenth note; a bar has 16 ticks, and tick 0 begins the first bar. Notes on the grid
are an int64 array (N, 4) with the columns of `GRID_COLUMNS`, sorted, without duplicates.

What the grid does not keep of notes (N, 7): velocity, swing and other deviations from the ticks,
the program (only its family stays), the track, and that two tracks of one family play the same
pitch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.contract.notes import DRUM_PROGRAM, DRUM_S, ended, tempo_of

BAR_TICKS, BEAT_TICKS = 16, 4
MAX_TICKS = 16
"""The longest note: a bar."""
FAMILIES = ("drums", "piano", "guitar", "bass", "strings")
"""The instruments of CMT. A family's index is also its track."""
DRUMS, PIANO, GUITAR, BASS, STRINGS = range(5)
PROGRAMS = (DRUM_PROGRAM, 0, 24, 33, 48)
"""The program that plays each family."""
GRID_COLUMNS = ("tick", "family", "pitch", "ticks")


@dataclass(frozen=True)
class Grid:
    """The times of beats: `beats_s` (K,), K >= 2, increasing; `first` counts beats before them.

    So `beats_s[0]` is at tick 4 * `first`. Between beats, and beyond the first and the last one,
    ticks are evenly spaced.
    """

    beats_s: np.ndarray
    first: int = 0

    @classmethod
    def steady(cls, tempo_bpm: float, start_s: float, seconds: float) -> Grid:
        """Return the grid of a constant tempo from 0 to `seconds`; a bar begins at `start_s`."""
        beat_s = 60 / tempo_bpm
        bars_before = int(np.ceil(round(start_s / (4 * beat_s), 9)))
        from_s = start_s - bars_before * 4 * beat_s
        return cls(from_s + beat_s * np.arange(max(2, int((seconds - from_s) / beat_s) + 2)))

    @property
    def tempo_bpm(self) -> float:
        return float(60 * (len(self.beats_s) - 1) / (self.beats_s[-1] - self.beats_s[0]))

    def time_of(self, ticks: np.ndarray | float) -> np.ndarray:
        """Return the times of ticks, in seconds."""
        beats = np.asarray(ticks, float) / BEAT_TICKS - self.first
        index = np.clip(np.floor(beats).astype(int), 0, len(self.beats_s) - 2)
        length = self.beats_s[index + 1] - self.beats_s[index]
        return self.beats_s[index] + (beats - index) * length

    def tick_of(self, times_s: np.ndarray | float) -> np.ndarray:
        """Return the ticks, with fractions, of times in seconds."""
        times_s = np.asarray(times_s, float)
        index = np.clip(
            np.searchsorted(self.beats_s, times_s, side="right") - 1, 0, len(self.beats_s) - 2
        )
        length = self.beats_s[index + 1] - self.beats_s[index]
        return BEAT_TICKS * (self.first + index + (times_s - self.beats_s[index]) / length)

    def span(self, seconds: float) -> tuple[int, int]:
        """Return the first tick at or after 0, and the first one at or after `seconds`."""
        first, end = (int(np.ceil(round(float(self.tick_of(at)), 6))) for at in (0.0, seconds))
        return max(0, first), max(0, end)


def grid_of_steps(notes: np.ndarray, seconds: float) -> Grid:
    """Return the grid of notes (N, 7) whose `step` is known: a line through onsets over steps.

    Tick 0 begins the bar of the first note. With a single step, the tempo is DEFAULT_BPM. Raises
    ValueError if a step is unknown (-1).
    """
    steps, onsets_s = notes[:, 6], notes[:, 0]
    if not len(notes) or steps.min() < 0:
        raise ValueError("grid_of_steps needs notes with known steps; use a grid of tracked beats")
    from_step = BAR_TICKS * (steps.min() // BAR_TICKS)
    tempo_bpm = tempo_of(notes)
    tick_s = 60 / tempo_bpm / BEAT_TICKS
    start_s = float(onsets_s.mean() - tick_s * (steps - from_step).mean())
    return Grid.steady(tempo_bpm, start_s, seconds)


def family_of(programs: np.ndarray) -> np.ndarray:
    """Return the families (N,) of General MIDI programs (N,).

    0-7 are pianos, 24-31 guitars, 32-39 basses, DRUM_PROGRAM drums, and all others strings.
    """
    programs = np.asarray(programs)
    groups = np.array([PIANO, STRINGS, STRINGS, GUITAR, BASS] + [STRINGS] * 11)
    pitched = groups[np.clip(programs.astype(int), 0, 127) // 8]
    return np.where(programs == DRUM_PROGRAM, DRUMS, pitched)


def to_grid(notes: np.ndarray, grid: Grid) -> np.ndarray:
    """Return notes (N, 7) on the grid: int64 (M, 4), M <= N.

    A note with a known `step` is at that sixteenth note of its bar, however much it swings; any
    other is at the nearest tick. Durations are rounded to 1 to MAX_TICKS ticks. Of notes with the
    same tick, family and pitch, the longest is kept. Notes before tick 0 are left out.
    """
    ticks = np.floor(grid.tick_of(notes[:, 0]) + 0.5).astype(np.int64)
    steps = notes[:, 6].astype(np.int64)
    if len(notes) and (steps >= 0).all():
        # The grid may count its bars from another one than the song does.
        bars = np.round(np.median(ticks - steps) / BAR_TICKS).astype(np.int64)
        ticks = steps + BAR_TICKS * bars
    lengths = grid.tick_of(notes[:, 0] + notes[:, 1]) - grid.tick_of(notes[:, 0])
    lengths = np.clip(np.floor(lengths + 0.5), 1, MAX_TICKS).astype(np.int64)
    rows = np.stack([ticks, family_of(notes[:, 4]), notes[:, 2].astype(np.int64), lengths], 1)
    rows = rows[rows[:, 0] >= 0]
    rows = rows[np.lexsort((-rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:, :3] != rows[:-1, :3]).any(1)
    return rows[first]


def to_notes(
    rows: np.ndarray,
    grid: Grid,
    seconds: float,
    velocities: np.ndarray | None = None,
    times_s: Mapping[int, float] | None = None,
) -> np.ndarray:
    """Return notes on the grid (N, 4) as float64 (M, 7), those that sound in [0, `seconds`).

    `velocities` (5, 128, 4) has the loudness by family, pitch and place in the beat; without it all
    are 80, as published. `times_s` are the times of ticks that are not where the grid has them. A
    note ends at the latest when its pitch is struck again. One that began before time 0 begins
    there, with what is left of it.
    """
    tick, family, pitch, length = rows.T
    onset_s, end_s = grid.time_of(tick), grid.time_of(tick + length)
    for moved, time_s in (times_s or {}).items():
        onset_s[tick == moved] = time_s
    duration_s = end_s - onset_s
    duration_s = np.where(family == DRUMS, DRUM_S, duration_s)
    velocity = np.full(len(rows), 80.0)
    if velocities is not None:
        velocity = velocities[family, pitch, tick % BEAT_TICKS]
    program = np.asarray(PROGRAMS)[family]
    notes = np.stack([onset_s, duration_s, pitch, velocity, program, family, tick], 1).astype(float)
    notes = ended(notes[onset_s < seconds])
    before_s = np.maximum(-notes[:, 0], 0)
    notes[:, :2] += np.stack([before_s, -before_s], 1)
    drums = notes[:, 4] == DRUM_PROGRAM
    notes = notes[(before_s < 1e-9) | (~drums & (notes[:, 1] > 0))]
    return notes[np.lexsort((notes[:, 2], notes[:, 5], notes[:, 0]))]


def accented(notes: np.ndarray, ticks: Sequence[int], accent: float) -> np.ndarray:
    """Return notes (N, 7) of which those at `ticks` stand out.

    With an `accent` of 1 these have full velocity, and all others half of theirs; with 0, nothing
    changes.
    """
    if not len(ticks):
        return notes
    notes, strong = notes.copy(), np.isin(notes[:, 6], np.asarray(ticks))
    velocity = np.where(strong, 127.0, 0.5 * notes[:, 3])
    notes[:, 3] = np.clip(np.round(notes[:, 3] + accent * (velocity - notes[:, 3])), 1, 127)
    return notes
