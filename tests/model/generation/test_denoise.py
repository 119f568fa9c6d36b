"""Denoising: what it takes out, and what it says where its package is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.ndimage import maximum_filter1d

from model.contract.segment import SAMPLE_RATE_HZ
from model.generation.denoise import denoise, removed_share
from model.listening.sounds import rms


def test_denoising_takes_out_noise_between_the_notes():
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    rng = np.random.default_rng(0)
    t = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    clean = 0.5 * np.sin(2 * np.pi * 440 * t) * (t % 1 < 0.3)
    noisy = (clean + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
    for stationary in (False, True):
        found = denoise(noisy, stationary)
        assert found.shape == noisy.shape and found.dtype == np.float32
        rest = (t % 1 > 0.5) & (t % 1 < 0.9)
        assert np.abs(found[rest]).mean() < 0.5 * np.abs(noisy[rest]).mean()
        assert 0 < removed_share(noisy, found) < 1
    assert not denoise(np.zeros(44100, np.float32)).any()
    assert removed_share(np.zeros(9), np.zeros(9)) == 0.0


def test_without_noisereduce_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    with pytest.raises(ValueError, match=r"pip install 'dance2music\[denoise\]'"):
        denoise(np.ones(100, np.float32))


@pytest.mark.long
def test_denoising_gives_numbers_after_long_silence():
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    times_s = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 440 * times_s) * (times_s % 1 < 0.3)
    silence = np.zeros(40 * SAMPLE_RATE_HZ)
    for audio in (np.r_[silence, tone], np.r_[tone, silence]):
        found = denoise(audio)
        assert np.isfinite(found).all() and found.shape == audio.shape
        assert rms(found[audio != 0]) > 0.2 * rms(audio[audio != 0])
        assert np.abs(found[~maximum_filter1d(audio != 0, 44_100)]).max() < 2**-16


@pytest.mark.parametrize("stationary", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 100, 1023])
def test_denoising_leaves_less_than_a_window_as_it_is(samples, stationary):
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    audio = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    assert np.array_equal(denoise(audio, stationary), audio)
