"""Audio of the listening test: equal levels, the low anchor for quality, beeps to count."""

from __future__ import annotations

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

LEVEL_DB = -26.0
"""RMS relative to full scale: the level of speech in ITU-T P.800 tests."""
ANCHOR_Q_DB = 0.0
"""Ratio of signal to modulated noise in the low anchor."""
SILENT_RMS = 1e-4
BEEP_HZ = 880.0


def rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def level(audio: np.ndarray) -> np.ndarray:
    """Return audio (N,) at `LEVEL_DB`, or lower if its peaks require it; silence unchanged."""
    loud = rms(audio)
    if loud < SILENT_RMS:
        return audio
    gain = 10 ** (LEVEL_DB / 20) / loud
    return audio * min(gain, 0.999 / float(np.abs(audio).max()))


def modulated_noise(audio: np.ndarray, q_db: float, rng: np.random.Generator) -> np.ndarray:
    """Return audio (N,) with signal-dependent noise: x (1 + 10^(-Q/20) n), n with unit variance.

    This is the modulated noise reference unit of ITU-T P.810, without its band limits.
    """
    return audio * (1 + 10 ** (-q_db / 20) * rng.standard_normal(len(audio)))


def beeps(count: int, samples: int) -> np.ndarray:
    """Return `count` beeps in silence (N,), at most 0.7 s apart, the first one at the start."""
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    apart_s = min(0.7, time_s[-1] / 5.5)
    phase_s = time_s % apart_s
    on = (phase_s < apart_s * 0.4) & (time_s < apart_s * count)
    edge = np.minimum(1, 200 * np.minimum(phase_s, apart_s * 0.4 - phase_s))
    return np.where(on, 0.3 * edge * np.sin(2 * np.pi * BEEP_HZ * time_s), 0.0)
