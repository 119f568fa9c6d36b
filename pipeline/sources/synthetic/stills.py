"""Single pictures of dancers with their joints and boxes, to train pose networks.

Their dancers, dances, cameras and stages do not occur in the benchmark's videos: the names of the
dancers are not in the plan, and movements and stages have their own seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.contract.segment import GENRES
from pipeline.sources.synthetic.body import J
from pipeline.sources.synthetic.dance import choreograph
from pipeline.sources.synthetic.render import dress, place_camera, render, stage

SIZES_PX = ((320, 240), (240, 320), (250, 250), (216, 384), (384, 216), (231, 307))
SKIN_PX_M = 0.12
"""How far a body extends beyond its joints, in metres, for boxes."""


@dataclass(frozen=True)
class Still:
    """RGB `picture` uint8 (H, W, 3), joints `points` (P, 24, 2) px and `boxes` (P, 4) px."""

    picture: np.ndarray
    points: np.ndarray
    boxes: np.ndarray


def stills(count: int, seed: int, per_stage: int = 8, per_genre: int = 4) -> Iterator[Still]:
    """Yield `count` pictures of zero to three dancers, `per_stage` of them on each stage."""
    rng = np.random.default_rng([7, seed])
    dances = [
        choreograph(genre, np.arange(0.2, 8, rng.uniform(0.4, 0.7)), 480, rng).joints_m
        for genre in GENRES
        for _ in range(per_genre)
    ]
    while count > 0:
        people = int(rng.choice([0, 1, 2, 3], p=[0.04, 0.56, 0.25, 0.15]))
        width, height = SIZES_PX[rng.integers(len(SIZES_PX))]
        camera = place_camera(rng, width, height, max(people, 1))
        shown = min(per_stage, count)
        joints = np.zeros((shown, people, len(J), 3))
        row_m = np.arange(people) - (people - 1) / 2
        for person in range(people):
            dance = dances[rng.integers(len(dances))]
            joints[:, person] = dance[rng.choice(len(dance), shown, replace=False)]
            place = row_m[person] * rng.uniform(0.8, 1.25), 0.0, rng.uniform(-0.5, 0.1)
            joints[:, person] = joints[:, person] @ _turned(rng.uniform(-0.6, 0.6)) + place
        outfits = [dress(f"still-{rng.integers(2**31)}") for _ in range(people)]
        points, depths = camera.project(joints)
        skin_px = SKIN_PX_M * camera.focal_px / depths
        boxes = boxes_of(points, skin_px, width, height)
        pictures = render(joints, outfits, camera, stage(rng, camera))
        for index, picture in enumerate(pictures):
            yield Still(picture, points[index], boxes[index])
        count -= shown


def boxes_of(
    points: np.ndarray, skin_px: np.ndarray | float, width_px: int, height_px: int
) -> np.ndarray:
    """Return boxes (..., 4), x0, y0, x1, y1, around joints (..., 24, 2), inside the picture."""
    skin = np.broadcast_to(skin_px, points.shape[:-1])[..., None]
    limit = np.array([width_px - 1, height_px - 1])
    low = np.clip((points - skin).min(-2), 0, limit)
    high = np.clip((points + skin).max(-2), 0, limit)
    return np.concatenate([low, high], -1)


def _turned(angle: float) -> np.ndarray:
    """Return the matrix (3, 3) that rotates rows of points about the vertical axis (radians)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
