"""Compound words: each has seven attributes, its place in the piece in percent, and its tick.

A *bar word* begins a bar and has its density: the number of ticks at which notes begin. A *beat
word* begins the notes of one instrument at one tick; its strength is their number, and its density
counts the ticks with notes that are still to come in the bar. A *note word* has pitch, duration
and instrument; notes are sorted by pitch. Class 0 of an attribute means that the word has none.

Words are an int64 array (W, 9) with the columns of `COLUMNS`.

Source: Di et al., Video Background Music Generation with Controllable Music Transformer, ACM
Multimedia 2021.
"""

from __future__ import annotations

import numpy as np

from model.families.cmt.grid import BAR_TICKS, FAMILIES

ATTRIBUTES = ("beat", "type", "density", "pitch", "duration", "instrument", "strength")
CLASSES = (18, 3, 18, 129, 18, 6, 20)
"""The number of classes of each attribute."""
COLUMNS = (*ATTRIBUTES, "p_beat", "tick")
BEAT, TYPE, DENSITY, PITCH, DURATION, INSTRUMENT, STRENGTH, P_BEAT, TICK = range(9)
P_BEATS = 102
"""Classes of the place in the piece: 0 for none, then percent + 1."""
EOS, METRE, NOTE = range(3)
"""Classes of `type`: the end; a bar or beat word; a note word."""
BAR = 17
"""The class of `beat` of bar words; that of a beat word is its tick in the bar, plus 1."""
MAX_STRENGTH = CLASSES[STRENGTH] - 1


def place(ticks: np.ndarray | int, end: int) -> np.ndarray:
    """Return `p_beat`, 1 to 101, of ticks in a piece that ends at tick `end`."""
    return 1 + np.clip(100 * np.asarray(ticks, np.int64) // max(1, end), 0, 100)


def to_words(rows: np.ndarray, end: int) -> np.ndarray:
    """Return the words (W, 9) of notes on the grid (N, 4) in a piece of `end` ticks, without EOS.

    There is a bar word for every bar, also if it is empty. Raises ValueError for notes outside the
    piece.
    """
    if len(rows) and not (rows[:, 0].min() >= 0 and rows[:, 0].max() < end):
        raise ValueError(f"notes from tick {rows[:, 0].min()} to {rows[:, 0].max()}, not in {end}")
    ticks = np.unique(rows[:, 0])
    bars = np.arange(-(-end // BAR_TICKS))
    counts = np.bincount(ticks // BAR_TICKS, minlength=len(bars))
    later = np.cumsum(counts)[ticks // BAR_TICKS] - np.arange(1, len(ticks) + 1)

    bar_words = np.zeros((len(bars), len(COLUMNS)), np.int64)
    bar_words[:, BEAT], bar_words[:, TYPE] = BAR, METRE
    bar_words[:, DENSITY], bar_words[:, TICK] = counts + 1, BAR_TICKS * bars

    groups, sizes = np.unique(rows[:, :2], axis=0, return_counts=True)
    beat_words = np.zeros((len(groups), len(COLUMNS)), np.int64)
    beat_words[:, BEAT], beat_words[:, TYPE] = groups[:, 0] % BAR_TICKS + 1, METRE
    beat_words[:, DENSITY] = later[np.searchsorted(ticks, groups[:, 0])] + 1
    beat_words[:, INSTRUMENT] = groups[:, 1] + 1
    beat_words[:, STRENGTH] = np.minimum(sizes, MAX_STRENGTH)
    beat_words[:, TICK] = groups[:, 0]

    note_words = np.zeros((len(rows), len(COLUMNS)), np.int64)
    note_words[:, TYPE], note_words[:, TICK] = NOTE, rows[:, 0]
    note_words[:, INSTRUMENT], note_words[:, PITCH] = rows[:, 1] + 1, rows[:, 2] + 1
    note_words[:, DURATION] = rows[:, 3] + 1

    words = np.concatenate([bar_words, beat_words, note_words])
    is_bar, is_note = words[:, BEAT] == BAR, words[:, TYPE] == NOTE
    kind = np.where(is_bar, 0, 1 + is_note)
    order = np.lexsort((words[:, PITCH], kind, words[:, INSTRUMENT], words[:, TICK]))
    words = words[order]
    words[:, P_BEAT] = place(words[:, TICK], end)
    return words


def from_words(words: np.ndarray) -> np.ndarray:
    """Return the notes (N, 4) that words (W, 9) say, from their attributes alone; EOS is optional.

    Raises ValueError for words that begin with no bar word, or notes without a beat word.
    """
    words = words[words[:, TYPE] != EOS]
    beat, is_note = words[:, BEAT], words[:, TYPE] == NOTE
    if len(words) and beat[0] != BAR:
        raise ValueError(f"words begin with {words[0].tolist()}; expected a bar word")
    bar = np.cumsum(beat == BAR) - 1
    latest = np.maximum.accumulate(np.where(beat > 0, np.arange(len(words)), 0))
    if (beat[latest][is_note] == BAR).any():
        raise ValueError("a note word follows a bar word; expected a beat word between them")
    ticks = BAR_TICKS * bar + beat[latest] - 1
    columns = ticks, words[:, INSTRUMENT] - 1, words[:, PITCH] - 1, words[:, DURATION] - 1
    return np.stack(columns, 1)[is_note]


def end_word() -> np.ndarray:
    """Return the word (9,) that ends a piece."""
    word = np.zeros(len(COLUMNS), np.int64)
    word[P_BEAT] = P_BEATS - 1
    return word


def families_of(words: np.ndarray) -> np.ndarray:
    """Return which families (5,) play in words (W, 9)."""
    return np.bincount(words[:, INSTRUMENT], minlength=len(FAMILIES) + 1)[1:] > 0
