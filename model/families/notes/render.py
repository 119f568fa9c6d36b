"""Notes to sound: `render(notes, samples, default_font())`."""

from __future__ import annotations

import numpy as np
import soxr

from model.contract.notes import DRUM_PROGRAM, NOTE_COLUMNS, ended
from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from model.contract.sound_font import PLAYER_HZ, SoundFont

SHORTEST_S = 0.01
"""The least length of a note as played: it must end after it begins."""
PROGRAMS_AT_ONCE = 15
"""How many programs, beside the drums, a player has channels for; more are played in turns."""


def render(notes: np.ndarray, samples: int, font: SoundFont) -> np.ndarray:
    """Return notes (N, 7), with the columns of NOTE_COLUMNS, as sound float32 (samples,).

    The sound is mono at 22 050 Hz and begins at time 0 of the notes. It is exactly `samples` long:
    what sounds longer is cut, and notes that begin later are not played. Its peak is 0.95 if there
    is any sound; no notes give silence. The same notes and font give the same bits.

    Raises ValueError if the font lacks a program of the notes, or has changed on the disk.
    """
    notes = np.asarray(notes, np.float64).reshape(-1, len(NOTE_COLUMNS))
    # A player ends every note of a pitch at once, so the older one would end the newer.
    notes = ended(notes[notes[:, 0] < samples / SAMPLE_RATE_HZ], "program")
    notes[:, 1] = np.maximum(notes[:, 1], SHORTEST_S)
    notes = notes[np.argsort(notes[:, 0], kind="stable")]
    if not samples or not len(notes):
        return np.zeros(samples, np.float32)
    count = -(-samples * PLAYER_HZ // SAMPLE_RATE_HZ)
    sound = np.sum([font.play(part, count) for part in _turns(notes)], axis=0, dtype=np.float64)
    sound = soxr.resample(sound, PLAYER_HZ, SAMPLE_RATE_HZ)[:samples]
    assert len(sound) == samples, "the rate of the player is a multiple of ours"
    peak = np.abs(sound).max()
    return (sound * (PEAK / peak if peak else 0.0)).astype(np.float32)


def _turns(notes: np.ndarray) -> list[np.ndarray]:
    """Return the notes in groups of no more programs than a player has channels."""
    programs = sorted({*notes[:, 4]} - {DRUM_PROGRAM})
    groups = [
        [*programs[start : start + PROGRAMS_AT_ONCE], *([] if start else [DRUM_PROGRAM])]
        for start in range(0, max(1, len(programs)), PROGRAMS_AT_ONCE)
    ]
    return [notes[np.isin(notes[:, 4], group)] for group in groups]
