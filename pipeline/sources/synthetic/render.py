"""Draw dancers on a stage: capsule limbs, shading, contact shadows, a floor and a wall.

The look of the stage and the clothes depends on the video's seed and on the dancers, never on the
genre. So a model must recognise the genre from the movement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.sources.synthetic.body import J

_SHIFT = 4  # cv2 draws at 1/16 pixel with this many fractional bits

_LIMBS = (
    ("left_hip", "left_knee", 0.082, "legs"), ("left_knee", "left_ankle", 0.06, "legs"),
    ("left_ankle", "left_foot", 0.05, "shoes"), ("left_shoulder", "left_elbow", 0.052, "sleeves"),
    ("left_elbow", "left_wrist", 0.04, "skin"), ("left_wrist", "left_hand", 0.045, "skin"),
)  # fmt: skip
LIMBS = _LIMBS + tuple(
    (a.replace("left", "right"), b.replace("left", "right"), r, part) for a, b, r, part in _LIMBS
)
"""(from, to, radius in metres, part of the outfit)."""

TORSO = (
    ("pelvis", "spine1", 0.13), ("spine1", "spine3", 0.135), ("spine3", "neck", 0.09),
    ("left_hip", "right_hip", 0.105), ("left_shoulder", "right_shoulder", 0.07),
)  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `eye_m`, turned by `yaw` and `pitch` (radians).

    `focal_px` is its focal length; `width_px` and `height_px` are the size of its picture.
    """

    eye_m: tuple[float, float, float]
    yaw: float
    pitch: float
    focal_px: float
    width_px: int
    height_px: int

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) rows: right, down and depth directions of the picture, in world coordinates."""
        cy, sy, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        depth = np.array([sy * cp, sp, -cy * cp])
        right = np.array([cy, 0.0, sy])
        return np.stack([right, np.cross(depth, right), depth])

    def project(self, points_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (..., 2), x right and y down, and depths (...) in metres."""
        seen = (points_m - np.array(self.eye_m)) @ self.axes.T
        depth = np.maximum(seen[..., 2], 0.1)
        centre = np.array([self.width_px / 2, self.height_px / 2])
        return seen[..., :2] / depth[..., None] * self.focal_px + centre, depth


@dataclass(frozen=True)
class Outfit:
    """RGB colours of one dancer; left and right differ, so that a viewer can tell them apart."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    colours: dict[tuple[str, str], np.ndarray]


def place_camera(rng: np.random.Generator, width_px: int, height_px: int, dancers: int) -> Camera:
    """Draw a random camera; the dancers fill most of its picture."""
    distance_m, eye_y_m = float(rng.uniform(4.4, 5.4)), float(rng.uniform(1.0, 1.6))
    yaw = float(rng.uniform(-0.2, 0.2))
    eye = (-np.sin(yaw) * distance_m, eye_y_m, np.cos(yaw) * distance_m)
    fit_m = max(2.45, 2.1 * height_px / width_px * (1 + 0.55 * (dancers - 1)))
    focal_px = height_px / fit_m * distance_m * float(rng.uniform(0.97, 1.06))
    pitch = -np.arctan2(eye_y_m - 0.98, distance_m)
    return Camera(eye, yaw, float(pitch), focal_px, width_px, height_px)


def dress(dancer: str) -> Outfit:
    """Return the outfit of a dancer; it is the same in all videos."""
    rng = np.random.default_rng([*dancer.encode()])
    skin = np.array([(236, 196, 168), (205, 154, 118), (150, 101, 72), (104, 68, 50)])[
        rng.integers(4)
    ]
    hue = rng.uniform(0, 1, 3)
    shirt, legs = _hsv(hue[0], 0.7, 0.85), _hsv(hue[1], 0.45, 0.45)
    shoes = _hsv(hue[2], 0.2, 0.9)
    colours = {}
    for side, light in (("left", 1.18), ("right", 0.82)):
        for part, colour in (("legs", legs), ("sleeves", shirt), ("shoes", shoes), ("skin", skin)):
            colours[side, part] = np.clip(colour * (light if part != "skin" else 1), 0, 255)
    return Outfit(skin.astype(float), _hsv(rng.uniform(0, 0.1), 0.6, 0.25), shirt, colours)


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    ramp = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * value * (1 - saturation + saturation * ramp)


def stage(rng: np.random.Generator, camera: Camera) -> np.ndarray:
    """Return the empty stage (H, W, 3) uint8: a floor with a pattern, a panelled wall, grain."""
    import cv2

    height, width = camera.height_px, camera.width_px
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ray = np.stack([(x - width / 2), (y - height / 2), np.full_like(x, camera.focal_px)], -1)
    ray = ray @ camera.axes
    wall_z_m = float(rng.uniform(-2.6, -1.6))
    to_wall = (wall_z_m - camera.eye_m[2]) / ray[..., 2]
    to_floor = -camera.eye_m[1] / np.where(ray[..., 1] < -1e-6, ray[..., 1], -1e-6)
    is_floor = to_floor < to_wall
    hit = np.array(camera.eye_m) + ray * np.where(is_floor, to_floor, to_wall)[..., None]
    floor, wall = _hsv(rng.uniform(), 0.25, rng.uniform(0.5, 0.75)), _hsv(rng.uniform(), 0.3, 0.62)
    tile_m, panel_m = rng.uniform(0.35, 0.7), rng.uniform(0.5, 1.1)
    column, row = np.floor(hit[..., 0] / tile_m), np.floor(hit[..., 2] / (3 * tile_m))
    tint = 0.9 + 0.2 * (
        (column + row) % 2 if rng.random() < 0.5 else np.sin(37 * column + 11 * row) ** 2
    )
    stripes = np.floor(hit[..., 0] / panel_m) % 2
    bricks = np.floor(hit[..., 1] / (panel_m / 2)) % 2
    panel = 0.92 + 0.1 * (stripes if rng.random() < 0.5 else (stripes + bricks) % 2)
    glow = np.exp(-((hit[..., 0] - rng.uniform(-1, 1)) ** 2 + (hit[..., 1] - 1.6) ** 2) / 3.0)
    picture = np.where(
        is_floor[..., None],
        floor * (tint * np.clip(1.1 - 0.06 * np.abs(hit[..., 2]), 0.6, 1.1))[..., None],
        wall * (panel * (0.7 + 0.45 * glow))[..., None],
    )
    grain = cv2.GaussianBlur(rng.normal(0, 6, (height, width)), (3, 3), 0)
    return np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)


def render(
    joints_m: np.ndarray, outfits: list[Outfit], camera: Camera, background: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) uint8 RGB of dancers with `joints_m` (F, P, 24, 3)."""
    points, depths = camera.project(joints_m)
    ground = joints_m.copy()
    ground[..., 0] += 0.25 * joints_m[..., 1]  # the lamp is to the left, in front of the dancer
    ground[..., 2] -= 0.15 * joints_m[..., 1]
    ground[..., 1] = 0
    shadows, shadow_depths = camera.project(ground)
    for frame in range(len(joints_m)):
        picture = _shade(background, camera, shadows[frame], shadow_depths[frame])
        order = np.argsort(-depths[frame].mean(1))
        for person in order:
            _draw(picture, camera, points[frame, person], depths[frame, person], outfits[person])
        yield picture


def _shade(
    background: np.ndarray, camera: Camera, points: np.ndarray, depths: np.ndarray
) -> np.ndarray:
    import cv2

    light: np.ndarray = np.full(background.shape[:2], 255, np.uint8)
    bones = [(J[a], J[b], r) for a, b, r, *_ in LIMBS + TORSO]
    for person, depth in zip(points, depths, strict=True):
        for a, b, radius_m in bones:
            width = max(1, round(1.6 * radius_m * camera.focal_px / depth[a]))
            cv2.line(light, _px(person[a], 0), _px(person[b], 0), 150, width)
    blur = max(3, camera.height_px // 60 * 2 + 1)
    light = cv2.blur(light, (blur, blur))
    return cv2.multiply(background, cv2.merge([light, light, light]), scale=1 / 255)


def _draw(
    picture: np.ndarray, camera: Camera, points: np.ndarray, depths: np.ndarray, outfit: Outfit
) -> None:
    """Paint one dancer, the most distant parts first."""
    parts = [
        (depths[[J[a], J[b]]].mean(), a, b, radius, outfit.colours[a.split("_")[0], kind])
        for a, b, radius, kind in LIMBS
    ]
    torso = depths[[J["spine1"], J["spine3"]]].mean()
    parts.append((torso, "torso", "", 0.0, outfit.shirt))
    parts.append((depths[J["head"]] - 0.12, "head", "", 0.105, outfit.skin))
    for _, first, last, radius_m, colour in sorted(parts, key=lambda part: -part[0]):
        if first == "torso":
            for a, b, thick_m in TORSO:
                tone = colour if a != "left_hip" else outfit.colours["right", "legs"]
                _capsule(picture, camera, points, depths, (J[a], J[b], thick_m), tone)
        elif first == "head":
            _head(picture, camera, points, depths, radius_m, outfit)
        else:
            _capsule(picture, camera, points, depths, (J[first], J[last], radius_m), colour)


def _capsule(
    picture: np.ndarray,
    camera: Camera,
    points: np.ndarray,
    depths: np.ndarray,
    limb: tuple[int, int, float],
    colour: np.ndarray,
) -> None:
    """Paint a limb in three tones, each thinner and nearer to the light at the upper left."""
    a, b, radius_m = limb
    radius = radius_m * camera.focal_px / np.array([depths[a], depths[b]])
    for share, tone in ((1.0, 0.62), (0.78, 1.0), (0.35, 1.22)):
        shift = -(1 - share) * 0.45 * radius[:, None]
        _cone(picture, points[a] + shift[0], points[b] + shift[1], radius * share, tone * colour)


def _cone(
    picture: np.ndarray, a: np.ndarray, b: np.ndarray, radius: np.ndarray, colour: np.ndarray
) -> None:
    import cv2

    rgb = tuple(min(255.0, value) for value in colour.tolist())
    along = b - a
    length = math.hypot(*along.tolist())
    if length > 0.5:
        normal = np.array([-along[1], along[0]]) / length
        corners = [a + normal * radius[0], b + normal * radius[1],
                   b - normal * radius[1], a - normal * radius[0]]  # fmt: skip
        shape = np.round(np.array(corners) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(picture, shape, rgb, cv2.LINE_AA, _SHIFT)
    for end, r in ((a, radius[0]), (b, radius[1])):
        size = max(8, round(float(r) * (1 << _SHIFT)))
        cv2.circle(picture, _px(end, _SHIFT), size, rgb, -1, cv2.LINE_AA, _SHIFT)


def _head(
    picture: np.ndarray,
    camera: Camera,
    points: np.ndarray,
    depths: np.ndarray,
    radius_m: float,
    outfit: Outfit,
) -> None:
    neck, head = points[J["neck"]], points[J["head"]]
    radius = np.full(2, radius_m * camera.focal_px / depths[J["head"]])
    up = (head - neck) / max(1e-6, float(np.hypot(*(head - neck))))
    crown = head + 0.75 * radius[0] * up
    _cone(picture, neck, head, 0.55 * radius, 0.8 * outfit.skin)
    _cone(picture, head, crown, 1.05 * radius, outfit.hair)
    if points[J["left_shoulder"], 0] < points[J["right_shoulder"], 0]:
        return  # seen from behind
    face = head + 0.2 * radius[0] * up
    _cone(picture, face - 0.35 * radius[0] * up, face, 0.82 * radius, outfit.skin)
    _cone(picture, face - 0.2 * radius, face, 0.5 * radius, 1.1 * outfit.skin)


def _px(point: np.ndarray, shift: int) -> tuple[int, int]:
    x, y = point.tolist()  # plain floats: numpy calls would take longer than the drawing
    return round(max(-4e3, min(4e3, x)) * 2**shift), round(max(-4e3, min(4e3, y)) * 2**shift)
