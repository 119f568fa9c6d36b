"""Find the hard cuts of a video, by PySceneDetect on the picture and by jumps in the sound.

Only the part of the picture that ever moves is used, so that constant bars do not make a cut look
weaker. A weak cut of the picture counts if the sound changes at the same time. A very large jump of
the sound counts without a cut of the picture.

Legend: n frames, h, w size of a frame, N samples at 22 050 Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

HOP = 256
SIDE_S = 0.8
BANDS = 40
FLOOR_DB = -40.0
STOP_DB = -25.0
"""If one side of a jump is quieter by more than this, the sound starts or stops: this is no cut."""


@dataclass(frozen=True)
class ShotSettings:
    """When a change counts as a cut. After a change of these values all videos are decoded again.

    `strong` and `weak` are thresholds of PySceneDetect's adaptive detector: the ratio to the
    neighbouring frames, and the minimum difference of mean hue, saturation and lightness in grey
    levels. A weak cut also needs a jump of the sound by `jump_db`. A jump by `alone_db` needs no
    cut of the picture. Cuts are at least `min_shot_s` apart.
    """

    strong: tuple[float, float] = (4.0, 12.0)
    weak: tuple[float, float] = (2.5, 4.0)
    jump_db: float = 6.0
    alone_db: float = 18.0
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
) -> list[Shot]:
    """Return the shots of a video, in order; they cover all frames without gaps.

    `frames` is (n, h, w, 3), shown at `times_s`; `sound` is (N,) and starts at `sound_start_s`.
    """
    times = np.asarray(times_s, float)
    jump_db = sound_jump_db(sound, times - sound_start_s)
    frame_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    part = frames[(slice(None), *moving_part(frames))]
    strong = picture_cuts(part, *settings.strong)
    near = max(1, round(0.08 / frame_s))
    weak = [
        cut
        for cut in picture_cuts(part, *settings.weak)
        if jump_db[max(0, cut - near) : cut + near + 1].max() >= settings.jump_db
    ]
    alone = _peaks(jump_db, settings.alone_db, max(1, round(SIDE_S / frame_s)))
    cuts: list[int] = [0]
    least = max(1, round(settings.min_shot_s / frame_s))
    kept = {cut: 0 for cut in alone} | {cut: 1 for cut in weak} | {cut: 2 for cut in strong}
    for cut in sorted(kept, key=lambda cut: (-kept[cut], cut)):
        if cut < len(frames) - 1 and all(abs(cut - other) >= least for other in cuts):
            cuts.append(cut)
    cuts = [*sorted(cuts), len(frames)]
    return [Shot(a, b, float(jump_db[a])) for a, b in pairwise(cuts)]


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


def _peaks(values: np.ndarray, least: float, apart: int) -> list[int]:
    """Return the indices where `values` reach `least` and are the maximum within `apart`."""
    return [
        int(index)
        for index in np.flatnonzero(values >= least)
        if values[index] == values[max(0, index - apart) : index + apart + 1].max()
    ]
