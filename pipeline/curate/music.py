"""Score a clip's sound: is it silent, and is it music or only speech?

This uses statistics without a trained model. A voice alone has almost no power below 85 Hz, where
music has kick drum and bass, and it has no pulse: its loudness does not repeat after a beat. Sound
without bass and without pulse counts as speech. A voice over music has both and is kept.

Legend: N samples at 22 050 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

FFT, HOP = 4096, 512
SILENT_DBFS = -50.0
BASS_HZ = (30.0, 85.0)
BEAT_S = (0.3, 1.0)


@dataclass(frozen=True)
class SoundScores:
    """`loud_dbfs`: RMS of the entire sound. `silent`: share of frames below -50 dBFS. `bass_db`:
    power from 30 to 85 Hz relative to the power above 85 Hz. `pulse`: largest autocorrelation of
    the onset strength at a lag of 0.3 to 1 s, at most 1."""

    loud_dbfs: float
    silent: float
    bass_db: float
    pulse: float


def sound_scores(sound: np.ndarray) -> SoundScores:
    """Return the scores of `sound` (N,); sound shorter than 1 s counts as silence."""
    import librosa

    if len(sound) < SAMPLE_RATE_HZ:
        return SoundScores(-120.0, 1.0, -120.0, 0.0)
    rms = librosa.feature.rms(y=sound, frame_length=2 * HOP, hop_length=HOP, center=False)[0]
    loud_dbfs = 20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2)) + 1e-6)
    silent = float((20 * np.log10(rms + 1e-6) < SILENT_DBFS).mean())
    power = (np.abs(librosa.stft(sound, n_fft=FFT, hop_length=HOP)) ** 2).sum(1)
    hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    bass = power[(hz >= BASS_HZ[0]) & (hz < BASS_HZ[1])].sum() + 1e-9
    bass_db = 10 * np.log10(bass / (power[hz >= BASS_HZ[1]].sum() + 1e-9))
    return SoundScores(float(loud_dbfs), silent, float(bass_db), _pulse(sound))


def _pulse(sound: np.ndarray) -> float:
    import librosa

    onsets = librosa.onset.onset_strength(y=sound, sr=SAMPLE_RATE_HZ, hop_length=HOP)
    onsets = onsets - onsets.mean()
    count = len(onsets)
    again = np.correlate(onsets, onsets, "full")[count - 1 :] / np.arange(count, 0, -1)
    first, last = (round(lag_s * SAMPLE_RATE_HZ / HOP) for lag_s in BEAT_S)
    window = again[first : min(last, count // 2 + 2)]
    return float(np.clip(window.max() / (again[0] + 1e-9), 0, 1)) if len(window) else 0.0
