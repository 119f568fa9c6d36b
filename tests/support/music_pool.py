"""Short clips to measure: clicks, chords, noise, swells, and clicks at the edges of seconds."""

from __future__ import annotations

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ


def pool() -> list[np.ndarray]:
    """Return clips of 2 and 3 s, some a little shorter: clicks, chords, noise, swells, edges."""
    rng, clips = np.random.default_rng(0), []
    burst = rng.standard_normal(500) * np.exp(-np.arange(500) / 90)
    for index in range(36):
        samples = [2 * SAMPLE_RATE_HZ, 3 * SAMPLE_RATE_HZ, 344 * 128][index % 3]
        audio = np.zeros(samples)
        kind = index // 3 % 4
        places = rng.uniform(0, samples, rng.integers(1, 6)).astype(int)
        if kind == 1:  # at the edges of seconds, and a sample to either side
            places = np.array([0, 22049, 22050, 22051, 44099])[: 1 + index % 5]
        for place in places:
            room = max(0, min(500, samples - place))
            audio[place : place + room] += rng.uniform(0.2, 0.9) * burst[:room]
        if kind == 2:
            audio += 0.02 * rng.standard_normal(samples)
        if kind == 3:
            t = np.arange(samples) / SAMPLE_RATE_HZ
            audio += 0.3 * np.sin(2 * np.pi * 220 * t) * (t % 0.7)
        clips.append(audio.astype(np.float32))
    return clips
