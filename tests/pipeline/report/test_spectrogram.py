"""The report's own mel bands and onsets are librosa's."""

from __future__ import annotations

import numpy as np
import pytest

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.report import spectrogram
from pipeline.report.spectrogram import BANDS, FFT, FLOOR_DB, HOP, LOW_HZ, decibels, onsets_s


def music(seed: int) -> np.ndarray:
    """Return two seconds of strokes of decaying noise over a few tones."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = 0.1 * np.sin(2 * np.pi * np.outer([110, 277, 660], at_s)).mean(0)
    for start_s in np.arange(0.2, 1.9, rng.uniform(0.2, 0.4)):
        since_s = np.maximum(at_s - start_s, 0)
        sound += rng.normal(0, 0.2, len(at_s)) * np.exp(-20 * since_s) * (at_s >= start_s)
    return sound.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_bands_and_onsets_are_librosas(seed):
    import librosa

    sound = music(seed)
    power = librosa.feature.melspectrogram(
        y=sound, sr=SAMPLE_RATE_HZ, n_fft=FFT, hop_length=HOP, window=np.hanning(FFT),
        n_mels=BANDS, fmin=LOW_HZ, htk=True, norm=None, pad_mode="reflect",
    )  # fmt: skip
    theirs = librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=FLOOR_DB).T
    np.testing.assert_allclose(decibels(sound), theirs, atol=1e-3)
    rise = librosa.onset.onset_strength(S=theirs.T, sr=SAMPLE_RATE_HZ, center=False)
    near, around = (
        round(s * SAMPLE_RATE_HZ / HOP) for s in (spectrogram.NEAR_S, spectrogram.AROUND_S)
    )
    peaks = librosa.util.peak_pick(
        rise, pre_max=near, post_max=near + 1, pre_avg=around, post_avg=around + 1,
        delta=spectrogram.MIN_RISE * rise.max(), wait=1,
    )  # fmt: skip
    found = onsets_s(sound)
    assert len(found) > 3
    np.testing.assert_allclose(found, peaks * HOP / SAMPLE_RATE_HZ)
