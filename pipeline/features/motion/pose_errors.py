"""The errors of an estimator of 2D poses: noise, confidences, joints and people that are lost.

The sizes are those that BlazePose shows in videos of people (docs/results/poses.md). Distances are
in trunks (neck to hips). Noise has a part that changes in every frame, and grows with speed, and a
part that stays for about half a second. A confidence is the joint's usual one, lowered by a poor
video, speed, being hidden behind the trunk, and the edge of the picture.

Symbols: F frames, K points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

USUAL = {
    "nose": 0.97, "eye": 0.98, "ear": 0.96, "shoulder": 0.93, "elbow": 0.85, "wrist": 0.86,
    "hip": 0.82, "knee": 0.83, "ankle": 0.88, "toe": 0.87, "heel": 0.79,
}  # fmt: skip
"""BlazePose's usual confidence of a joint in a good video."""
NOISE = {"nose": 0.7, "eye": 0.6, "ear": 0.5, "shoulder": 0.9, "hip": 0.9}
"""Noise of a joint, relative to that of the limbs."""
FEET = ("toe", "heel")
EDGE = 0.47
"""Half the height of the picture; nearer to its edge, joints are unsure."""


def estimated(
    places: np.ndarray,
    depths: np.ndarray,
    names: Sequence[str],
    times_s: np.ndarray,
    aspect: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what an estimator finds of points: x, y and confidence (F, K, 3).

    `places` (F, K, 2) are in heights of the picture, from its middle. `depths` (F, K), in metres,
    are from the middle of the body. `aspect` is the picture's width over its height.
    """
    kinds = [name.split("_")[-1] for name in names]
    trunk = _trunk(places, names)
    speed = np.linalg.norm(np.gradient(places, axis=0), axis=-1) / trunk  # (F, K), trunks a frame
    frame_s = float(np.median(np.diff(times_s)))
    speed *= 1 / 30 / frame_s
    poor = float(np.abs(rng.normal(0, 1)))  # 0 in a good video; 2 in a dark or crowded one

    relative = np.array([NOISE.get(kind, 1.0) for kind in kinds])
    fast = 0.002 * np.exp(1.1 * poor) * rng.normal(size=places.shape)
    fast += 0.05 * speed[..., None] * rng.normal(size=places.shape)
    slow = (0.015 + 0.015 * poor) * drift(times_s, 0.5, places.shape[1:], rng)
    slow += 0.02 * rng.normal(size=places.shape[1:])
    off = (fast + slow) * relative[:, None]
    off += _short_wrists(places, speed, names, rng) / trunk

    sure = np.array([_logit(USUAL[kind]) for kind in kinds]) - 1.1 * poor
    sure = sure - 5.0 * np.minimum(speed, 0.4)
    sure = sure + (0.25 + 0.25 * poor) * drift(times_s, 0.12, (len(names),), rng)
    sure -= 1.6 * _behind(places, depths, names)
    _lose(sure, off, kinds, times_s, poor, rng)
    found = places + off * trunk
    half = np.array([aspect / 2, 0.5])
    beyond = ((np.abs(found) - (half - (0.5 - EDGE))) / (0.5 - EDGE)).max(-1)
    sure = sure - 2.0 * np.clip(beyond, 0, 4)
    return np.concatenate([found, (1 / (1 + np.exp(-sure)))[..., None]], -1)


def drift(
    times_s: np.ndarray, memory_s: float, shape: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """Return noise (F, *shape) of variance 1 whose correlation falls to 1/e in `memory_s`."""
    from scipy.ndimage import gaussian_filter1d

    frames = max(0.3, memory_s / float(np.median(np.diff(times_s))) / 2)
    smooth = gaussian_filter1d(rng.normal(size=(len(times_s), *shape)), frames, axis=0)
    return smooth * np.sqrt(2 * np.sqrt(np.pi) * frames)


def _trunk(places: np.ndarray, names: Sequence[str]) -> float:
    """Return the trunk's length in the picture, that of an upright dancer."""
    shoulders, hips = (
        places[:, [names.index(f"{side}_{part}") for side in ("left", "right")]].mean(1)
        for part in ("shoulder", "hip")
    )
    return max(1e-3, float(np.percentile(np.linalg.norm(shoulders - hips, axis=1), 70)))


def _short_wrists(
    places: np.ndarray, speed: np.ndarray, names: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Return the error (F, K, 2) of wrists in fast swings: up to a third of the forearm short."""
    off, most = np.zeros_like(places), rng.uniform(0, 0.33)
    for side in ("left", "right"):
        wrist, elbow = names.index(f"{side}_wrist"), names.index(f"{side}_elbow")
        share = most * np.clip(speed[:, wrist] / 0.3, 0, 1)
        off[:, wrist] = share[:, None] * (places[:, elbow] - places[:, wrist])
    return off


def _behind(places: np.ndarray, depths: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return which points (F, K) are hidden by the trunk, or are the face of a turned head."""
    at = {name: index for index, name in enumerate(names)}
    trunk = [at[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "hip")]
    low, high = places[:, trunk].min(1), places[:, trunk].max(1)
    inside = ((places > low[:, None]) & (places < high[:, None])).all(-1)
    hidden = inside & (depths > depths[:, trunk].mean(1, keepdims=True) + 0.1)
    ears = depths[:, [at["left_ear"], at["right_ear"]]].mean(1)
    away = depths[:, at["nose"]] > ears
    for name in ("nose", "left_eye", "right_eye"):
        hidden[:, at[name]] |= away
    return hidden


def _lose(
    sure: np.ndarray,
    off: np.ndarray,
    kinds: Sequence[str],
    times_s: np.ndarray,
    poor: float,
    rng: np.random.Generator,
) -> None:
    """Lower the logits `sure` (F, K) where joints, feet or the dancer are lost; let joints jump."""
    frames = len(sure)
    span_s, frame_s = float(times_s[-1] - times_s[0]), float(np.median(np.diff(times_s)))

    def span(least_s: float, most_s: float) -> slice:
        start = int(rng.integers(frames))
        return slice(start, start + max(1, round(rng.uniform(least_s, most_s) / frame_s)))

    limbs = [i for i, kind in enumerate(kinds) if NOISE.get(kind, 1.0) == 1.0]
    for _ in range(rng.poisson(0.25 * poor * span_s)):  # a joint is taken for something else
        joint, where = int(rng.choice(limbs)), span(0.03, 0.15)
        off[where, joint] += rng.normal(0, 0.25, 2)
        sure[where, joint] -= 1.5
    for _ in range(rng.poisson((0.15 + 0.3 * poor) * span_s)):  # a joint is hidden
        sure[span(0.05, 0.8), int(rng.choice(limbs))] -= 4
    feet = [i for i, kind in enumerate(kinds) if kind in FEET]
    if rng.random() < 0.1:  # an estimator without feet, or shoes that are not seen
        sure[:, feet] = -9
    for _ in range(rng.poisson(0.15 * poor * span_s)):
        sure[span(0.1, 1.0)][:, feet] = -9
    if rng.random() < 0.15:  # the dancer is not found
        for _ in range(rng.integers(1, 3)):
            sure[span(0.05, 0.7)] = -9


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
