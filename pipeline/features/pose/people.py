"""Detect, track and pose all dancers of a video in one pass; then extract one dancer's motion.

`PersonCollector` receives the frames during decoding and keeps only a few of them. Its result has
every dancer in every frame, in px of the video's own picture. `motion_of` computes the motion of a
segment from it. To choose another dancer later, no network has to run.

Legend: F frames, N sightings (a dancer in a frame), K joints of the network, T = 30 x window_s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import numpy as np

from pipeline.features.motion.body25 import DIM, FPS, nearest, normalise, to_body25
from pipeline.features.pose import tracks
from pipeline.features.pose.base import (
    MIN_SCORE,
    Detector,
    Placing,
    PoseEstimator,
    joints_of,
    takes_frames,
)
from pipeline.features.pose.crops import crop, cut, put_back, uncrop
from pipeline.media.windows import MAX_PADDED_S

SHORT_SIDE_PX = 360
"""Larger pictures are scaled down to this before detection. A dancer is then about as tall as the
network's input."""
EVERY, STEPS_APART = 5, tracks.MAX_STEPS
"""Detection runs in every fifth frame: every sixth of a second. One miss is tolerated."""
STEPS = 8
"""Detection steps whose frames are kept and processed together."""
CROPS = 1024
"""Maximum number of waiting crops of one video, so that a long video fits into memory."""
MIN_CONFIDENCE = 0.2
"""A joint with a lower confidence counts as not visible."""

LOOKING = {
    "fps": FPS,
    "short_side_px": SHORT_SIDE_PX,
    "every": EVERY,
    "min_score": MIN_SCORE,
    "min_iou": tracks.MIN_IOU,
    "max_steps": STEPS_APART,
}
LOOKING_AT_ALL = {"every": 1, "max_steps": STEPS_APART * EVERY}
"""For an estimator of complete frames: it looks at each frame, and tolerates gaps as long as
those that the default settings tolerate."""
LOOKING_CLOSER = {"every": 3, "max_steps": 4}
"""For an estimator that places its crops itself. Between two detections the joints are interpolated
linearly. A dancer who is hidden for 0.3 s is still followed."""
CHOOSING = {"min_confidence": MIN_CONFIDENCE, "max_gap_s": tracks.MAX_GAP_S}
"""LOOKING and CHOOSING: settings that affect the results and are part of their keys."""


def pose_times(shown_s: Sequence[Fraction], start_s: Fraction, stop_s: Fraction) -> list[Fraction]:
    """Return the times of the shown frames nearest to 30 a second in [start, stop], each once."""
    count = int((stop_s + MAX_PADDED_S - start_s) * FPS) + 1
    wanted_s = float(start_s) + np.arange(max(count, 1)) / FPS
    shown = np.array([float(time_s) for time_s in shown_s])
    return [shown_s[i] for i in np.unique(nearest(shown, wanted_s))]


def small_side_px(width_px: int, height_px: int) -> int:
    """Return the shorter side of the pictures for detection; small videos are not scaled."""
    return min(SHORT_SIDE_PX, width_px, height_px)


@dataclass
class PersonCollector:
    """Receives the `frames` frames of one video in order, uint8 (H, W, 3).

    Detection runs in every `every`-th frame. Without `net` there are boxes but no poses. A `net`
    that takes complete frames detects persons itself; `detector` is then not used.
    """

    detector: Detector | None
    net: PoseEstimator | None
    frames: int
    size_px: tuple[int, int]
    every: int = EVERY
    max_steps: int = STEPS_APART
    seen: int = 0
    _held: dict[int, np.ndarray] = field(default_factory=dict)
    _due: list[int] = field(default_factory=list)
    _tracker: tracks.Tracker = field(default_factory=tracks.Tracker)
    _sightings: list[tracks.Sighting] = field(default_factory=list)
    _waiting: list[np.ndarray] = field(default_factory=list)
    _joints: list[np.ndarray] = field(default_factory=list)
    _scale: np.ndarray = field(default_factory=lambda: np.ones(2))

    def __post_init__(self) -> None:
        self._tracker = tracks.Tracker(self.max_steps)

    def __call__(self, frame: np.ndarray) -> None:
        """Process the next frame."""
        self._held[self.seen] = frame
        if self.seen % self.every == 0 or self.seen == self.frames - 1:
            self._due.append(self.seen)
        self.seen += 1
        if len(self._due) == STEPS or self.seen == self.frames:
            self._look()

    def crops(self) -> np.ndarray:
        """After the last frame: return the crops without poses so far, uint8 (n, h, w, 3)."""
        assert self.net is not None, "only a network asks for crops"
        width, height = self.net.input_px
        return np.array(self._waiting, dtype=np.uint8).reshape(-1, height, width, 3)

    def result(self, joints: np.ndarray) -> dict[str, np.ndarray]:
        """Return all sightings; `joints` (n, K, 3) are those of `crops()` (K is 0 without `net`).

        `frame` and `track` int32 (N,), `boxes` float32 (N, 4), x0, y0, x1, y1, and `joints` float32
        (N, K, 3), x, y and score, in px of the video's picture; sorted by frame, then track.
        """
        frame = np.array([s.frame for s in self._sightings], dtype=np.int32)
        track = np.array([s.track for s in self._sightings], dtype=np.int32)
        wide = len(self._sightings[0].box) if self._sightings else 4
        people = np.array([s.box for s in self._sightings], dtype=np.float64).reshape(-1, wide)
        boxes = people[:, :4]
        posed = np.zeros((len(boxes), 0, 3))
        if takes_frames(self.net):
            posed = joints_of(people)
        elif hasattr(self.net, "places"):
            net = cast(Placing, self.net)
            placed = put_back(np.concatenate([*self._joints, joints]), net.places(people))
            posed = net.settle(placed, people)
        elif self.net is not None:
            posed = uncrop(np.concatenate([*self._joints, joints]), boxes, self.net.input_px)
        scale = self._scale
        posed[..., :2] = (posed[..., :2] + 0.5) * scale - 0.5
        boxes = (boxes + 0.5) * np.tile(scale, 2) - 0.5
        order = np.lexsort((track, frame))
        return {
            "frame": frame[order],
            "track": track[order],
            "boxes": boxes[order].astype(np.float32),
            "joints": posed[order].astype(np.float32),
        }

    def _look(self) -> None:
        """Detect dancers in the waiting frames, link them to tracks, and crop them."""
        if not self._due:
            return
        high, wide = self._held[self._due[0]].shape[:2]
        self._scale = np.array([self.size_px[0] / wide, self.size_px[1] / high])
        find = cast(Detector, self.net if takes_frames(self.net) else self.detector)
        found = find(np.stack([self._held[index] for index in self._due]))
        for index, rows in zip(self._due, found, strict=True):
            people = np.delete(rows, 4, axis=1).astype(np.float64)  # boxes, and joints if any
            for sighting in self._tracker.update(index, people):
                self._sightings.append(sighting)
                if takes_frames(self.net):
                    if sighting.frame != index:  # a frame between, in which nobody was found
                        sighting.box[4:] = 0
                elif self.net is not None:
                    self._waiting.append(self._cropped(sighting))
        keep = self._due[-1] - self.every * self.max_steps
        self._held = {i: image for i, image in self._held.items() if i > keep}
        self._due = []
        if self.net is not None and len(self._waiting) >= CROPS:
            full = len(self._waiting) // self.net.batch * self.net.batch
            self._joints.append(self.net(self.crops()[:full]))
            self._waiting = self._waiting[full:]

    def _cropped(self, sighting: tracks.Sighting) -> np.ndarray:
        picture, person = self._held[sighting.frame], sighting.box[None]
        net = cast(PoseEstimator, self.net)
        if hasattr(net, "places"):
            return cut(picture, cast(Placing, net).places(person), net.input_px)[0]
        return crop(picture, person[:, :4], net.input_px)[0]


def pace(net: object) -> dict[str, int]:
    """Return `every` and `max_steps` of LOOKING for an estimator or its class.

    Detection runs in every `every`-th frame. Boxes of one track are at most `max_steps` detections
    apart.
    """
    if takes_frames(net):
        return LOOKING_AT_ALL
    return LOOKING_CLOSER if hasattr(net, "places") else {"every": EVERY, "max_steps": STEPS_APART}


def pose_crops(net: PoseEstimator, crops: np.ndarray) -> np.ndarray:
    """Return the joints (n, K, 3) of crops; none for an estimator of frames (n = 0)."""
    if takes_frames(net):
        return np.zeros((0, len(net.names), 3), dtype=np.float32)
    return net(crops)


def motion_of(
    pose: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    starts_s: Sequence[Fraction],
    window_s: Fraction,
) -> tuple[np.ndarray, list[int]]:
    """Return each window's main dancer, float32 (n, T, 75), and its number of dancers.

    `pose` is the result of `PersonCollector.result` plus `times_s` (F,). `facts` has `joints`,
    `width_px` and `height_px`. Each of the T frames gets the pose nearest in time. A window without
    dancers is all zeros.
    """
    shown_s, size_px = pose["times_s"], (facts["width_px"], facts["height_px"])
    cut = np.zeros((len(starts_s), round(FPS * window_s), DIM), dtype=np.float32)
    dancers, followed = [], {}
    for i, start_s in enumerate(starts_s):
        at = nearest(shown_s, float(start_s) + np.arange(cut.shape[1]) / FPS)
        inside = (pose["frame"] >= at[0]) & (pose["frame"] <= at[-1])
        frame, track = pose["frame"][inside] - at[0], pose["track"][inside]
        frames = int(at[-1] - at[0] + 1)
        dancers.append(tracks.dancers_seen(frame, frames))
        main = tracks.main_dancer(frame, track, pose["boxes"][inside], frames, size_px)
        if main is None:
            continue
        if main not in followed:
            followed[main] = _one_dancer(pose, facts, main)
        cut[i] = followed[main][at]
    return cut, dancers


def _one_dancer(pose: Mapping[str, np.ndarray], facts: Mapping[str, Any], track: int) -> np.ndarray:
    """Return one track over the entire video, float32 (F, 75), with short gaps filled."""
    mine = pose["track"] == track
    body = np.zeros((len(pose["times_s"]), DIM // 3, 3), dtype=np.float32)
    joints = pose["joints"][mine]
    sure = joints[..., 2:] >= MIN_CONFIDENCE
    body[pose["frame"][mine]] = to_body25(facts["joints"], np.where(sure, joints, 0))
    body = tracks.bridge(body, pose["times_s"])
    return normalise(body, facts["width_px"], facts["height_px"]).reshape(len(body), DIM)
