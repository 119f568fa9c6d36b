"""Measures of notes: constructed sounds of which is known whether they have notes."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from model.measures.notes import SCORES, WINDOW, loudness_db, note_energy, note_scores

RATE_HZ, SECONDS = 22050, 8
TIME_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ
NOISE = np.random.default_rng(0).standard_normal(len(TIME_S))


def tone(midi: float, start_s: float = 0.0, length_s: float = SECONDS) -> np.ndarray:
    """Return a note with five partials, which fades out."""
    since = TIME_S - start_s
    on = (since >= 0) & (since < length_s)
    hz = librosa.midi_to_hz(midi)
    partials = sum(np.sin(2 * np.pi * k * hz * since) / k for k in range(1, 6))
    return np.where(on, partials * np.exp(-since.clip(0) / 2), 0)


def drums(every_s: float = 0.5) -> np.ndarray:
    """Return a bass drum on each beat, and a snare of noise between them."""
    since = TIME_S % every_s
    kick = np.sin(2 * np.pi * 62 * since) * np.exp(-since / 0.08)
    return kick + 0.3 * NOISE * np.exp(-((TIME_S + every_s / 2) % every_s) / 0.05)


def hum() -> np.ndarray:
    return sum(np.sin(2 * np.pi * hz * TIME_S) for hz in (55, 110, 220)) / 3


def bursts() -> np.ndarray:
    return np.exp(-(TIME_S % 0.5) / 0.08)


MELODY = sum(tone(p, i / 2, 0.5) for i, p in enumerate([60, 64, 67, 65, 62, 69, 71, 72] * 2))
CHORDS = sum(
    tone(p, 2 * i, 2.0)
    for i, chord in enumerate([(57, 60, 64), (53, 57, 60), (48, 55, 64), (55, 59, 62)])
    for p in chord
)
WITHOUT_NOTES = {
    "silence": 0 * NOISE,
    "noise": NOISE,
    "hum": hum(),
    "hum between bursts of noise": (1 - bursts()) * hum() + bursts() * NOISE,
    "interrupted hum": hum() * (TIME_S % 1 < 0.4),
    "hum under noise": hum() + 0.1 * NOISE,
    "drums": drums(),
    "one chord, held": sum(np.sin(2 * np.pi * librosa.midi_to_hz(p) * TIME_S) for p in (57, 60)),
}
WITH_NOTES = {
    "melody": MELODY,
    "chords": CHORDS,
    "melody with drums": MELODY + drums(),
    "melody with noise": MELODY + 0.3 * NOISE,
    "melody with hum": MELODY + hum(),
}


@pytest.mark.parametrize("name", WITHOUT_NOTES)
def test_what_has_no_notes_scores_next_to_nothing(name):
    found = note_scores(WITHOUT_NOTES[name])
    assert 0 <= found["held"] <= found["notes"] < 0.03 and found["upper"] < 0.03, found


@pytest.mark.parametrize("name", WITH_NOTES)
def test_notes_are_found_beside_drums_noise_and_hum(name):
    found = note_scores(WITH_NOTES[name])
    assert found["notes"] > 0.1 and found["held"] > 0.05 and found["upper"] > 0.05, found


def test_notes_are_found_at_their_time_and_pitch():
    energy, _ = note_energy(tone(69, 2.0, 0.5) + tone(64, 4.0, 0.5) + 0.01 * NOISE)
    for midi, second in ((69, 2.25), (64, 4.25)):
        row, frame = midi - 35, round(second * RATE_HZ / 2048)
        assert energy[:, frame].argmax() == row
    assert not energy[:, : round(1.5 * RATE_HZ / 2048)].sum()


def test_loudness_of_the_music_does_not_matter():
    loud, quiet = note_scores(MELODY), note_scores(0.01 * MELODY)
    assert loud == pytest.approx(quiet, rel=1e-3)


def test_too_short_music_is_refused_and_silence_is_without_notes():
    assert note_scores(np.zeros(2 * WINDOW)) == dict.fromkeys(SCORES, 0.0)
    with pytest.raises(ValueError, match="notes need at least 16384"):
        note_scores(np.zeros(WINDOW))


def test_loudness_in_decibels():
    assert loudness_db(np.ones(9)) == 0
    assert loudness_db(0.1 * np.ones(9)) == pytest.approx(-20)
    assert loudness_db(np.zeros(9)) == -100
