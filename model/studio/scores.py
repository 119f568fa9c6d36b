"""The measures of one result, as `model evaluate` defines them, ready to be shown."""

from __future__ import annotations

import math

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from model.measures.align import align_scores
from model.measures.base import MEASURED
from model.measures.beats import beats_scores, onsets_s
from model.measures.rhythm import beat_scores, beats_s, tempo_bpm

BESIDE = ("cover", "hit", "onset_f", "beat_f")
"""Measures that need the video's own music to compare with."""


def scores_of(
    audio: np.ndarray | None,
    motion: np.ndarray | None,
    fps: float,
    dance_s: np.ndarray,
    own: np.ndarray | None,
) -> list[tuple[str, str]]:
    """Return (title, value) of what can be measured of audio (N,).

    `motion` (T, D) and its kinematic beats `dance_s` (K,) give the alignment; `own` (N,), the
    video's own music, gives the measures that compare with it. What is not there, or undefined, is
    left out.
    """
    rows = [("kinematic beats", f"{len(dance_s)}")] if motion is not None else []
    if audio is None or not len(audio):
        return rows
    onsets, beats = onsets_s(audio), beats_s(audio)
    rows.append(("onsets a second", f"{len(onsets) * SAMPLE_RATE_HZ / len(audio):.1f}"))
    values: dict[str, float] = {}
    if not math.isnan(tempo := tempo_bpm(beats)):
        rows.append(("tempo, BPM", f"{tempo:.0f}"))
    if motion is not None:
        frames = motion[: max(1, round(len(audio) / SAMPLE_RATE_HZ * fps))]
        values |= align_scores(frames, fps, beats)
    if own is not None:
        same = min(len(audio), len(own))
        values |= beats_scores(audio[:same], own[:same])
        values |= beat_scores(beats_s(audio[:same]), beats_s(own[:same]))
    for name in ("align", "align_back", *BESIDE):
        value, measure = values.get(name, math.nan), MEASURED[name]
        if not math.isnan(value):
            scale, digits = (100.0, 0) if measure.percent else (1.0, measure.digits)
            rows.append((measure.title, f"{value * scale:.{digits}f}"))
    return rows
