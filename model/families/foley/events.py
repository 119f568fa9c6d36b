"""Notes as the 240 MIDI events of Foley Music, and back.

A note is three events: its velocity and its beginning, and later its end. Between them, shifts move
the time on. The time that shifts cannot express is carried over to the next one, so each event is
at most half the shortest shift, 7.7 ms, from its place, however long the music is.

Source: "Foley Music: Learning to Generate Music from Videos" (Gan et al. 2020) and its code, which
drops that rest at each shift, so that the music runs early.

Symbols: N notes, E events.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LOWEST, HIGHEST = 21, 108
"""The pitches of a piano, as MIDI numbers."""
PITCHES = HIGHEST - LOWEST + 1
VELOCITIES, SHIFTS = 32, 32
NOTE_ON, NOTE_OFF = 0, PITCHES
VELOCITY = 2 * PITCHES
SHIFT = VELOCITY + VELOCITIES
EVENTS = SHIFT + SHIFTS
"""240 events; then three that are no music."""
START, END, PAD = EVENTS, EVENTS + 1, EVENTS + 2
VOCABULARY = EVENTS + 3

SHIFTS_S = 1.15 ** np.arange(SHIFTS) / 65
"""From 15.4 ms to 1.171 s."""
ROUNDING = 1e-6
"""Seconds that sums of floats may be wrong by."""
VELOCITY_STEP = 128 // VELOCITIES

NOTE_FIELDS = 4
"""Of a note here: onset and duration in seconds, pitch, velocity. The first columns of notes."""


def without_overlaps(notes: np.ndarray) -> np.ndarray:
    """Return notes (N, 4) of a piano: where a pitch begins again, its earlier note ends.

    Pitches of no piano are left out. So are notes of a pitch that begin together, all but the
    longest, or less than the shortest shift after another one. Every note lasts at least as long as
    the shortest shift. The result is sorted by onset.
    """
    notes = np.asarray(notes, np.float64)[:, :NOTE_FIELDS]
    notes = notes[(notes[:, 2] >= LOWEST) & (notes[:, 2] <= HIGHEST)]
    kept = []
    for pitch in np.unique(notes[:, 2]):
        of_pitch = notes[notes[:, 2] == pitch]
        of_pitch = of_pitch[np.lexsort((-of_pitch[:, 1], of_pitch[:, 0]))]
        apart = np.diff(of_pitch[:, 0], prepend=-np.inf) >= SHIFTS_S[0]
        of_pitch = of_pitch[apart]
        until_next = np.diff(of_pitch[:, 0], append=np.inf)
        of_pitch[:, 1] = np.clip(of_pitch[:, 1], SHIFTS_S[0], until_next)
        kept.append(of_pitch)
    found = np.concatenate([np.zeros((0, NOTE_FIELDS)), *kept])
    return found[np.lexsort((found[:, 2], found[:, 0]))]


def to_events(notes: np.ndarray, until_s: float) -> list[int]:
    """Return the events of notes (N, 4) before a time in seconds, without START and END.

    A note that still sounds then has no end. Of events at the same time, ends come first.
    """
    moments: list[tuple[float, int, int, tuple[int, ...]]] = []
    for onset_s, duration_s, pitch, velocity in without_overlaps(notes):
        key, loudness = int(pitch) - LOWEST, min(int(velocity) // VELOCITY_STEP, VELOCITIES - 1)
        moments.append((onset_s, 1, key, (VELOCITY + loudness, NOTE_ON + key)))
        moments.append((onset_s + duration_s, 0, key, (NOTE_OFF + key,)))
    events: list[int] = []
    now_s = 0.0
    # An end and the beginning that cuts it off may be wrong by the rounding of their sum.
    moments.sort(key=lambda moment: (moment[0] + ROUNDING * moment[1], *moment[1:]))
    for at_s, _, _, what in (moment for moment in moments if moment[0] < until_s - ROUNDING):
        while at_s - now_s >= SHIFTS_S[0] / 2:
            within = np.searchsorted(SHIFTS_S, at_s - now_s + ROUNDING, side="right")
            shift = max(0, int(within) - 1)
            events.append(SHIFT + shift)
            now_s += SHIFTS_S[shift]
        events += what
    return events


def to_notes(events: Iterable[int], end_s: float) -> np.ndarray:
    """Return the notes (N, 4) of events, sorted by onset.

    Events after `end_s`, in seconds, or after END are left out, and notes that are not over then
    end there. A beginning without a velocity has that of the last note, at first 64. An end without
    a beginning is nothing; a beginning while the pitch sounds ends its earlier note.
    """
    notes: list[list[float]] = []
    sounding: dict[int, list[float]] = {}
    now_s, velocity = 0.0, 64
    for event in events:
        if event == END or now_s >= end_s:
            break
        if SHIFT <= event < EVENTS:
            now_s += SHIFTS_S[event - SHIFT]
        elif VELOCITY <= event < SHIFT:
            velocity = (event - VELOCITY) * VELOCITY_STEP + VELOCITY_STEP // 2
        elif event < VELOCITY:
            key = event % PITCHES
            if key in sounding:
                ended = sounding.pop(key)
                ended[1] = now_s - ended[0]
            if event < NOTE_OFF:
                notes.append([now_s, end_s - now_s, float(key + LOWEST), float(velocity)])
                sounding[key] = notes[-1]
    found = np.array(notes, np.float64).reshape(-1, NOTE_FIELDS)
    return found[found[:, 1] > 0]


def at_least(notes: np.ndarray, seconds: float) -> np.ndarray:
    """Return notes (N, 4) that last at least `seconds`, but not beyond the next of their pitch."""
    longer = notes.copy()
    longer[:, 1] = np.maximum(notes[:, 1], seconds)
    return without_overlaps(longer)
