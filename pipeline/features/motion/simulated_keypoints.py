"""2D keypoints as a pose estimator would find them, made from SMPL annotations: BODY_25 at 30 fps.

A model that is trained on them can be driven by videos of people, because it never knew exact
joints. Each dance is seen once: by a body with proportions of its own, from a random camera, in
pictures of a random frame rate. The errors are those of an estimator (pose_errors.py). The same
annotation always gives the same keypoints.

Symbols: T frames at 60 fps, F frames of the simulated video, K = 21 points, J = 25.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.features.motion.body25 import COCO, DIM, FPS, LAYOUT, nearest, to_body25
from pipeline.features.motion.pose_errors import drift, estimated
from pipeline.features.motion.smpl_rotations import FPS as FILE_FPS
from pipeline.features.motion.smpl_rotations import cut_motion, read_annotation
from pipeline.features.pose.people import MIN_CONFIDENCE
from pipeline.features.pose.tracks import bridge
from pipeline.sources.listing import AnnotationFiles
from pipeline.sources.manifest import Row
from pipeline.sources.synthetic.body import OFFSETS_M, J, kinematics
from pipeline.sources.synthetic.render import Camera

if TYPE_CHECKING:
    from pipeline.media.reader import Video

POINTS = (*COCO, "left_big_toe", "left_heel", "right_big_toe", "right_heel")
"""The points that BlazePose finds: of BODY_25, all but the small toes."""

OUTSIDE_M = {
    "nose": ("head", (0, 0.04, 0.11)),
    "left_eye": ("head", (0.033, 0.07, 0.09)),
    "left_ear": ("head", (0.075, 0.05, 0.0)),
    "left_heel": ("left_ankle", (0, -0.055, -0.045)),
    "left_big_toe": ("left_ankle", (0.02, -0.06, 0.17)),
}
"""Points that SMPL's joints lack: the joint that carries each, and its place there, in metres. They
are chosen so that standing people have the proportions that BlazePose finds in videos."""

TRUNK_M = 0.53
ASPECTS, ASPECT_SHARES = (9 / 16, 4 / 5, 16 / 9), (0.5, 0.12, 0.38)
"""Width over height of the pictures, and how often each is drawn."""
RATES_FPS, RATE_SHARES = (24, 25, 30, 50, 60), (0.06, 0.14, 0.6, 0.05, 0.15)
SETTLE_S = {"elbow": 0.02, "wrist": 0.04, "knee": 0.015, "ankle": 0.02}
"""Limbs follow the trunk, each dancer's by up to so much."""
TIMING_S = 0.012
"""Standard deviation of a dancer's timing, which wanders."""


class SimulatedKeypoints:
    """`--motion simulated-keypoints2d`: SMPL motion as an estimator of 2D poses would see it."""

    FILES: ClassVar = AnnotationFiles("motions", ".pkl", any_camera=True)
    LAYOUT: ClassVar[str] = LAYOUT
    FPS: ClassVar[int] = FPS
    DIM: ClassVar[int] = DIM
    IMITATES: ClassVar[str] = "blazepose"

    def check(self) -> None:
        """Nothing to check."""

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(
        self,
        video: Video,
        annotation: Path,
        row: Row,
        facts: Mapping[str, Any],
        windows: Sequence[tuple[Fraction, Fraction]],
    ) -> np.ndarray:
        """Return float32 (n, T, 75) for n windows of T frames, 30 per second."""
        ((start_s, stop_s), *_) = windows
        poses = simulate(*read_annotation(annotation)).reshape(-1, DIM)
        origin_s, starts_s = Fraction(facts["video_start_s"]), [start for start, _ in windows]
        cut = cut_motion(poses, origin_s, starts_s, stop_s - start_s)
        return cut[:, :: FILE_FPS // FPS][:, : round(FPS * (stop_s - start_s))]


@dataclass(frozen=True)
class View:
    """How a dance is seen. Pictures have the height 1, and their middle is (0, 0).

    `mirrored` pictures show left as right. `shift` (T, 2) and `zoom` (T,) move the picture.
    """

    camera: Camera
    aspect: float
    mirrored: bool
    shift: np.ndarray
    zoom: np.ndarray

    def __call__(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places in the picture (T, K, 2) and depths (T, K) of points (T, K, 3)."""
        places, depths = self.camera.project(points_m)
        places = places * self.zoom[:, None, None] + self.shift[:, None]
        return places * (-1 if self.mirrored else 1, 1), depths


def simulate(poses: np.ndarray, trans_m: np.ndarray) -> np.ndarray:
    """Return float32 (T, 25, 3) for SMPL poses (T, 72) and positions (T, 3) at 60 fps.

    x and y are those of `body25.normalise`; a joint that is not found is (0, 0, 0).
    """
    digest = hashlib.sha256(np.round(poses, 4).astype("<f4").tobytes()).digest()
    rng = np.random.default_rng(list(digest[:16]))
    points_m = points_of(poses, trans_m, proportions(rng))
    points_m = with_timing(points_m, rng)
    view = random_view(points_m, rng)
    times_s = np.arange(len(points_m)) / FILE_FPS
    rate = rng.choice(RATES_FPS, p=RATE_SHARES)
    shown_s = np.arange(max(2, int(times_s[-1] * rate) + 1)) / rate
    shown_s = shown_s[np.unique(nearest(shown_s, np.arange(0, times_s[-1], 1 / FPS)))]
    frames = np.minimum(np.round(shown_s * FILE_FPS).astype(int), len(points_m) - 1)
    places, depths = view(points_m)
    names = [_other_side(name) for name in POINTS] if view.mirrored else POINTS
    found = estimated(
        places[frames], depths[frames] - depths[frames].mean(1, keepdims=True), names,
        shown_s, view.aspect, rng,
    )  # fmt: skip
    sure = np.where(found[..., 2:] >= MIN_CONFIDENCE, found, 0)
    body = bridge(to_body25(names, sure), shown_s)
    return body[nearest(shown_s, times_s)]


def points_of(
    poses: np.ndarray, trans_m: np.ndarray, offsets_m: np.ndarray = OFFSETS_M
) -> np.ndarray:
    """Return the POINTS (T, K, 3) of a body, in metres."""
    joints, turned = kinematics(poses, trans_m, offsets_m)
    points = []
    for name in POINTS:
        if name in J:
            points.append(joints[:, J[name]])
            continue
        right = name.startswith("right_")
        carrier, place = OUTSIDE_M[_other_side(name) if right else name]
        joint = J[_other_side(carrier) if right else carrier]
        points.append(
            joints[:, joint] + turned[:, joint] @ (np.array(place) * (1 - 2 * right, 1, 1))
        )
    return np.stack(points, 1)


def proportions(rng: np.random.Generator) -> np.ndarray:
    """Return the offsets (24, 3) of a random adult's joints, in metres."""
    offsets = OFFSETS_M.copy()
    arms, legs = rng.normal(1, 0.06, 2)
    for part, scale in (("elbow", arms), ("wrist", arms), ("knee", legs), ("ankle", legs)):
        offsets[[J[f"left_{part}"], J[f"right_{part}"]]] *= scale
    for part, spread in (("collar", 0.1), ("shoulder", 0.1), ("hip", 0.12)):
        offsets[[J[f"left_{part}"], J[f"right_{part}"]], 0] *= rng.normal(1, spread)
    return offsets


def with_timing(points_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return points (T, K, 3) of a dancer who is a little early or late, limbs after the trunk."""
    frames = np.arange(len(points_m), dtype=float)
    off = FILE_FPS * TIMING_S * drift(frames / FILE_FPS, 1.0, (), rng)
    hips = points_m[:, [POINTS.index("left_hip"), POINTS.index("right_hip")]].mean(1)
    moved = np.empty_like(points_m)
    late = {part: FILE_FPS * float(rng.uniform(0, most)) for part, most in SETTLE_S.items()}
    off = off - np.mean([late.get(name.split("_")[-1], 0.0) for name in POINTS])
    for index, name in enumerate(POINTS):
        at = frames - off - late.get(name.split("_")[-1], 0.0)
        for axis in range(3):
            limb = np.interp(at, frames, points_m[:, index, axis] - hips[:, axis])
            moved[:, index, axis] = limb + np.interp(frames - off, frames, hips[:, axis])
    return moved


def random_view(points_m: np.ndarray, rng: np.random.Generator) -> View:
    """Return a random view: near or far, from any side but mostly the front, hand-held or not."""
    middle = points_m.reshape(-1, 3).mean(0)
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.12 else rng.normal(0, np.radians(25))
    distance, high = rng.uniform(2.5, 7.0), rng.uniform(0.6, 1.8)
    eye = (middle[0] - distance * np.sin(angle), high, middle[2] + distance * np.cos(angle))
    pitch = -np.arctan2(high - middle[1], distance)
    aspect = float(rng.choice(ASPECTS, p=ASPECT_SHARES))
    near = rng.random() < (0.6 if aspect < 1 else 0.15)
    trunk = np.exp(rng.uniform(*np.log((0.18, 0.34) if near else (0.10, 0.19))))
    camera = Camera(eye, float(angle), float(pitch), float(trunk / TRUNK_M * distance), 0, 0)
    hips = [POINTS.index("left_hip"), POINTS.index("right_hip")]
    seen = camera.project(points_m[:, hips])[0].mean(1)
    times_s = np.arange(len(points_m)) / FILE_FPS
    aim = np.array([rng.normal(0, 0.07 * max(1, aspect)), rng.normal(0.12, 0.04)])
    aim = np.clip(aim, (-0.35 * aspect + 0.05, 1.55 * trunk - 0.5), (0.35 * aspect - 0.05, 0.4))
    shake = rng.uniform(0, 0.004) if rng.random() < 0.5 else 0.0
    follows = rng.uniform(0, 0.6) if shake else 0.0
    slow = _smoothed(seen - np.median(seen, 0), round(1.5 * FILE_FPS))
    shift = aim - np.median(seen, 0) - follows * slow
    shift = shift + shake * drift(times_s, 0.4, (2,), rng)
    shift = (
        shift + (rng.normal(0, 0.02) if shake else 0.0) * np.linspace(-1, 1, len(shift))[:, None]
    )
    zoom = 1 + (rng.normal(0, 0.04) if rng.random() < 0.3 else 0.0) * np.linspace(-1, 1, len(shift))
    return View(camera, aspect, bool(rng.random() < 0.5), shift, zoom)


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Return values (T, C), each the mean of the `width` values around it."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(values, width, axis=0, mode="nearest")


def _other_side(name: str) -> str:
    side, _, part = name.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)
