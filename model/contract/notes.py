"""Notes as an array, and as a Standard MIDI File.

A row of an array of notes (N, 7) has the values of NOTE_COLUMNS; rows are sorted by onset.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mido

NOTES = "notes.npy"
"""The member of a segment in tars of notes: float32 (N, 7), seconds from the window's start."""
NOTE_COLUMNS = ("onset_s", "duration_s", "pitch", "velocity", "program", "track", "step")
"""`program` is 0 to 127, or DRUM_PROGRAM; then `pitch` names the drum, by the keys of General MIDI.

`track` counts the parts of the arrangement, as in TRACKS for songs of the synthetic benchmark.
`step` counts sixteenth notes from the song's first bar, or is -1 if that is unknown.
"""
DRUM_PROGRAM = 128
DRUM_S = 0.1
"""The length of a drum stroke as a note."""
TRACKS = ("drums", "bass", "chords", "lead")
"""The tracks of the synthetic songs."""
TICKS_PER_BEAT = 480
DEFAULT_BPM = 120.0
"""The tempo where none is known."""
DRUM_CHANNEL = 9
"""The channel of drums, counted from 0, in MIDI files and players."""


def ended(notes: np.ndarray, part: str = "track") -> np.ndarray:
    """Return notes (N, 7), each of which ends at the latest when its pitch is struck again.

    So it is in MIDI and in players, in each `part`, the column "track" or "program". The result is
    sorted by part, pitch and onset.
    """
    column = NOTE_COLUMNS.index(part)
    notes = notes[np.lexsort((notes[:, 0], notes[:, 2], notes[:, column]))]
    again = (np.diff(notes[:, column]) == 0) & (np.diff(notes[:, 2]) == 0)
    pause_s = np.where(again, np.diff(notes[:, 0]), np.inf)
    notes[:-1, 1] = np.minimum(notes[:-1, 1], pause_s)
    return notes


def check_notes(notes: np.ndarray, seconds: float) -> None:
    """Raise ValueError unless an array is the notes of a window that is `seconds` long.

    Valid notes are float32 (N, 7), N from 0, sorted by onset, with onsets within the window.
    """
    width = len(NOTE_COLUMNS)
    if str(notes.dtype) != "float32" or notes.ndim != 2 or notes.shape[1] != width:
        raise ValueError(f"{notes.dtype} {notes.shape}, expected float32 (N, {width})")
    if not np.isfinite(notes).all():
        raise ValueError("contains NaN or infinity")
    least = np.array([0, 0, 0, 1, 0, 0, -1])
    most = np.array([np.inf, np.inf, 127, 127, DRUM_PROGRAM, np.inf, np.inf])
    odd = (notes < least) | (notes > most)
    odd[:, 2:] |= notes[:, 2:] % 1 != 0
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise ValueError(f"note {row + 1} has {NOTE_COLUMNS[column]} {notes[row, column]}")
    onsets = notes[:, 0]
    if (np.diff(onsets) < 0).any():
        raise ValueError("the notes are not sorted by onset")
    if len(onsets) and onsets[-1] >= np.float32(seconds):
        raise ValueError(f"a note starts at {onsets[-1]} s, the window ends at {seconds:g} s")


def notes_in(notes: np.ndarray, start_s: float, seconds: float) -> np.ndarray:
    """Return the notes (N, 7) that begin in a window, timed from its start, float32 (M, 7).

    The onset decides, so that windows side by side share no note. A note may last beyond the end
    of its window. The result is sorted by onset.
    """
    found = np.array(notes, np.float64).reshape(-1, len(NOTE_COLUMNS))
    found[:, 0] -= start_s
    kept = (found[:, 0] >= 0) & (found[:, 0] < seconds)
    found = found[kept][np.argsort(found[kept, 0], kind="stable")].astype(np.float32)
    end_s = np.nextafter(np.float32(seconds), np.float32(0))
    found[:, 0] = np.minimum(found[:, 0], end_s)  # float32 can round an onset up to the end
    return found


def midi_bytes(
    notes: np.ndarray, tempo_bpm: float, name: str, tracks: Sequence[str] = TRACKS
) -> bytes:
    """Return notes (N, 7) as a Standard MIDI File with a track for each of `tracks`.

    A beat, a quarter note, has TICKS_PER_BEAT ticks.

    Time 0 of the file is time 0 of the notes, so bars begin with beats only if the notes do. Onsets
    are exact to half a tick, which is 0.8 ms at 80 BPM.
    """
    import mido

    tempo = mido.bpm2tempo(tempo_bpm)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, charset="utf-8")
    head = [
        mido.MetaMessage("track_name", name=name),
        mido.MetaMessage("set_tempo", tempo=tempo),
        mido.MetaMessage("end_of_track"),
    ]
    file.tracks.append(mido.MidiTrack(head))
    for track, title in enumerate(tracks):
        messages = _messages(notes[notes[:, 5] == track], track, TICKS_PER_BEAT * 1e6 / tempo)
        title_message = mido.MetaMessage("track_name", name=title)
        end = mido.MetaMessage("end_of_track")
        file.tracks.append(mido.MidiTrack([title_message, *messages, end]))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def tempo_of(notes: np.ndarray) -> float:
    """Return the tempo in BPM of notes (N, 7), from onsets over known steps; else DEFAULT_BPM."""
    onsets_s, steps = notes[:, 0].astype(float), notes[:, 6].astype(float)
    if len(notes) < 2 or steps.min() < 0 or steps.min() == steps.max():
        return DEFAULT_BPM
    away = steps - steps.mean()
    step_s = float((away * onsets_s).sum() / (away**2).sum())
    return 15 / step_s if step_s > 0 else DEFAULT_BPM


def midi_of(notes: np.ndarray, name: str) -> bytes:
    """Return any notes (N, 7) as a Standard MIDI File: a track for each program, the drums first.

    Its tempo is that of `tempo_of`. Raises ValueError for more than 15 programs beside the drums.
    """
    programs = sorted({int(program) for program in notes[:, 4]} - {DRUM_PROGRAM})
    order = np.array([DRUM_PROGRAM, *programs])
    notes = notes.copy()
    notes[:, 5] = (notes[:, 4, None] == order).argmax(1)
    if len(programs) > 15:
        raise ValueError(f"{len(programs)} programs, expected at most 15")
    tracks = ["drums", *(f"program {program}" for program in programs)]
    return midi_bytes(notes, tempo_of(notes), name, tracks)


def _messages(notes: np.ndarray, track: int, ticks_per_s: float) -> list[mido.Message]:
    """Return the messages of one track; at the same time, old notes end before new ones begin."""
    import mido

    channel = DRUM_CHANNEL if track == 0 else track - 1 + (track > DRUM_CHANNEL)
    starts = np.round(notes[:, 0] * ticks_per_s).astype(int)
    ends = np.round((notes[:, 0] + notes[:, 1]) * ticks_per_s).astype(int)
    changes = []
    for start, end, (_, _, pitch, velocity, *_) in zip(starts, ends, notes, strict=True):
        changes.append((int(start), 1, int(pitch), int(velocity)))
        changes.append((int(end), 0, int(pitch), 0))
    program = 0 if track == 0 or not len(notes) else int(notes[0, 4])
    messages = [mido.Message("program_change", channel=channel, program=program)]
    now = 0
    for tick, is_on, pitch, velocity in sorted(changes):
        kind = "note_on" if is_on else "note_off"
        pause = tick - now
        messages.append(
            mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=pause)
        )
        now = tick
    return messages
