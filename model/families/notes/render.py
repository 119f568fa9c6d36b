"""Notes as sound at the rate of the shards."""

from __future__ import annotations

import numpy as np

from model.contract.segment import PEAK, SAMPLE_RATE_HZ
from model.contract.sound_font import PLAYER_HZ, SoundFont


def render(notes: np.ndarray, samples: int, font: SoundFont) -> np.ndarray:
    """Return notes (N, 7), in seconds from the start, as mono sound at 22 050 Hz, float32.

    The result has `samples` samples. The loudest is PEAK, as in the shards. What would sound on
    after the end is cut. Without notes there is silence. The same notes give the same samples.
    """
    import soxr

    if not len(notes):
        return np.zeros(samples, np.float32)
    ratio = PLAYER_HZ // SAMPLE_RATE_HZ
    sound = soxr.resample(font.play(notes, samples * ratio), PLAYER_HZ, SAMPLE_RATE_HZ)[:samples]
    sound = np.pad(sound, (0, samples - len(sound))).astype(np.float32)
    peak = np.abs(sound).max()
    return sound * np.float32(PEAK / peak) if peak > 0 else sound
