"""Onsets, beats and tempo: as defined, exact on constructed cases, and able to tell."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from music_pool import pool

from model.contract.segment import SAMPLE_RATE_HZ
from model.measures.beats import beats_scores, onset_f, onsets_s
from model.measures.rhythm import (
    FIFTHS,
    LORIS,
    beat_scores,
    beats_s,
    bin_scores,
    f1_of_means,
    spread,
    tempo_bpm,
    tempo_difference,
)

BEATS_S = np.arange(0.3, 8, 0.5)


def test_beat_scores_are_what_their_formulas_give():
    assert beat_scores(BEATS_S, BEATS_S) == dict.fromkeys(
        ("beat_f", "cemgil", "tempo", "tempo_octave"), 1.0
    )
    late = beat_scores(BEATS_S + 0.04, BEATS_S)
    assert late["beat_f"] == 1.0 and late["cemgil"] == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert beat_scores(BEATS_S + 0.08, BEATS_S)["beat_f"] == 0.0
    half = beat_scores(BEATS_S[::2], BEATS_S)
    assert half["beat_f"] == pytest.approx(2 / 3)
    assert (half["tempo"], half["tempo_octave"]) == (0.0, 1.0)


def test_tempo_is_right_within_four_percent_and_one_skipped_beat_changes_nothing():
    assert tempo_bpm(BEATS_S) == pytest.approx(120)
    assert tempo_bpm(np.delete(BEATS_S, 5)) == pytest.approx(120)
    assert math.isnan(tempo_bpm(BEATS_S[:1]))
    for faster, right in ((1.0, 1), (1.03, 1), (1.05, 0), (0.97, 1), (0.95, 0)):
        assert beat_scores(BEATS_S / faster, BEATS_S)["tempo"] == right


@pytest.mark.long
def test_no_beats_score_nothing_and_no_true_beats_give_no_score():
    assert set(beat_scores(np.zeros(0), BEATS_S).values()) == {0.0}
    assert all(math.isnan(value) for value in beat_scores(BEATS_S, BEATS_S[:1]).values())
    assert len(beats_s(np.zeros(88200, np.float32))) == 0


def test_coverage_and_hit_as_later_work_reports_them():
    # Seconds with an onset: truth 0 and 2, generated 0, 1 and 3.
    truth, generated = np.array([0.2, 0.7, 2.1]), np.array([0.9, 1.0, 3.99])
    assert bin_scores(generated, truth, 4) == {"loris_cover": 1 / 3, "loris_hit": 1 / 2}
    assert bin_scores(np.zeros(0), truth, 4) == {"loris_cover": 0.0, "loris_hit": 0.0}
    assert f1_of_means(np.array([0.5, 1.0]), np.array([0.0, 0.5])) == 0.375
    assert f1_of_means(np.zeros(2), np.zeros(2)) == 0.0
    assert spread(np.array([0.5, 1.0])) == pytest.approx(math.sqrt(0.125))
    assert spread([1.0, math.nan, 3.0]) == pytest.approx(math.sqrt(2))
    assert math.isnan(spread([1.0]))


def test_coverage_and_hit_in_bins_of_a_fifth_of_a_second():
    # Bins with an onset: truth 1, 3 and 6; generated 1, 3 (twice), 7 and 9. 0.6 / 0.2 is below 3.
    truth = np.array([0.2, 0.6, 1.39])
    generated = np.array([0.39, 0.61, 0.79, 1.4, 1.99])
    found = bin_scores(generated, truth, FIFTHS.bins(44100), FIFTHS)
    assert found == {"bcs_02": 2 / 4, "bhs_02": 2 / 3}
    # In bins of 1 s the same onsets agree completely, so the scales cannot be compared.
    whole = bin_scores(generated, truth, LORIS.bins(44100), LORIS)
    assert whole == {"loris_cover": 1.0, "loris_hit": 1.0}
    assert set(bin_scores(np.zeros(0), truth, 10, FIFTHS).values()) == {0.0}
    assert set(bin_scores(generated, np.zeros(0), 10, FIFTHS).values()) == {0.0}


def test_every_border_of_a_fifth_of_a_second_belongs_to_the_later_bin():
    for i in range(1, 300):
        at, before = np.array([i / 5]), np.array([np.nextafter(i / 5, 0) - 1e-9])
        assert bin_scores(at, np.array([i / 5 + 0.1]), 300, FIFTHS)["bcs_02"] == 1, i
        assert bin_scores(before, at, 300, FIFTHS)["bcs_02"] == 0, i


def test_the_last_bin_of_a_segment_may_be_shorter_and_holds_an_onset_at_the_end():
    samples = round(5.12 * SAMPLE_RATE_HZ)  # 25.6 bins of 0.2 s: the 26th lasts 0.12 s
    assert (FIFTHS.bins(samples), LORIS.bins(samples)) == (26, 6)
    assert (FIFTHS.bins(44100), LORIS.bins(44100)) == (10, 2)
    assert (FIFTHS.bins(44101), LORIS.bins(44101)) == (11, 3)
    truth = np.array([4.99, 5.01])  # bins 24 and 25
    found = bin_scores(np.array([5.12]), truth, FIFTHS.bins(samples), FIFTHS)
    assert found == {"bcs_02": 1.0, "bhs_02": 0.5}
    assert bin_scores(np.array([2.0]), np.array([1.9]), 10, FIFTHS)["bcs_02"] == 1.0


@pytest.mark.long
def test_the_difference_of_tempi_is_in_bpm_and_undefined_without_beats():
    slower = BEATS_S * 1.2  # 100 BPM
    assert tempo_difference(BEATS_S, BEATS_S) == 0
    assert tempo_difference(slower, BEATS_S) == pytest.approx(20)
    assert tempo_difference(BEATS_S, slower) == pytest.approx(20)
    assert tempo_difference(BEATS_S[::2], BEATS_S) == pytest.approx(60)
    silence = beats_s(np.zeros(88200, np.float32))
    assert math.isnan(tempo_difference(silence, BEATS_S))
    assert math.isnan(tempo_difference(BEATS_S, silence))


@pytest.fixture(scope="module")
def songs():
    """Six songs of 14 s with their beats: three genres, two tempos each."""
    from pipeline.sources.synthetic.music import compose

    return [compose(f"m{genre}{i}", 0, 14.0) for genre in ("HO", "PO", "KR") for i in (0, 3)]


def excerpt(song, start_s: float) -> np.ndarray:
    import soxr

    samples, _ = song.excerpt(start_s, 8.0)
    return soxr.resample(samples, 44100, SAMPLE_RATE_HZ)


@pytest.mark.long
def test_true_music_beats_other_music_and_lateness_is_punished_step_by_step(songs):
    def mean(late_s: float, turn: int) -> dict[str, float]:
        rows = []
        for i, song in enumerate(songs):
            other = songs[(i + turn) % len(songs)]
            beats = song.beat_times_s[(song.beat_times_s >= 3) & (song.beat_times_s < 11)] - 3
            music, truth = excerpt(other, 3 - late_s), excerpt(song, 3)
            onsets = {"onset_f": onset_f(onsets_s(music), onsets_s(truth))}
            rows.append(onsets | beat_scores(beats_s(music), beats))
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    true, late, later, other = mean(0, 0), mean(0.05, 0), mean(0.1, 0), mean(0, 2)
    for name in ("onset_f", "beat_f", "cemgil"):
        assert true[name] > late[name] > later[name]
        assert true[name] > other[name] + 0.3
    assert true["tempo_octave"] > other["tempo_octave"]
    assert later["tempo"] == true["tempo"]  # a tempo has no beginning


def test_no_measure_warns_of_plain_input():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        music = pool()[2]
        for heard in (music, np.zeros_like(music)):
            onset_f(onsets_s(heard), onsets_s(music))
            beat_scores(beats_s(heard), beats_s(music))
        beats_scores(np.zeros_like(music), music)
