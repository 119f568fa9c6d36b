"""Retrieval: the training music whose beats fit the dance best, stretched in tempo to fit better.

No network: kinematic beats of the dance, tracked beats of the music, and a search. Symbols: K beats
of a dance, M beats of a piece of music, P ways to play it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from model.baselines.base import Given, Music
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.data.clips import read_segments
from model.data.source import Source
from model.measures.align import SIGMA_S, dance_beats_s
from model.measures.rhythm import beats_s

RATES = 2 ** np.linspace(-0.25, 0.25, 13)
"""How much faster the music may be played: 0.84 to 1.19 times."""
SHIFTS = 16
"""At so many moments of its first beat the music may begin."""
FRAME = 1024
"""Samples in a frame of the phase vocoder: half its usual length, which would smear the beats."""


@dataclass
class Found:
    """The best music so far for one dance: its score, rate and start, before it is stretched."""

    score: float = -1.0
    rate: float = 1.0
    start_s: float = 0.0
    audio: np.ndarray | None = None


def retrieval(given: Given) -> Iterator[Music]:
    """Yield the best-aligned training music; nothing without motion or without training music."""
    if given.training is None or not all(MOTION in c.piece.inputs for c in given.clips):
        return
    dances = [
        dance_beats_s(clip.piece.inputs[MOTION], clip.motion_fps or 0.0) for clip in given.clips
    ]
    found = [Found() for _ in dances]
    for video_id, audio in music_of(given.training):
        beats = beats_s(audio)
        for clip, dance_s, best in zip(given.clips, dances, found, strict=True):
            if clip.piece.video_id == video_id:
                continue
            score, rate, start_s = best_way(dance_s, beats)
            if score > best.score:
                best.score, best.rate, best.start_s, best.audio = score, rate, start_s, audio
    if any(best.audio is None for best in found):
        return
    sounds = [played(best, clip.segments.size)
              for best, clip in zip(found, given.clips, strict=True)]  # fmt: skip
    note = "retrieval: training music whose beats fit the dance, at 0.84 to 1.19 times its tempo"
    yield Music("retrieval", sounds, note=note)


def music_of(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each video's id and its music (N,): neighbouring segments of the split, joined."""
    sound = replace(source, sizes={}, inputs=())
    for video_id, part in groupby(read_segments(sound), key=lambda row: str(row[0]["video_id"])):
        yield video_id, np.concatenate([batch.audio[0].numpy() for _, batch in part])


def best_way(dance_s: np.ndarray, music_s: np.ndarray) -> tuple[float, float, float]:
    """Return score, rate and start at which music with these beats (M,) fits a dance's (K,) best.

    The score is the mean of how well the dance's beats meet the music's, and the music's the
    dance's, as `beat_align` measures it; 0 if there is nothing to align.
    """
    if len(music_s) < 2 or not len(dance_s):
        return 0.0, 1.0, 0.0
    period_s = float(np.median(np.diff(music_s)))
    shifts_s = np.arange(SHIFTS) / SHIFTS * period_s
    ways = [(rate, shift_s) for rate in RATES for shift_s in shifts_s]
    moved = np.stack([(music_s - shift_s) / rate for rate, shift_s in ways])  # (P, M)
    apart = np.abs(moved[:, None, :] - dance_s[None, :, None])  # (P, K, M)
    near = np.exp(-(apart**2) / (2 * SIGMA_S**2))
    heard = (moved >= 0) & (moved <= dance_s[-1] + SIGMA_S)
    back = (near.max(1) * heard).sum(1) / np.maximum(heard.sum(1), 1)
    scores = (near.max(2).mean(1) + back) / 2
    best = int(scores.argmax())
    return float(scores[best]), *ways[best]


def played(found: Found, samples: int) -> np.ndarray:
    """Return the music found as it is played (N,): from its start, stretched, repeated if short."""
    import librosa

    assert found.audio is not None, "something was found"
    audio = found.audio[round(found.start_s * SAMPLE_RATE_HZ) :]
    return np.resize(librosa.effects.time_stretch(audio, rate=found.rate, n_fft=FRAME), samples)
