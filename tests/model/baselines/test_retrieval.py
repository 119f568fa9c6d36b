"""Retrieval finds the music whose beats are the dance's, at the tempo that fits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from model.baselines import retrieval as room
from model.baselines.base import Given
from model.baselines.retrieval import RATES, Found, best_way, played, retrieval
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.measures.align import SIGMA_S

SECONDS = 8


def beats(bpm: float, first_s: float = 0.2) -> np.ndarray:
    return np.arange(first_s, SECONDS, 60 / bpm)


def clicks(bpm: float, first_s: float = 0.2) -> np.ndarray:
    time_s = np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    since = (time_s - first_s) % (60 / bpm)
    sound = np.sin(2 * np.pi * 1000 * since) * np.exp(-since / 0.02) * (time_s >= first_s)
    return sound.astype(np.float32)


@pytest.mark.parametrize("rate", [RATES[2], 1.0, RATES[9]])
def test_the_tempo_and_the_start_that_fit_are_found(rate):
    music = beats(100)
    score, found, start_s = best_way(beats(100 * rate, 0.35), music)
    assert found == pytest.approx(rate) and score > 0.9
    moved = (music - start_s) / found
    apart = np.abs(moved[:, None] - beats(100 * rate, 0.35)[None]).min(0)
    assert np.median(apart) < SIGMA_S


def test_music_of_another_tempo_scores_less_and_nothing_scores_nothing():
    dance = beats(100)
    assert best_way(dance, beats(100))[0] > best_way(dance, beats(147))[0] + 0.1
    assert best_way(np.zeros(0), beats(100)) == best_way(dance, np.zeros(1)) == (0.0, 1.0, 0.0)


@pytest.mark.long
def test_what_is_played_is_stretched_and_as_long_as_the_clip():
    slow = Found(1.0, 0.84, 0.2, clicks(120))
    sound = played(slow, 100_000)
    assert len(sound) == 100_000 and np.isfinite(sound).all()
    energy = (sound[:99_000].reshape(-1, 220) ** 2).sum(1)  # in frames of 10 ms
    energy -= energy.mean()
    echo = np.correlate(energy, energy, "full")[len(energy) - 1 :]
    assert (20 + echo[20:90].argmax()) / 100 == pytest.approx(0.5 / 0.84, abs=0.03)
    assert len(played(Found(1.0, 1.19, 0.0, clicks(120)), 400_000)) == 400_000


def given(motion: bool = True, training: bool = True) -> Given:
    inputs = {MOTION: np.zeros((2, 2))} if motion else {}
    piece = SimpleNamespace(inputs=inputs, video_id="asked")
    clip = SimpleNamespace(piece=piece, segments=np.zeros((4, 44_100)), motion_fps=30.0)
    return cast(Given, SimpleNamespace(clips=[clip], training="split" if training else None))


@pytest.mark.long
def test_the_best_of_the_training_music_is_chosen_and_not_the_clip_s_own(monkeypatch):
    monkeypatch.setattr(room, "dance_beats_s", lambda motion, fps: beats(126, 0.3))
    songs = {
        "asked": clicks(126, 0.3),
        "slow": clicks(84),
        "near": clicks(120),
        "fast": clicks(170),
    }
    monkeypatch.setattr(room, "music_of", lambda source: iter(songs.items()))
    (music,) = retrieval(given())
    assert len(music.audio[0]) == 4 * 44_100 and "0.84 to 1.19" in music.note
    way = best_way(beats(126, 0.3), room.beats_s(songs["near"]))
    near = played(Found(*way, songs["near"]), 4 * 44_100)
    np.testing.assert_array_equal(music.audio[0], near)


def test_without_motion_or_training_music_there_is_no_row(monkeypatch):
    monkeypatch.setattr(room, "dance_beats_s", lambda motion, fps: beats(100))
    monkeypatch.setattr(room, "music_of", lambda source: iter(()))
    assert [*retrieval(given(motion=False))] == [*retrieval(given(training=False))] == []
    assert [*retrieval(given())] == []
