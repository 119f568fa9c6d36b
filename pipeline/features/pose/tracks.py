"""Link detected boxes into tracks, choose the main dancer, and fill short gaps.

Legend: F frames, P persons, N sightings (a person in a frame), J joints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

MIN_IOU = 0.2
"""Boxes of two steps that overlap less are different persons."""
MAX_STEPS = 2
"""Maximum distance of two boxes of one track, in detection steps: one step may be missing."""
MAX_GAP_S = 0.2
"""A longer gap of a joint is not filled."""


class Sighting(NamedTuple):
    """One person in one frame: the frame's index, the track's number, x0, y0, x1, y1 in px.

    If the detector finds joints too, they follow in the same array.
    """

    frame: int
    track: int
    box: np.ndarray


@dataclass
class Tracker:
    """Links the boxes of detection steps into tracks, step by step.

    Boxes of two steps are matched so that the sum of their overlaps (intersection over union) is
    largest (Hungarian method); each overlap must be at least MIN_IOU. Linked boxes are at most
    `max_steps` steps apart, and the boxes between them are interpolated linearly. These are
    returned when the second box is known, so a caller must keep the frames of the last `max_steps`
    steps.
    """

    max_steps: int = MAX_STEPS
    steps: int = 0
    tracks: int = 0
    _last: dict[int, tuple[int, int, np.ndarray]] = field(default_factory=dict)  # step, frame, box

    def update(self, frame: int, boxes: np.ndarray) -> list[Sighting]:
        """Add the boxes (P, 4) of the next step; return them and the interpolated ones.

        Further columns are interpolated too.
        """
        found: list[Sighting] = []
        self._last = {t: v for t, v in self._last.items() if self.steps - v[0] <= self.max_steps}
        known = list(self._last)
        before = np.array([self._last[t][2][:4] for t in known]).reshape(-1, 4)
        linked = match(before, boxes[:, :4])
        owners = {column: known[row] for row, column in linked}
        for column, box in enumerate(boxes):
            track = owners.get(column)
            if track is None:
                track, self.tracks = self.tracks, self.tracks + 1
            else:
                _, at, start = self._last[track]
                for between in range(at + 1, frame):
                    part = (between - at) / (frame - at)
                    found.append(Sighting(between, track, start + part * (box - start)))
            found.append(Sighting(frame, track, box))
            self._last[track] = (self.steps, frame, box)
        self.steps += 1
        return found


def match(before: np.ndarray, after: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs (row of `before` (A, 4), row of `after` (B, 4)) that are the same person."""
    overlap = iou(before, after)
    near = overlap >= MIN_IOU
    if (near.sum(0) <= 1).all() and (near.sum(1) <= 1).all():  # no choice: save the import
        return [(row, column) for row, column in np.argwhere(near).tolist()]

    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-np.where(near, overlap, 0))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if near[row, column]]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union (A, B) of boxes (A, 4) and (B, 4); 0 for empty ones."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    whole = _area(a)[:, None] + _area(b)[None] - shared
    return shared / np.where(whole > 0, whole, 1)


def main_dancer(
    frame: np.ndarray, track: np.ndarray, boxes: np.ndarray, frames: int, size_px: tuple[int, int]
) -> int | None:
    """Return the track number of the main dancer; None without sightings.

    The N sightings are `frame` (N,), `track` (N,) and `boxes` (N, 4). The main dancer has the
    largest product of three factors: the share of the `frames` frames with a box; the median box
    height as a share of the picture's height; and 1 - d/2, where d is the median horizontal
    distance of the box's centre from the middle of the picture, in half widths. If two are equal,
    the track that started first is chosen.
    """
    width, height = size_px
    best, best_score = None, -1.0
    for number in np.unique(track).tolist():
        mine = boxes[track == number]
        long = len(np.unique(frame[track == number])) / frames
        tall = float(np.median(mine[:, 3] - mine[:, 1])) / height
        aside = float(np.median(np.abs((mine[:, 0] + mine[:, 2]) / 2 - width / 2))) / (width / 2)
        score = long * tall * (1 - 0.5 * min(aside, 1.0))
        if score > best_score:
            best, best_score = number, score
    return best


def dancers_seen(frame: np.ndarray, frames: int) -> int:
    """Return the median number of persons per frame, rounded up.

    `frame` (N,) has the frame of each sighting. A person whose track is interrupted and continues
    under another number is counted once.
    """
    counts = np.bincount(frame, minlength=frames)
    return int(np.sort(counts)[len(counts) // 2]) if frames else 0


def bridge(poses: np.ndarray, times_s: np.ndarray, max_gap_s: float = MAX_GAP_S) -> np.ndarray:
    """Fill short gaps of poses (F, J, 3) by linear interpolation, for each joint separately.

    A gap is filled if the joint is visible before and after it, at most `max_gap_s` apart. Filled
    joints have the lower of the two confidences. Longer gaps, and gaps at both ends, stay empty.
    """
    filled = poses.copy()
    for joint in range(poses.shape[1]):
        seen = np.flatnonzero(poses[:, joint, 2] > 0)
        for a, b in pairwise(seen):
            if b - a < 2 or times_s[b] - times_s[a] > max_gap_s + 1e-6:
                continue
            part = ((times_s[a + 1 : b] - times_s[a]) / (times_s[b] - times_s[a]))[:, None]
            first, last = poses[a, joint], poses[b, joint]
            filled[a + 1 : b, joint] = first + part * (last - first)
            filled[a + 1 : b, joint, 2] = min(first[2], last[2])
    return filled


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
