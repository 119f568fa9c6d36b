"""The notes of a score as an array, with the sounds of General MIDI.

Legend: N notes. A row of an array of notes has the values of `model.contract.notes.NOTE_COLUMNS`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.contract.notes import DRUM_PROGRAM, DRUM_S, ended
from model.contract.sound_font import SoundFont
from pipeline.sources.synthetic.instruments import SAMPLE_RATE_HZ
from pipeline.sources.synthetic.score import Score

PROGRAMS = {
    "round": 38, "slap": 36, "square": 80, "acid": 38, "808": 39, "growl": 39, "upright": 32,
    "clav": 7, "guitar": 27, "epiano": 4, "stab": 90, "organ": 16, "strings": 48, "brass": 61,
    "piano": 0, "bell": 9, "lead": 81, "flute": 73,
}  # fmt: skip
"""The program of General MIDI, counted from 0, that is most like each voice."""
DRUM_KEYS = {
    "kick": 36, "stomp": 35, "snare": 38, "clap": 39, "brush": 40, "hat": 42, "tick": 44,
    "openhat": 46, "ride": 51, "rim": 37, "tom": 45, "bongo": 60, "cowbell": 56, "zap": 78,
    "tambourine": 54, "shaker": 70,
}  # fmt: skip
"""The key of General MIDI that is most like each drum. The crackle of vinyl is not a note."""
SOUNDS = {name: (program, 60) for name, program in PROGRAMS.items()} | {
    name: (DRUM_PROGRAM, key) for name, key in DRUM_KEYS.items()
}
"""All sounds that a sound font must have to play the songs."""


def open_instruments(path: str | Path) -> SoundFont:
    """Open a sound font to play the songs with.

    Raises FileNotFoundError if there is no such file, and ValueError if it is not a sound font, if
    it lacks a sound of the songs, or if the package tinysoundfont is not installed.
    """
    return SoundFont.open(path, SOUNDS)


DRUM_LEVELS = {
    "hat": 0.45, "tick": 0.4, "openhat": 0.45, "ride": 0.35, "rim": 0.6, "bongo": 0.6,
    "cowbell": 0.5, "tambourine": 0.4, "shaker": 0.3,
}  # fmt: skip
"""How loud the quieter drums of `instruments` are; all others have about 1."""


def note_array(score: Score) -> np.ndarray:
    """Return the notes of a score, float64 (N, 7), sorted by onset.

    As in MIDI, a note ends at the latest when its pitch is struck again in the same track. Two
    equal notes at the same time are one, which has the loudness of both together. `velocity` is 127
    times the loudness: accents count, and drums are as loud as the built-in ones.
    """
    rows: dict[tuple[int, int, int], np.ndarray] = {}
    for event in score.events:
        gain = event.gain
        if event.midi is None:
            pitch, program, duration_s = DRUM_KEYS.get(event.voice), DRUM_PROGRAM, DRUM_S
            gain *= DRUM_LEVELS.get(event.voice, 1.0)
        else:
            pitch, program = event.midi, PROGRAMS[event.voice]
            duration_s = event.steps * score.beat_s / 4
        if pitch is None:
            continue
        onset_s = event.first / SAMPLE_RATE_HZ
        row = np.array([onset_s, duration_s, pitch, 0, program, event.track, event.step])
        key = (event.track, pitch, event.first)
        rows.setdefault(key, row)[3] += 127 * gain
    notes = ended(np.stack([*rows.values()]))
    notes[:, 3] = np.clip(np.round(notes[:, 3]), 1, 127)
    return notes[np.lexsort((notes[:, 2], notes[:, 5], notes[:, 0]))]
