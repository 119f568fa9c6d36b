"""Pseudo-drums: strokes found as sudden energy in a low, a middle and a high band of any sound.

They are no transcription of a drum kit. A bass note can be taken for a kick, and a clap for a
snare; what is found is when the music strikes, and roughly how high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.contract.notes import DRUM_PROGRAM, DRUM_S
from model.contract.segment import SAMPLE_RATE_HZ

FFT, HOP = 1024, 220
"""Samples of a spectrum and between two spectra: 46 and 10 ms."""
QUIETEST_DB = 60
"""What is so much below the loudest of its band in a clip counts as silence."""
AROUND, APART = 10, 7
"""Frames on each side that a peak is compared with, and the least distance of two strokes."""
DRUM_TRACK = 0


@dataclass(frozen=True)
class Band:
    """A band of frequencies whose strokes are written as one drum, by its key in General MIDI.

    A stroke raises the band's mean level by at least `rise_db` above its surroundings.
    """

    name: str
    low_hz: float
    high_hz: float
    key: int
    rise_db: float


BANDS = (
    Band("kick", 30, 120, 36, 5.0),
    Band("snare", 1500, 5000, 38, 6.0),
    Band("hat", 6500, 11_000, 42, 5.0),
)


def pseudo_drums(audio: np.ndarray) -> np.ndarray:
    """Return the strokes in audio (N,) at 22 050 Hz as notes (M, 7), sorted by onset.

    The velocity grows with the rise of the level. Silence has none.
    """
    import librosa

    if len(audio) < FFT or not np.any(audio):
        return np.zeros((0, 7))
    power = np.abs(librosa.stft(audio.astype(np.float32), n_fft=FFT, hop_length=HOP)) ** 2
    hz = librosa.fft_frequencies(sr=SAMPLE_RATE_HZ, n_fft=FFT)
    rows = []
    for band in BANDS:
        inside = power[(hz >= band.low_hz) & (hz < band.high_hz)]
        level_db = librosa.power_to_db(inside, ref=np.max, top_db=QUIETEST_DB)
        strength = np.maximum(np.diff(level_db, axis=1, prepend=level_db[:, :1]), 0).mean(0)
        peaks = librosa.util.peak_pick(
            strength, pre_max=3, post_max=4, pre_avg=AROUND, post_avg=AROUND + 1,
            delta=band.rise_db, wait=APART,
        )  # fmt: skip
        velocities = np.clip(30 + 8 * strength[peaks], 1, 127).round()
        for frame, velocity in zip(peaks, velocities, strict=True):
            onset_s = frame * HOP / SAMPLE_RATE_HZ
            rows.append((onset_s, DRUM_S, band.key, velocity, DRUM_PROGRAM, DRUM_TRACK, -1))
    return np.array(sorted(rows), np.float64).reshape(-1, 7)
