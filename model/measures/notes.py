"""Does the music have notes: pitches that begin, last and change? Measures that a hum cannot fool.

The hum of a badly trained decoder satisfies plain measures of pitch (the share of energy in
spectral peaks, voicing, the similarity of successive spectra). Therefore only *notes* count here:
the energy in spectral peaks without that of tones that always sound, and of sounds that always
have the same pitch. docs/results/notes-measures.md shows what was tried and left out.

Symbols: N samples at 22 050 Hz, F bins, T frames, P semitones.
"""

from __future__ import annotations

import math

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

SCORES = ("notes", "held", "upper")

WINDOW, HOP = 8192, 2048
"""Samples of a frame of the spectrum, and between two frames: 0.37 and 0.09 s."""

LOW_HZ, UPPER_HZ, HIGH_HZ = 60.0, 200.0, 2000.0
LOWEST = 35
"""The MIDI number of the lowest semitone, B1 at 61.7 Hz."""

NEIGHBOURS, TIMES = 61, 16
"""A bin is in a peak if its power is above `TIMES` times the median of `NEIGHBOURS` bins around it.

In one frame of noise, 0.0002 of the energy is in such bins: (1 + x) exp(-x) with x = 16 ln 2.
"""

ALWAYS, LOUDER = 75, 4
"""A semitone counts where its power is more than `LOUDER` times its percentile `ALWAYS` over time.

So a tone that sounds for more than a quarter of the clip counts only where it is 6 dB louder.
"""


def note_scores(audio: np.ndarray) -> dict[str, float]:
    """Return `SCORES` of audio (N,), several seconds long: shares of energy.

    notes: of the energy from 60 to 2000 Hz, what is in notes. held: what is in notes that last for
    at least two frames, 0.19 s. upper: of the energy from 200 to 2000 Hz, what is in notes; bass
    and bass drum, which have most of the energy, are left out.

    All are 0 for silence. A clip in which one chord or one note is all there is has none, too: a
    drone is nothing else. Raises ValueError for audio shorter than two windows.
    """
    (notes, energy), (upper, rest) = note_energy(audio), note_energy(audio, UPPER_HZ)
    lasting = np.minimum(notes[:, 2:], notes[:, :-2])
    return {
        "notes": _share(notes, energy),
        "held": _share(lasting, energy),
        "upper": _share(upper, rest),
    }


def _share(part: np.ndarray, energy: float) -> float:
    return float(part.sum() / energy) if energy else 0.0


def note_energy(audio: np.ndarray, low_hz: float = LOW_HZ) -> tuple[np.ndarray, float]:
    """Return the energy of notes (P, T) in audio (N,), and the energy of all sound in the band.

    The band is from `low_hz` to 2000 Hz.

    From the energy X (P, T) in spectral peaks, the larger of two is taken off:

    * what one sound explains that is louder and softer, but always has the same pitches: q a, with
      q (P,) the share of each semitone and a (T,) the sum of each frame. This is an interrupted
      hum, or a drum;
    * `LOUDER` times the percentile `ALWAYS` of each semitone over time: a tone that always sounds,
      even if noise hides some of its partials now and then.
    """
    peaks, energy = peak_energy(audio, low_hz)
    total = peaks.sum()
    if not total:
        return peaks, energy
    one_sound = np.outer(peaks.sum(1) / total, peaks.sum(0))
    always = LOUDER * np.percentile(peaks, ALWAYS, axis=1, keepdims=True)
    return np.maximum(peaks - np.maximum(one_sound, always), 0), energy


def peak_energy(audio: np.ndarray, low_hz: float = LOW_HZ) -> tuple[np.ndarray, float]:
    """Return the energy in spectral peaks (P, T) by semitone, and that of the entire band.

    Row p is the semitone with the MIDI number `LOWEST` + p.
    """
    import librosa
    from scipy.ndimage import median_filter

    audio = np.asarray(audio, np.float32)
    if len(audio) < 2 * WINDOW:
        raise ValueError(f"audio of {len(audio)} samples: notes need at least {2 * WINDOW}")
    hz = librosa.fft_frequencies(sr=SAMPLE_RATE_HZ, n_fft=WINDOW)
    band = (hz >= low_hz) & (hz < HIGH_HZ)
    spectrum = librosa.stft(audio, n_fft=WINDOW, hop_length=HOP)[band]
    power = np.abs(spectrum).astype(np.float64) ** 2
    around = median_filter(power, (NEIGHBOURS, 1))
    row = np.round(librosa.hz_to_midi(hz[band])).astype(int) - LOWEST
    peaks = np.zeros((row[-1] + 1, power.shape[1]))
    np.add.at(peaks, row, np.where(power > TIMES * around, power, 0.0))
    return peaks, float(power.sum())


def loudness_db(audio: np.ndarray) -> float:
    """Return the level of audio (N,) in dB of full scale: 20 log10 of the root mean square.

    It is limited to -100 dB, the level of silence.
    """
    power = float(np.mean(np.square(np.asarray(audio, np.float64))))
    return 10 * math.log10(max(power, 1e-10))
