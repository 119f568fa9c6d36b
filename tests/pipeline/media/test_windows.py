"""Windows: exact hops, the 50 ms rule, and sound cut to the nearest sample."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from pipeline.media.reader import Audio
from pipeline.media.windows import Window, cut, cut_audio

ZERO = Fraction(0)


def spans(windows: list[Window]) -> list[tuple[int, Fraction, Fraction, float]]:
    return [(w.index, w.start_s, w.stop_s, w.padded_ms) for w in windows]


def test_windows_lie_on_the_span_both_streams_cover_with_exact_hops() -> None:
    start_s = Fraction(1362, 30000)
    windows, dropped_s = cut((start_s, start_s + 7), (ZERO, Fraction(100)), Fraction(2))
    assert spans(windows) == [
        (1, start_s, start_s + 2, 0.0),
        (2, start_s + 2, start_s + 4, 0.0),
        (3, start_s + 4, start_s + 6, 0.0),
    ]
    assert dropped_s == 1


@pytest.mark.parametrize(
    ("span_s", "count", "padded_ms", "dropped_s"),
    [
        (Fraction(44032, 22050), 1, float(Fraction(68000, 22050)), 0),
        (Fraction(195, 100), 1, 50.0, 0),
        (Fraction(195, 100) - Fraction(1, 22050), 0, None, Fraction(195, 100) - Fraction(1, 22050)),
        (Fraction(2), 1, 0.0, 0),
        (Fraction(396, 100), 2, 40.0, 0),
        (Fraction(394, 100), 1, 0.0, Fraction(194, 100)),
        (Fraction(1, 100), 0, None, Fraction(1, 100)),
    ],
)
def test_a_window_short_by_at_most_50_ms_is_kept_and_any_other_tail_is_counted(
    span_s: Fraction, count: int, padded_ms: float | None, dropped_s: Fraction
) -> None:
    windows, dropped = cut((ZERO, Fraction(50)), (ZERO, span_s), Fraction(2))
    assert len(windows) == count
    assert dropped == dropped_s
    if windows:
        assert windows[-1].padded_ms == padded_ms
        assert all(w.padded_ms == 0 for w in windows[:-1])


def test_streams_that_never_meet_give_no_window() -> None:
    assert cut((ZERO, Fraction(3)), (Fraction(5), Fraction(9)), Fraction(2)) == ([], 0)


@pytest.mark.parametrize("window_s", [Fraction(19, 10), Fraction(201, 10), Fraction(0)])
def test_windows_outside_2_to_20_s_are_refused(window_s: Fraction) -> None:
    with pytest.raises(ValueError, match="expected 2 to 20 s"):
        cut((ZERO, Fraction(60)), (ZERO, Fraction(60)), window_s)


@pytest.mark.parametrize(
    ("window_s", "samples"),
    [(2, 44100), (Fraction(5, 2), 55125), (Fraction("5.12"), 112896), (20, 441000)],
)
def test_sound_has_the_samples_of_the_window(window_s: Fraction, samples: int) -> None:
    sound = Audio(np.zeros(60 * 22050, np.float32), ZERO)
    windows, _ = cut((ZERO, Fraction(60)), (ZERO, sound.stop_s), Fraction(window_s))
    assert len(windows) == 60 // Fraction(window_s)
    assert {cut_audio(sound, window).shape for window in windows} == {(samples,)}


@pytest.mark.parametrize("start_s", [ZERO, Fraction(1362, 30000), Fraction(1001, 60000) * 7])
def test_sound_is_cut_at_the_nearest_sample(start_s: Fraction) -> None:
    audio_start_s = Fraction(-1, 300)
    sound = Audio(np.arange(7 * 22050, dtype=np.float32), audio_start_s)
    windows, _ = cut((start_s, Fraction(7)), (sound.start_s, sound.stop_s), Fraction(2))
    assert len(windows) == 3
    for window in windows:
        first = cut_audio(sound, window)[0]
        error_s = audio_start_s + Fraction(int(first), 22050) - window.start_s
        assert abs(error_s) <= Fraction(1, 2 * 22050)
    ends = [cut_audio(sound, window)[[0, -1]] for window in windows]
    assert [b[0] - a[1] for a, b in pairwise(ends)] == [1, 1]


def test_windows_of_5_12_s_follow_each_other_without_a_sample_lost_or_repeated() -> None:
    sound = Audio(np.arange(50 * 22050, dtype=np.float32), ZERO)
    windows, dropped_s = cut((ZERO, Fraction(50)), (ZERO, sound.stop_s), Fraction("5.12"))
    assert [w.start_s for w in windows] == [k * Fraction(128, 25) for k in range(9)]
    assert dropped_s == 50 - 9 * Fraction(128, 25)
    joined = np.concatenate([cut_audio(sound, window) for window in windows])
    np.testing.assert_array_equal(joined, np.arange(9 * 112896))


def test_the_missing_end_is_silence_and_nothing_else_is() -> None:
    sound = Audio(np.ones(44032, np.float32), ZERO)
    (window,), _ = cut((ZERO, Fraction(3)), (ZERO, sound.stop_s), Fraction(2))
    got = cut_audio(sound, window)
    assert got.dtype == np.float32 and got.shape == (44100,)
    assert got[:44032].all() and not got[44032:].any()


@pytest.mark.parametrize("start_s", [Fraction(-1), Fraction(2)])
def test_sound_of_another_span_is_refused(start_s: Fraction) -> None:
    sound = Audio(np.ones(66150, np.float32), ZERO)
    with pytest.raises(ValueError, match="expected it to cover"):
        cut_audio(sound, Window(1, start_s, start_s + 2))
