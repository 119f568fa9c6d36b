"""Make sound with the statistics of speech: syllables, pauses, a gliding pitch, formants, hiss.

It contains no words. But it has what curation measures: about four syllables per second, silences
between phrases, a pitch that never stays on a note, and no beat.
"""

from __future__ import annotations

import numpy as np

PEAK = 0.8
FORMANTS_HZ = (
    (730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240),
    (440, 1020, 2240), (660, 1720, 2410),
)  # fmt: skip
"""First three formants of adult vowels (Peterson and Barney 1952, table II, men, rounded)."""


def speech(duration_s: float, rng: np.random.Generator, sample_rate_hz: int) -> np.ndarray:
    """Return speech-like sound, float32 (N,) with peak 0.8, of a voice drawn from `rng`."""
    count = round(duration_s * sample_rate_hz)
    out = np.zeros(count + sample_rate_hz)
    voice_hz = float(rng.choice((1.0, 1.75))) * rng.uniform(95, 135)
    at_s, left = float(rng.uniform(0, 0.2)), int(rng.integers(4, 12))
    while at_s < duration_s:
        if not left:
            at_s += float(rng.uniform(0.2, 0.6))
            left = int(rng.integers(4, 12))
        long_s = float(rng.uniform(0.12, 0.28))
        sound = _syllable(long_s, voice_hz * float(rng.uniform(0.8, 1.3)), rng, sample_rate_hz)
        first = round(at_s * sample_rate_hz)
        end = min(len(out), first + len(sound))
        out[first:end] += float(rng.uniform(0.4, 1.0)) * sound[: end - first]
        at_s += long_s + float(rng.uniform(0.0, 0.06))
        left -= 1
    out = out[:count]
    return (PEAK * out / max(1e-9, float(np.abs(out).max()))).astype(np.float32)


def loudness(sound: np.ndarray, sample_rate_hz: int, times_s: np.ndarray) -> np.ndarray:
    """Return how open the mouth of the speaker of `sound` is, 0 to 1, at each of `times_s`."""
    step = sample_rate_hz // 20
    blocks = np.abs(sound[: len(sound) // step * step]).reshape(-1, step).mean(1)
    index = np.clip((times_s * 20).astype(int), 0, max(0, len(blocks) - 1))
    return blocks[index] / max(1e-9, float(blocks.max()))


def _syllable(
    long_s: float, pitch_hz: float, rng: np.random.Generator, sample_rate_hz: int
) -> np.ndarray:
    """Return one syllable: sometimes a hiss, then a vowel with a gliding pitch."""
    from scipy.signal import lfilter

    count = round(long_s * sample_rate_hz)
    t = np.arange(count) / sample_rate_hz
    pitch = pitch_hz * (1 + float(rng.uniform(-0.25, 0.15)) * t / long_s)
    phase = np.cumsum(pitch) / sample_rate_hz
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(float)
    pulses += 0.01 * rng.normal(size=count)
    vowel = np.zeros(count)
    for order, hz in enumerate(FORMANTS_HZ[int(rng.integers(len(FORMANTS_HZ)))]):
        radius = np.exp(-np.pi * (60 + 40 * order) / sample_rate_hz)
        angle = 2 * np.pi * hz / sample_rate_hz
        poles = [1, -2 * radius * np.cos(angle), radius**2]
        vowel += lfilter([1 - radius], poles, pulses) / (1 + order)
    vowel *= np.sin(np.pi * np.clip(t / long_s, 0, 1)) ** 0.5
    vowel /= max(1e-9, float(np.abs(vowel).max()))
    if rng.random() < 0.4:
        hiss = lfilter([1, -0.95], [1], rng.normal(size=count // 3))
        hiss *= 0.25 * np.hanning(len(hiss)) / max(1e-9, float(np.abs(hiss).max()))
        vowel = np.concatenate([hiss, vowel[: count - len(hiss)]])
    return vowel
