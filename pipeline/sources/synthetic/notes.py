"""The notes of a score as an array and as a MIDI file, with the sounds of General MIDI.

Legend: N notes. A row of an array of notes has the values of NOTE_COLUMNS.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from pipeline.sources.synthetic.instruments import SAMPLE_RATE_HZ
from pipeline.sources.synthetic.score import TRACKS, Score

if TYPE_CHECKING:
    import mido

NOTE_COLUMNS = ("onset_s", "duration_s", "pitch", "velocity", "program", "track", "step")
"""`program` is 0 to 127, or DRUM_PROGRAM; then `pitch` names the drum, by the keys of General MIDI.

`track` is an index into TRACKS. `step` counts sixteenth notes from the song's first bar.
"""
DRUM_PROGRAM = 128
DRUM_S = 0.1
"""The length of a drum stroke as a note."""
TICKS_PER_BEAT = 480

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
    notes = np.stack([rows[key] for key in sorted(rows)])  # by track, pitch and onset
    again = (np.diff(notes[:, 5]) == 0) & (np.diff(notes[:, 2]) == 0)
    pause_s = np.where(again, np.diff(notes[:, 0]), np.inf)
    notes[:-1, 1] = np.minimum(notes[:-1, 1], pause_s)
    notes[:, 3] = np.clip(np.round(notes[:, 3]), 1, 127)
    return notes[np.lexsort((notes[:, 2], notes[:, 5], notes[:, 0]))]


def midi_bytes(notes: np.ndarray, tempo_bpm: float, name: str) -> bytes:
    """Return notes (N, 7) as a Standard MIDI File: one track for each of TRACKS, 480 ticks a beat.

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
    for track, title in enumerate(TRACKS):
        messages = _messages(notes[notes[:, 5] == track], track, TICKS_PER_BEAT * 1e6 / tempo)
        title_message = mido.MetaMessage("track_name", name=title)
        end = mido.MetaMessage("end_of_track")
        file.tracks.append(mido.MidiTrack([title_message, *messages, end]))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _messages(notes: np.ndarray, track: int, ticks_per_s: float) -> list[mido.Message]:
    """Return the messages of one track; at the same time, old notes end before new ones begin."""
    import mido

    channel = 9 if track == 0 else track - 1  # channel 10, counted from 1, is that of the drums
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
