"""The beats scores: their definition, its edges, and when and whereabouts librosa is loaded."""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import ROOT

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract import caches
from model.contract.exit_codes import exits
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.weights_folder import weights_folder
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import load_config
from model.measures.beats import (
    beats_scores,
    mean_scores,
    onset_f,
    onset_scores,
    onsets_s,
    with_onsets,
)
from model.runtime.run_log import read_metrics
from model.training.loop import train


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


@pytest.mark.long
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


@pytest.mark.long
def test_the_trainer_loads_neither_librosa_nor_mir_eval_before_validation():
    script = "import sys, model.training.loop; print({'librosa', 'mir_eval'} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        cwd=ROOT,
    )
    assert told.stdout.strip() == "set()"


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    """Return a folder with librosa that cannot be written, of a user without a home."""
    source = tmp_path / "packages" / "librosa"
    (source / "core").mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(source)])
    monkeypatch.setattr(caches, "find_spec", lambda name: spec)
    access = os.access
    refused = str(tmp_path / "packages")
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(refused) and access(path, mode)
    )
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return source


@pytest.mark.parametrize("home", [None, "", "/proc/none"])
def test_without_a_home_caches_lie_among_temporary_files(packages, tmp_path, monkeypatch, home):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    caches.settle()
    ours = tmp_path / "tmp" / f"dance2music-{os.getuid()}"
    if home:
        assert os.environ["NUMBA_CACHE_DIR"] == str(ours / "numba")
    else:
        assert os.environ["HOME"] == str(ours / "home") and caches.numba_finds_a_place()
        assert list((ours / "home").rglob("numba"))
    assert ours.stat().st_mode & 0o777 == 0o700
    assert not list((tmp_path / "here").iterdir())  # no folder that is called ~
    monkeypatch.delenv("D2M_CACHE", raising=False)
    assert weights_folder().is_absolute()


def test_weights_in_the_home_of_nobody_are_refused(monkeypatch):
    monkeypatch.setenv("D2M_CACHE", "~nobody-is-called-that/cache")
    with pytest.raises(ValueError, match="the user has no home folder"):
        weights_folder()


def test_caches_stay_where_they_can_be_written(packages, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    caches.settle()
    assert os.environ["HOME"] == str(tmp_path / "home")
    assert "NUMBA_CACHE_DIR" not in os.environ and "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    caches.settle()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "mine")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/none/mine")
    caches.settle()
    assert os.environ["NUMBA_CACHE_DIR"].startswith(str(tmp_path / "tmp"))


def test_a_folder_of_another_user_is_no_cache(packages, tmp_path):
    taken = tmp_path / "tmp" / f"dance2music-{os.getuid()}"
    for take in (lambda: taken.mkdir(0o777), lambda: taken.symlink_to(tmp_path / "here")):
        take()
        taken.chmod(0o777)
        made = Path(caches.private_folder("numba")).parent
        assert made != taken and made.stat().st_mode & 0o777 == 0o700
        taken.unlink() if taken.is_symlink() else taken.rmdir()


def test_librosa_without_a_place_for_its_cache_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended, exits("free some"):
        raise RuntimeError("cannot cache function '__o_fold': no locator available for file 'a'")
    assert ended.value.code == 1
    assert "set NUMBA_CACHE_DIR to a writable folder\n" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["model", "pipeline"])
def test_importing_a_package_settles_where_caches_lie(package):
    script = (
        f"import sys, {package}; "
        "print('model.contract.caches' in sys.modules, 'numba' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=ROOT,
    )
    assert told.stdout.strip() == "True False"
