"""Notes on a grid, and compound words: exact round trips on the benchmark's songs."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_notes import cut, song_notes

from model.contract.notes import DRUM_PROGRAM, midi_of
from model.families.cmt.grid import Grid, family_of, grid_of_steps, to_grid, to_notes
from model.families.cmt.pieces import grid_of_notes
from model.families.cmt.words import (
    BAR,
    BEAT,
    CLASSES,
    COLUMNS,
    DENSITY,
    NOTE,
    P_BEAT,
    STRENGTH,
    TICK,
    TYPE,
    end_word,
    from_words,
    to_words,
)
from pipeline.sources.synthetic.styles import STYLES

GENRES = sorted(STYLES)


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(
    genre=st.sampled_from(GENRES),
    seed=st.integers(0, 10**6),
    tempo_bpm=st.floats(70, 140),
    start_s=st.floats(0, 8),
    seconds=st.floats(2, 8),
)
def test_words_keep_pitch_family_tick_and_duration_of_songs(
    genre, seed, tempo_bpm, start_s, seconds
):
    notes = cut(song_notes(genre, seed, tempo_bpm), start_s, seconds)
    if len(set(notes[:, 6])) < 2:
        return
    # From the song's own step and tempo, not by the code that is tested:
    longest: dict[tuple[int, ...], float] = {}
    first_bar = 16 * (int(notes[:, 6].min()) // 16)
    for _, duration_s, pitch, _, program, _, step in notes:
        family = 0 if program == DRUM_PROGRAM else 1 if program < 8 else (
            2 if 24 <= program < 32 else 3 if 32 <= program < 40 else 4
        )  # fmt: skip
        key = (int(step) - first_bar, family, int(pitch))
        longest[key] = max(longest.get(key, 0.0), duration_s * tempo_bpm / 15)

    grid = grid_of_notes(notes, seconds)
    rows = to_grid(notes, grid)
    end = max(grid.span(seconds)[1], int(rows[:, 0].max()) + 1)
    words = to_words(rows, end)
    found = from_words(np.vstack([words, end_word()]))
    np.testing.assert_array_equal(found, rows)
    offset = rows[0, 0] - min(key[0] for key in longest)
    assert offset % 16 == 0
    assert [(t - offset, f, p) for t, f, p, _ in found.tolist()] == sorted(longest)
    for (tick, family, pitch, ticks), key in zip(found.tolist(), sorted(longest), strict=True):
        exact = min(16, max(1.0, longest[key]))
        # Swing ends notes at half ticks, which may be rounded either way.
        assert abs(ticks - exact) < 0.6, (tick, family, pitch)

    assert (words < np.array([*CLASSES, 102, 10**6])).all() and (words >= 0).all()
    bars = np.flatnonzero(words[:, BEAT] == BAR)
    assert len(bars) == -(-end // 16)
    for bar, after in zip(bars, [*bars[1:], len(words)], strict=True):
        part = words[bar:after]
        assert part[0, DENSITY] - 1 == len({w[TICK] for w in part[1:]})
    beats = np.flatnonzero((words[:, TYPE] == 1) & (words[:, STRENGTH] > 0))
    for at in beats:
        assert (words[at + 1 : at + words[at, STRENGTH] + 1, TYPE] == NOTE).all()


def test_columns_are_those_of_the_paper():
    rows = np.array([[0, 0, 36, 1], [0, 0, 42, 1], [0, 3, 40, 3], [6, 0, 38, 1], [17, 4, 64, 16]])
    words = to_words(rows, 32)
    assert COLUMNS[:7] == (
        "beat", "type", "density", "pitch", "duration", "instrument", "strength",
    )  # fmt: skip
    assert words.tolist() == [
        [17, 1, 3, 0, 0, 0, 0, 1, 0],
        [1, 1, 2, 0, 0, 1, 2, 1, 0],
        [0, 2, 0, 37, 2, 1, 0, 1, 0],
        [0, 2, 0, 43, 2, 1, 0, 1, 0],
        [1, 1, 2, 0, 0, 4, 1, 1, 0],
        [0, 2, 0, 41, 4, 4, 0, 1, 0],
        [7, 1, 1, 0, 0, 1, 1, 19, 6],
        [0, 2, 0, 39, 2, 1, 0, 19, 6],
        [17, 1, 2, 0, 0, 0, 0, 51, 16],
        [2, 1, 1, 0, 0, 5, 1, 54, 17],
        [0, 2, 0, 65, 17, 5, 0, 54, 17],
    ]


def test_empty_music_has_bar_words_and_no_notes():
    words = to_words(np.zeros((0, 4), np.int64), 20)
    assert words[:, BEAT].tolist() == [BAR, BAR] and words[:, DENSITY].tolist() == [1, 1]
    assert from_words(words).shape == (0, 4) and words[-1, P_BEAT] == 81
    with pytest.raises(ValueError, match="not in 20"):
        to_words(np.array([[20, 0, 36, 1]]), 20)
    with pytest.raises(ValueError, match="expected a bar word"):
        from_words(to_words(np.array([[0, 0, 36, 1]]), 16)[1:])


def test_notes_of_unknown_steps_are_put_on_given_beats():
    beats_s = np.array([0.1, 0.6, 1.15, 1.6, 2.1])
    onsets = [0.1, 0.23, 1.16, 1.4]
    notes = np.array([[at, 0.25, 60 + i, 90, 0, 2, -1] for i, at in enumerate(onsets)])
    rows = to_grid(notes, Grid(beats_s))
    assert rows[:, 0].tolist() == [0, 1, 8, 10] and set(rows[:, 1]) == {1}


def test_tracked_steps_are_nearly_those_of_the_song():
    exact = []
    for seed, genre in enumerate(GENRES):
        notes = song_notes(genre, seed, 104.0, 8.0)
        unknown = notes.copy()
        unknown[:, 6] = -1
        grid = grid_of_notes(unknown, 8.0)
        exact.append(abs(grid.tempo_bpm / 104 - 1) < 0.02)
    assert np.mean(exact) >= 0.7


def test_notes_of_a_grid_are_on_its_beats_and_end_before_the_next_stroke():
    grid = Grid.steady(120, -0.3, 4.0)
    assert grid.time_of(0) == pytest.approx(-0.3)
    np.testing.assert_allclose(grid.tick_of(grid.time_of(np.arange(40))), np.arange(40), atol=1e-9)
    first, end = grid.span(4.0)
    assert grid.time_of(first) >= -1e-6 > grid.time_of(first - 1) and grid.time_of(end) >= 4 - 1e-6
    rows = np.array([[0, 4, 60, 4], [4, 4, 60, 8], [6, 4, 60, 2], [6, 0, 38, 1], [34, 1, 50, 4]])
    notes = to_notes(rows, grid, 4.0)
    np.testing.assert_allclose(notes[:, 0], [0, 0.2, 0.45, 0.45, 3.95])
    np.testing.assert_allclose(notes[:, 1], [0.2, 0.25, 0.1, 0.25, 0.5])
    assert notes[:, 4].tolist() == [48, 48, DRUM_PROGRAM, 48, 0] and set(notes[:, 3]) == {80}
    assert family_of(np.array([0, 7, 8, 27, 33, 40, 90, 128])).tolist() == [1, 1, 4, 2, 3, 4, 4, 0]


def test_a_midi_file_has_the_tempo_of_notes_with_known_steps():
    notes = song_notes("HO", 1, 121.5, 8.0)
    unknown = notes.copy()
    unknown[:, 6] = -1
    for each, tempo_bpm in ((notes, 121.5), (unknown, 120.0), (notes[:1], 120.0)):
        file = mido.MidiFile(file=io.BytesIO(midi_of(each, "song")))
        found = next(m.tempo for m in file.tracks[0] if m.type == "set_tempo")
        assert mido.tempo2bpm(found) == pytest.approx(tempo_bpm, rel=0.003)


def test_a_grid_needs_known_steps():
    with pytest.raises(ValueError, match="known steps"):
        grid_of_steps(np.array([[0.0, 1, 60, 90, 0, 1, -1]]), 2.0)
