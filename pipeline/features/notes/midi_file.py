"""The notes in a Standard MIDI File, as pretty_midi reads it."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np

from model.contract.notes import DRUM_PROGRAM, NOTE_COLUMNS

NEAR, ENOUGH = 0.1, 0.75
"""Notes are in step if this share of them lies within this part of a sixteenth of its grid. Of
notes anywhere, 20 % do."""
DAMAGED = (ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, struct.error)
"""Exceptions of pretty_midi and mido for files that are not MIDI, or damaged."""


def read_midi(data: bytes) -> np.ndarray:
    """Return the notes in the bytes of a MIDI file, float64 (N, 7), sorted by onset.

    A track is an instrument of the file, in its order. `step` counts the file's sixteenths if its
    notes lie on them; the notes of a file that was played or transcribed freely have -1.

    Raises ValueError for bytes that are not a MIDI file, or are damaged.
    """
    import pretty_midi
    from mido import KeySignatureError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tempo changes in other tracks: read, not lost
            file = pretty_midi.PrettyMIDI(io.BytesIO(data))
        rows = [
            (note.start, note.end - note.start, note.pitch, note.velocity,
             DRUM_PROGRAM if part.is_drum else part.program, track, -1,
             file.time_to_tick(note.start))
            for track, part in enumerate(file.instruments) for note in part.notes
        ]  # fmt: skip
    except (*DAMAGED, KeySignatureError) as error:
        message = f"{type(error).__name__}: {error!s:.100}"
        raise ValueError(f"not a MIDI file, or damaged ({message}); write it again") from None
    found = np.array(sorted(rows), np.float64).reshape(-1, len(NOTE_COLUMNS) + 1)
    notes, steps = found[:, :-1], found[:, -1] / (file.resolution / 4)
    near = np.abs(steps - np.round(steps)) <= NEAR
    if len(notes) and near.mean() >= ENOUGH:
        notes[:, 6] = np.round(steps)
    return notes[notes[:, 3] >= 1]
