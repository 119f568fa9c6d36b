"""Foley Music's events: notes come back in time, whatever they are."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.families.foley.events import (
    END,
    EVENTS,
    NOTE_OFF,
    NOTE_ON,
    SHIFT,
    SHIFTS_S,
    VELOCITY,
    VOCABULARY,
    at_least,
    to_events,
    to_notes,
    without_overlaps,
)

NOTE = st.tuples(
    st.floats(0, 7.98), st.floats(0, 3), st.integers(0, 127), st.integers(1, 127)
)  # onset, duration, pitch, velocity


def test_there_are_240_events_and_shifts_reach_from_15_ms_to_over_a_second():
    assert (EVENTS, VOCABULARY) == (240, 243)
    assert SHIFTS_S[0] == pytest.approx(0.01538, abs=1e-5)
    assert SHIFTS_S[-1] == pytest.approx(1.171, abs=1e-3)


def test_a_note_is_its_velocity_its_beginning_and_its_end():
    events = to_events(np.array([[SHIFTS_S[3], SHIFTS_S[10], 60, 100]]), 8.0)
    assert events == [SHIFT + 3, VELOCITY + 25, NOTE_ON + 39, SHIFT + 10, NOTE_OFF + 39]


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(st.lists(NOTE, max_size=60))
@example([(1.585264796287636, 3.0, 21, 1), (3.714668213000999, 0.0, 21, 1)])  # a sum rounded up
def test_any_notes_come_back_within_16_ms_over_8_s(notes):
    notes = np.array(notes, np.float64).reshape(-1, 4)
    expected = without_overlaps(notes)
    events = to_events(notes, 8.0)
    assert all(0 <= event < EVENTS for event in events)
    found = to_notes(events, 8.0)
    expected = expected[np.lexsort((expected[:, 2], expected[:, 0]))]
    assert len(found) == len(expected)
    # Notes that begin almost together may come back together, so each pitch is compared.
    for pitch in np.unique(expected[:, 2]):
        true, back = (rows[rows[:, 2] == pitch] for rows in (expected, found))
        np.testing.assert_allclose(back[:, 0], true[:, 0], atol=SHIFTS_S[0] / 2 + 1e-6)
        ends = np.minimum(true[:, 0] + true[:, 1], 8.0)
        np.testing.assert_allclose(back[:, 0] + back[:, 1], ends, atol=0.016)
        assert (abs(back[:, 3] - true[:, 3]) <= 2).all()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=200), st.floats(0.1, 9))
def test_any_events_are_notes(events, end_s):
    notes = to_notes(events, end_s)
    assert (notes[:, 0] >= 0).all() and (notes[:, 1] > 0).all()
    assert (notes[:, 0] + notes[:, 1] <= end_s + 1e-9).all()
    longer = at_least(notes, 0.25)
    for pitch in np.unique(longer[:, 2]):
        rows = longer[longer[:, 2] == pitch]
        assert (rows[:-1, 0] + rows[:-1, 1] <= rows[1:, 0] + 1e-9).all()


def test_time_does_not_drift_over_minutes():
    onsets = np.cumsum(np.random.default_rng(0).uniform(0.1, 0.6, 400))
    notes = np.stack([onsets, onsets * 0 + 0.09, 40 + np.arange(400) % 40, onsets * 0 + 90], 1)
    found = to_notes(to_events(notes, 1e3), 1e3)
    assert abs(found[:, 0] - onsets).max() <= SHIFTS_S[0] / 2 + 1e-6


def test_a_note_that_sounds_on_has_no_end_and_can_be_gone_on_with():
    notes = np.array([[0.5, 2.0, 60, 80], [0.8, 0.1, 64, 80]])
    events = to_events(notes, 1.0)
    assert NOTE_OFF + 39 not in events and NOTE_OFF + 43 in events
    found = to_notes([*events, SHIFT + 31, NOTE_OFF + 39, END, NOTE_ON + 1], 9.0)
    assert found[:, 2].tolist() == [60, 64] and found[0, 1] == pytest.approx(1.57, abs=0.02)
    np.testing.assert_allclose(to_notes(events, 1.0)[0, 1], 0.5, atol=0.01)


def test_a_pitch_that_begins_again_ends_first_and_of_two_together_the_longer_stays():
    notes = np.array([[0.0, 2.0, 60, 80], [1.0, 0.5, 60, 90], [1.0, 0.7, 60, 70], [1, 1, 5, 60]])
    found = without_overlaps(notes)
    np.testing.assert_allclose(found, [[0, 1, 60, 80], [1, 0.7, 60, 70]])


def test_a_beginning_without_velocity_sounds_and_an_end_without_beginning_is_nothing():
    found = to_notes([NOTE_OFF + 3, NOTE_ON + 3, SHIFT + 5, NOTE_ON + 3, SHIFT + 5], 4.0)
    assert found[:, 2].tolist() == [24, 24] and found[:, 3].tolist() == [64, 64]
    assert found[0, 1] == pytest.approx(SHIFTS_S[5])
    assert to_notes([NOTE_ON + 3, NOTE_OFF + 3], 4.0).shape == (0, 4)
    assert to_events(np.zeros((0, 7)), 2.0) == []
