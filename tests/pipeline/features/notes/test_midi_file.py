"""MIDI files of any program and any damage: notes, or an error that says it is none."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract.notes import DRUM_PROGRAM, midi_bytes

pytest.importorskip("pretty_midi", reason="needs the extra midi")

from pipeline.features.notes.midi_file import read_midi

BEAT_S = 0.5


def grid(steps: list[int], track: int = 1, late_s: float = 0.0) -> np.ndarray:
    rows = [[s * BEAT_S / 4 + late_s, 0.1, 60 + s % 5, 90, 33, track, s] for s in steps]
    return np.array(rows, np.float64)


def test_programs_drums_and_tracks_are_kept():
    notes = np.concatenate([grid([0, 4, 8, 12]), grid([2, 6], track=0)])
    notes[4:, 4] = DRUM_PROGRAM
    found = read_midi(midi_bytes(notes, 120.0, "both"))
    assert len(found) == 6 and (np.diff(found[:, 0]) >= 0).all()
    assert {*found[:, 4]} == {33.0, float(DRUM_PROGRAM)} and len({*found[:, 5]}) == 2
    np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(notes[:, 0]), atol=0.001)


def test_notes_on_the_grid_have_steps_and_others_have_not():
    steps = [0, 3, 4, 7, 8, 12, 15, 16]
    assert read_midi(midi_bytes(grid(steps), 120.0, "grid"))[:, 6].tolist() == steps
    rng = np.random.default_rng(0)
    played = grid(steps * 4)
    played[:, 0] = rng.uniform(0, 20, len(played))
    assert {*read_midi(midi_bytes(played, 120.0, "played"))[:, 6]} == {-1.0}
    assert {*read_midi(midi_bytes(grid(steps, late_s=0.06), 120.0, "late"))[:, 6]} == {-1.0}


def test_a_file_that_changes_its_tempo_is_read_in_seconds():
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    for tempo_bpm in (120, 60):
        track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm)))
        track.append(mido.Message("note_on", note=60, velocity=80, time=0))
        track.append(mido.Message("note_off", note=60, time=480))
    file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    found = read_midi(buffer.getvalue())
    np.testing.assert_allclose(found[:, :2], [[0, 0.5], [0.5, 1.0]], atol=1e-6)
    assert found[:, 6].tolist() == [0, 4]


@pytest.mark.parametrize("data", [b"", b"MThd", b"RIFF0000", b"no midi at all" * 20])
def test_another_file_is_no_midi_file(data):
    with pytest.raises(ValueError, match="not a MIDI file, or damaged"):
        read_midi(data)


GOOD = midi_bytes(grid([*range(0, 32, 3)]), 100.0, "good")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(GOOD)),
)
def test_damage_gives_notes_or_an_error_and_nothing_else(edits, length):
    data = bytearray(GOOD)
    for at, byte in edits:
        data[at] = byte
    try:
        found = read_midi(bytes(data[:length]))
    except ValueError:
        return
    assert found.shape[1] == 7 and np.isfinite(found).all()
    assert (found[:, 1] >= 0).all() and (found[:, 0] >= 0).all()
