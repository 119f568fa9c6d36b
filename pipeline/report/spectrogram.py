"""A picture of a sound: its mel bands and its onsets, computed with numpy alone.

It is only for viewing in a report. librosa gives the same bands and onsets (a test compares them),
but loading it would add seconds to every build. Evaluations count the onsets of librosa.
"""

from __future__ import annotations

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

FFT, HOP, BANDS = 1024, 256, 64
LOW_HZ, FLOOR_DB = 30.0, 80.0
NEAR_S, AROUND_S = 0.035, 0.12
MIN_RISE = 0.12
MAX_COLUMNS = 600


def decibels(sound: np.ndarray) -> np.ndarray:
    """Return the mel bands of a sound (N,) in dB below its maximum: float (frames, 64), −80 to 0.

    Frame k is centred at sample k · 256. For silence, all values are −80.

    Raises ValueError for fewer than 1024 samples.
    """
    if len(sound) < FFT:
        raise ValueError(f"{len(sound)} samples, expected at least {FFT}")
    # Reflected, so that the edges cause no onsets.
    padded = np.pad(np.asarray(sound, np.float32), FFT // 2, "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FFT).astype(np.float32))) ** 2
    # Not `@`: for a matrix product, the threads of BLAS spin longer than the product takes.
    bands = np.einsum("fk,bk->fb", power, _filters())
    loudest = bands.max()
    if loudest < 1e-9:
        return np.full(bands.shape, -FLOOR_DB)
    return 10 * np.log10(np.maximum(bands / loudest, 10 ** (-FLOOR_DB / 10)))


def picture_of(sound: np.ndarray) -> np.ndarray:
    """Return the mel bands of a sound (N,), from 0 (quiet) to 1: (64, columns), low bands first."""
    bands = decibels(sound) / FLOOR_DB + 1
    each = -(-len(bands) // MAX_COLUMNS)
    return np.stack([part.max(0) for part in np.split(bands, range(each, len(bands), each))], 1)


def onsets_s(sound: np.ndarray) -> np.ndarray:
    """Return the times (K,) in seconds at which the bands rise together.

    An onset is a peak of the mean rise in dB over all bands. A peak is the largest value within 35
    ms. It also exceeds the mean of the surrounding 120 ms by at least 0.12 of the largest rise.
    """
    bands = decibels(sound)
    rise = np.maximum(np.diff(bands, axis=0, prepend=bands[:1]), 0).mean(1)
    if not rise.max() > 0:
        return np.zeros(0)
    near, around = (round(s * SAMPLE_RATE_HZ / HOP) for s in (NEAR_S, AROUND_S))
    mean = np.convolve(rise, np.ones(2 * around + 1) / (2 * around + 1), "same")
    shown = np.lib.stride_tricks.sliding_window_view(np.pad(rise, near), 2 * near + 1)
    peaks = (rise == shown.max(1)) & (rise > mean + MIN_RISE * rise.max())
    # Of equal neighbours, only the first is a peak.
    peaks[1:] &= ~peaks[:-1]
    return np.flatnonzero(peaks) * HOP / SAMPLE_RATE_HZ


def _filters() -> np.ndarray:
    """Return triangular filters over the FFT's bins, evenly spaced in mel (O'Shaughnessy): (64,
    513).
    """
    top_mel, low_mel = (2595 * np.log10(1 + hz / 700) for hz in (SAMPLE_RATE_HZ / 2, LOW_HZ))
    edges_hz = 700 * (10 ** (np.linspace(low_mel, top_mel, BANDS + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    left, middle, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    up, down = (bins_hz - left) / (middle - left), (right - bins_hz) / (right - middle)
    return np.maximum(np.minimum(up, down), 0).astype(np.float32)
