"""Cut a video into windows, which become segments. They cover the time with picture and sound."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ, WINDOW_MAX_S, WINDOW_MIN_S, window_samples

if TYPE_CHECKING:
    from pipeline.media.reader import Audio

MAX_PADDED_S = Fraction(50, 1000)
"""How much of the last window may be missing: real "2 s" clips are often a few ms too short."""


@dataclass(frozen=True)
class Window:
    """The half-open span [start_s, stop_s) on the video's clock; `index` counts from 1.

    `padded_ms` is how much of it is after the end of the picture or the sound.
    """

    index: int
    start_s: Fraction
    stop_s: Fraction
    padded_ms: float = 0.0

    @property
    def samples(self) -> int:
        """The number of samples in the window at 22 050 Hz."""
        return window_samples(str(self.stop_s - self.start_s))


def cut(
    video_s: tuple[Fraction, Fraction], audio_s: tuple[Fraction, Fraction], window_s: Fraction
) -> tuple[list[Window], Fraction]:
    """Return consecutive windows and the seconds dropped at the end.

    `video_s` and `audio_s` are (start, stop). The first window starts at the later of the two
    starts. The last window is kept if it is short by at most 50 ms; otherwise the rest is dropped.
    Streams that do not overlap give no windows, and 0 s are dropped.

    Raises ValueError if `window_s` is not between 2 and 20 s.
    """
    window_s = Fraction(window_s)
    if not WINDOW_MIN_S <= window_s <= WINDOW_MAX_S:
        raise ValueError(
            f"windows of {float(window_s):g} s, expected {WINDOW_MIN_S} to {WINDOW_MAX_S} s"
        )
    start_s, stop_s = max(video_s[0], audio_s[0]), min(video_s[1], audio_s[1])
    span_s = max(stop_s - start_s, Fraction(0))
    count = (span_s + MAX_PADDED_S) // window_s
    windows = [
        Window(
            index=k + 1,
            start_s=start_s + k * window_s,
            stop_s=start_s + (k + 1) * window_s,
            padded_ms=float(max((k + 1) * window_s - span_s, Fraction(0)) * 1000),
        )
        for k in range(count)
    ]
    return windows, max(span_s - count * window_s, Fraction(0))


def cut_audio(audio: Audio, window: Window) -> np.ndarray:
    """Return the sound of one window: float32 (N,), N = 44 100 at 2 s, padded with silence.

    The first sample is the one nearest to the start of the window, so the error is at most half a
    sample. Raises ValueError if more than 50 ms of sound are missing.
    """
    first = round((window.start_s - audio.start_s) * SAMPLE_RATE_HZ)
    found = audio.samples[max(first, 0) : max(first + window.samples, 0)]
    missing = window.samples - len(found)
    if first < 0 or missing > round(MAX_PADDED_S * SAMPLE_RATE_HZ) + 1:
        raise ValueError(
            f"window {window.index} at {float(window.start_s):.3f} s: the sound lasts from "
            f"{float(audio.start_s):.3f} to {float(audio.stop_s):.3f} s, expected it to cover the "
            f"window; at most {float(MAX_PADDED_S * 1000):g} ms may be missing"
        )
    return np.pad(found, (0, missing)) if missing else found
