"""A voice detector without a network: sound without bass is speech, all other sound is music."""

from __future__ import annotations

import numpy as np

BASS_HZ = 100.0


class NoBassIsSpeech:
    """Judges each half second by its power below 100 Hz; lists the lengths of what it was given."""

    rate_hz = 8000
    lengths_s: list[float] = []  # noqa: RUF012

    def installed(self) -> bool:
        return True

    def check(self) -> None:
        pass

    def version(self) -> str:
        return "1"

    def setup(self) -> None:
        pass

    def __call__(self, sound: np.ndarray) -> dict[str, list[tuple[float, float]]]:
        self.lengths_s.append(len(sound) / self.rate_hz)
        found: dict[str, list[tuple[float, float]]] = {"speech": [], "singing": [], "music": []}
        step = self.rate_hz // 2
        for first in range(0, len(sound), step):
            block = sound[first : first + step]
            power = np.abs(np.fft.rfft(block)) ** 2
            low = power[np.fft.rfftfreq(len(block), 1 / self.rate_hz) < BASS_HZ].sum()
            kind = "speech" if low < 0.02 * power.sum() else "music"
            found[kind].append((first / self.rate_hz, (first + len(block)) / self.rate_hz))
        return found


class Broken(NoBassIsSpeech):
    """Fails at every sound."""

    def __call__(self, sound: np.ndarray) -> dict[str, list[tuple[float, float]]]:
        raise RuntimeError("no inference")
