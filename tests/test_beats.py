"""The beats scores: the authors' definition, its edges, and that training loads librosa late."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.config import load_config
from model.evaluate.beats import (
    beats_scores,
    mean_scores,
    onset_f,
    onset_scores,
    onsets_s,
    with_onsets,
)
from model.fake import write_fake_dataset
from model.jukebox import load_codec, random_codec, write_weights
from model.report import read_metrics
from model.segment import SAMPLE_RATE_HZ
from model.train import train


def clicks(times_s, samples=2 * SAMPLE_RATE_HZ) -> np.ndarray:
    """Return silence (N,) with the same short burst of noise at each time."""
    burst = np.random.default_rng(0).standard_normal(600) * np.exp(-np.arange(600) / 120)
    audio = np.zeros(samples, np.float32)
    for at in np.round(np.asarray(times_s) * SAMPLE_RATE_HZ).astype(int):
        audio[at : at + 600] += 0.3 * burst[: samples - at]
    return audio


def test_onsets_are_found_where_the_clicks_are():
    times_s = [0.31, 0.75, 1.2, 1.63]
    found = onsets_s(clicks(times_s))
    assert len(found) == 4
    assert np.abs(found - times_s).max() < 0.035


def test_identical_music_has_full_marks_and_silence_none():
    music = clicks([0.2, 0.6, 1.4])
    assert beats_scores(music, music) == {"cover": 1.0, "hit": 1.0, "onset_f": 1.0}
    assert beats_scores(np.zeros_like(music), music) == {"cover": 0.0, "hit": 0.0, "onset_f": 0.0}


def test_cover_and_hit_count_seconds_as_the_authors_tool_does():
    # Seconds with an onset: truth 0 and 2, generated 0, 1 and 3.
    truth, generated = np.array([0.2, 0.7, 2.1]), np.array([0.9, 1.0, 3.99])
    scores = onset_scores(generated, truth, 4)
    assert scores["cover"] == 3 / 2
    assert scores["hit"] == 1 / 2
    assert with_onsets(generated, 4).tolist() == [True, True, False, True]
    assert with_onsets(np.array([4.0]), 4).tolist() == [False, False, False, True]


def test_a_metronome_has_full_cover_and_hit_but_a_low_onset_f():
    truth = clicks([0.12, 0.55, 0.98, 1.41, 1.84])
    metronome = clicks([0.3, 0.8, 1.3, 1.8])
    scores = beats_scores(metronome, truth)
    assert scores["cover"] == scores["hit"] == 1.0
    assert scores["onset_f"] < 0.5


def test_onset_f_matches_one_to_one_within_fifty_milliseconds():
    truth = np.array([0.5, 1.0, 1.5])
    assert onset_f(np.array([0.549, 1.0, 1.451]), truth) == 1.0
    assert onset_f(np.array([0.56, 1.06, 1.56]), truth) == 0.0
    # Two onsets near one: one match of 2 given and 3 true.
    assert onset_f(np.array([0.49, 0.51]), truth) == pytest.approx(2 * 0.5 / 3 / (0.5 + 1 / 3))
    assert onset_f(np.array([]), truth) == 0.0


def test_truth_without_onsets_has_no_score_and_is_counted():
    music = clicks([0.2, 1.4])
    nothing = beats_scores(music, np.zeros_like(music))
    assert all(math.isnan(value) for value in nothing.values())
    means = mean_scores([nothing, {"cover": 1.0, "hit": 0.5, "onset_f": 0.25}])
    assert means == {"cover": 1.0, "hit": 0.5, "onset_f": 0.25, "without_onsets": 1}
    means = mean_scores([nothing])
    assert math.isnan(means["onset_f"]) and means["without_onsets"] == 1


def test_lengths_may_differ_within_the_last_second_only():
    music = clicks([0.2, 1.4])
    assert beats_scores(music[: 344 * 128], music)["onset_f"] == 1.0
    with pytest.raises(ValueError, match=r"44100 samples.*66150.*got 2 and 3"):
        beats_scores(music, clicks([0.2, 1.4], 3 * SAMPLE_RATE_HZ))
    with pytest.raises(ValueError, match="got 0 and 0"):
        beats_scores(music[:0], music[:0])


def test_validation_logs_rhythm_for_a_window_of_just_over_two_seconds(tmp_path):
    # The decoder gives back 44 032 of 44 122 samples: two begun seconds, not three.
    weights = tmp_path / "codec.safetensors"
    untrained = random_codec()
    write_weights(weights, untrained.model, "random", untrained.note)
    videos = {"train": 1, "val": 1}
    root = tmp_path / "shards"
    write_fake_dataset(root, load_codec(weights), str(weights), videos, 2, window_s="2001/1000")
    small = ["channels=16", "motion_channels=8", "discriminators=1", "batch_size=1", "max_steps=1"]
    train(root, tmp_path / "run", load_config("tiny", None, small))
    (logged,) = [row for row in read_metrics(tmp_path / "run") if "val/accuracy" in row]
    assert {"val/cover", "val/hit", "val/onset_f"} <= set(logged)


def test_the_trainer_loads_neither_librosa_nor_mir_eval_before_validation():
    script = "import sys, model.train; print({'librosa', 'mir_eval'} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert told.stdout.strip() == "set()"
