"""Find the shots of a video: hard cuts by PySceneDetect, fades by TransNetV2 if it is there.

Only the part of the picture that ever moves is searched for cuts, so that constant bars do not make
a cut look weaker. A sudden change of the picture is a cut if the colours before and after differ.
The sound is measured, but decides nothing: it also changes within a shot.

Legend: n frames, h, w size of a frame, N samples at 22 050 Hz. Spans are half-open, in frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.curate.fades import find_fades

if TYPE_CHECKING:
    from pipeline.curate.transnet import TransNetV2

HOP = 256
SIDE_S = 0.8
BANDS = 40
FLOOR_DB = -40.0
STOP_DB = -25.0
"""If one side of a jump is quieter by more than this, the sound starts or stops; this is 0."""
COLOUR_SIDE_S, MIN_SPREAD = 0.3, 0.02
"""The two groups of frames whose colours are compared; less spread than this is compression."""


@dataclass(frozen=True)
class ShotSettings:
    """When a change counts as a cut. After a change of these values all videos are decoded again.

    `strong` and `weak` each begin with the thresholds of PySceneDetect's adaptive detector: the
    ratio to the neighbouring frames, and the minimum difference of mean hue, saturation and
    lightness in grey levels. The third number is the minimum of `colour_step`. `fade` is the mean
    probability from which TransNetV2's answer counts. Cuts are at least `min_shot_s` apart; a
    shorter rest beside a fade belongs to the fade.
    """

    strong: tuple[float, float, float] = (4.0, 12.0, 2.0)
    weak: tuple[float, float, float] = (2.5, 4.0, 3.0)
    fade: float = 0.35
    min_shot_s: float = 0.5


@dataclass(frozen=True)
class Shot:
    """Frames [start, stop) of a video; `jump_db` is how much the sound changes at its start."""

    start: int
    stop: int
    jump_db: float


def find_shots(
    frames: np.ndarray,
    times_s: Sequence[float],
    sound: np.ndarray,
    sound_start_s: float,
    settings: ShotSettings,
    net: TransNetV2 | None = None,
) -> list[Shot]:
    """Return the shots of a video, in order; frames between two of them belong to a fade.

    `frames` is (n, h, w, 3), shown at `times_s`; `sound` is (N,) and starts at `sound_start_s`.
    Without `net` no fades are found.
    """
    times = np.asarray(times_s, float)
    jump_db = sound_jump_db(sound, times - sound_start_s)
    frame_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    least = max(1, round(settings.min_shot_s / frame_s))
    cuts = hard_cuts(frames, frame_s, settings, least)
    fades = [] if net is None else find_fades(frames, frame_s, net, settings.fade)
    spans = between(cuts, fades, least, len(frames)) or [(0, len(frames))]
    return [Shot(start, stop, float(jump_db[start])) for start, stop in spans]


def hard_cuts(frames: np.ndarray, frame_s: float, settings: ShotSettings, least: int) -> list[int]:
    """Return the first frames of new scenes in `frames` (n, h, w, 3), `least` or more apart."""
    part = frames[(slice(None), *moving_part(frames))]
    side = max(2, round(COLOUR_SIDE_S / frame_s))
    cuts = [0]
    for ratio, grey, step in (settings.strong, settings.weak):
        for cut in picture_cuts(part, ratio, grey):
            apart = cut < len(frames) - 1 and all(abs(cut - other) >= least for other in cuts)
            sides = part[max(0, cut - side) : cut], part[cut : cut + side]
            if apart and colour_step(*sides) >= step:
                cuts.append(cut)
    return sorted(cuts[1:])


def between(
    cuts: Sequence[int], fades: Sequence[tuple[int, int]], least: int, count: int
) -> list[tuple[int, int]]:
    """Return the spans between cuts and fades of a video with `count` frames.

    Beside a fade they are at least `least` frames long; shorter ones belong to the fade.
    """
    breaks = [(0, 0)]
    for start, stop in sorted([*fades, *((cut, cut) for cut in cuts), (count, count)]):
        before = breaks[-1]
        if start - before[1] < least and (start < stop or before[0] < before[1]):
            breaks[-1] = (before[0], max(stop, before[1]))
        else:
            breaks.append((start, stop))
    return [(a[1], b[0]) for a, b in pairwise(breaks) if a[1] < b[0]]


def colour_step(before: np.ndarray, after: np.ndarray) -> float:
    """Return how much the colours of two groups of frames (n, h, w, 3) differ.

    This is the distance of their mean histograms over the mean distance of frames to the mean of
    their own group. A step of the colours gives a large value, a steady change about 4.
    """
    if min(len(before), len(after)) < 2:
        return 0.0
    histograms = [_histograms(before), _histograms(after)]
    means = [group.mean(0) for group in histograms]
    spreads = [np.abs(g - m).sum(1).mean() for g, m in zip(histograms, means, strict=True)]
    return float(np.abs(means[0] - means[1]).sum() / max(np.mean(spreads), MIN_SPREAD))


def _histograms(frames: np.ndarray) -> np.ndarray:
    """Return the shares of the colours in 8 x 8 x 8 bins: (n, 512)."""
    coarse = (frames >> 5).astype(int).reshape(len(frames), -1, 3)
    bins = coarse @ np.array([64, 8, 1])
    return np.stack([np.bincount(row, minlength=512) / len(row) for row in bins])


def moving_part(frames: np.ndarray) -> tuple[slice, slice]:
    """Return the range of rows and of columns of `frames` (n, h, w, 3) in which anything moves."""
    step = max(1, len(frames) // 600)
    some = frames[::step].astype(np.int16)
    if len(some) < 2:
        return slice(None), slice(None)
    moved = np.abs(np.diff(some, axis=0)).max(-1) > 24
    share = moved.mean(0)
    slices = []
    for axis in (1, 0):
        seen = np.flatnonzero((share > 0.004).mean(axis) > 0.1)
        slices.append(slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) > 7 else slice(None))
    return slices[0], slices[1]


def picture_cuts(frames: np.ndarray, ratio: float, least: float) -> list[int]:
    """Return the first frames of new scenes in `frames` (n, h, w, 3)."""
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(adaptive_threshold=ratio, min_scene_len=1, min_content_val=least)
    cuts: list[int] = []
    for index, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found = detector.process_frame(FrameTimecode(index, fps=25.0), bgr)
        cuts += [code.frame_num for code in found]
    return cuts


def sound_jump_db(sound: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Return how much the sound changes at `times_s` (K,): RMS over mel bands, in dB.

    This compares the mean powers of 0.8 s before and after; it is 0 near the ends of the sound.
    """
    import librosa

    if len(sound) < 4 * HOP:
        return np.zeros(len(times_s))
    power = librosa.feature.melspectrogram(
        y=sound, sr=SAMPLE_RATE_HZ, n_fft=1024, hop_length=HOP, n_mels=BANDS, fmax=8000
    )
    total = np.concatenate([np.zeros((BANDS, 1)), np.cumsum(power, 1, dtype=float)], 1)
    middle = np.round(np.asarray(times_s) * SAMPLE_RATE_HZ / HOP).astype(int)
    side, last = round(SIDE_S * SAMPLE_RATE_HZ / HOP), power.shape[1]
    before = _mean(total, np.clip(middle - side, 0, last), np.clip(middle - 1, 0, last))
    after = _mean(total, np.clip(middle + 2, 0, last), np.clip(middle + side + 1, 0, last))
    enough = (middle >= side) & (middle + side < last)
    loud = np.stack([before.sum(0), after.sum(0)])
    enough &= loud.min(0) > 10 ** (STOP_DB / 10) * loud.max(0)
    floor = 10 ** (FLOOR_DB / 10) * np.maximum(before, after).max(0) + 1e-12
    change = 10 * np.log10((after + floor) / (before + floor))
    return np.where(enough, np.sqrt((change**2).mean(0)), 0.0)


def _mean(total: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    return (total[:, stop] - total[:, start]) / np.maximum(1, stop - start)
