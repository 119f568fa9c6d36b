"""Choreograph: key poses typical of a genre, one on every beat, become SMPL motion at 60 fps.

A key pose is written with an animator's controls, in degrees (how high the arm is, how bent the
knee is). Between key poses, all controls move smoothly and have zero speed at both ends. So every
joint rests on the beat, and the kinematic beats are known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.synthetic.body import J, axis_angles, forward_kinematics
from pipeline.sources.synthetic.moves import (
    CONTROLS,
    GENRE_MOVES,
    SIDE,
    TORSO,
    Moves,
    mirror,
    parse,
)

MOTION_FPS = 60

SOLE_M = 0.06
"""Minimum height of a joint's centre above the floor, in metres."""


@dataclass(frozen=True)
class Motion:
    """Motion of one dancer at 60 fps: `poses` (T, 72) in radians and `trans_m` (T, 3), float32.

    `rest_times_s` are the times of the key poses inside the motion: every joint rests there.
    """

    poses: np.ndarray
    trans_m: np.ndarray
    rest_times_s: np.ndarray

    @property
    def joints_m(self) -> np.ndarray:
        """(T, 24, 3) joint positions in metres."""
        return forward_kinematics(self.poses.astype(float), self.trans_m.astype(float))


def choreograph(
    genre: str,
    beat_times_s: np.ndarray,
    frames: int,
    rng: np.random.Generator,
    place_m: tuple[float, float] = (0.0, 0.0),
) -> Motion:
    """Dance `genre` to at least two beats for `frames` frames, around the floor point (x, z)."""
    if len(beat_times_s) < 2:
        raise ValueError(f"{genre}: {len(beat_times_s)} beats, but a dance needs at least 2")
    style, end_s = GENRE_MOVES[genre], frames / MOTION_FPS
    beat_s = float(np.diff(beat_times_s).mean())
    before = np.arange(beat_times_s[0] - beat_s, -beat_s, -beat_s)[::-1]
    after = np.arange(beat_times_s[-1] + beat_s, end_s + beat_s, beat_s)
    key_times_s = np.concatenate([before, beat_times_s, after])
    keys = _phrase(style, len(key_times_s), rng)
    controls = _ease(key_times_s, keys, np.arange(frames) / MOTION_FPS, style.snap)
    poses = _poses(controls)
    trans = _grounded(poses, controls, place_m)
    inside = key_times_s[(key_times_s >= 0) & (key_times_s < end_s)]
    return Motion(poses.astype(np.float32), trans.astype(np.float32), inside)


def other_pace(beat_times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the times to which a dancer moves: the beats, or every second one, or two for each.

    Twice on each beat only below 112 beats a minute: nobody takes faster steps for long.
    """
    pace = rng.choice((1.0, 0.5, 2.0), p=(0.55, 0.2, 0.25))
    if pace < 1 and len(beat_times_s) >= 4:
        return beat_times_s[int(rng.integers(2)) :: 2]
    if pace > 1 and np.diff(beat_times_s).mean() > 60 / 112:
        between = (beat_times_s[1:] + beat_times_s[:-1]) / 2
        return np.sort(np.concatenate([beat_times_s, between]))
    return beat_times_s


def _phrase(style: Moves, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` key poses (count, controls): random moves, each danced again mirrored."""
    at_ease = np.array([SIDE.get(name[2:], 0.0) for name in CONTROLS])
    at = {name: index for index, name in enumerate(CONTROLS)}
    angles = slice(0, 2 * len(SIDE) + len(TORSO))  # the controls that vary between performances
    bends = [at[f"{side}_{name}"] for side in "lr" for name in ("knee", "elbow")]
    size = rng.uniform(0.88, 1.12)
    keys: list[np.ndarray] = []
    turned, last = 0.0, -1
    while len(keys) < count:
        choice = int(rng.choice([i for i in range(len(style.moves)) if i != last]))
        last, flip = choice, bool(rng.random() < 0.5)
        for again in (False, True):
            for line in style.moves[choice]:
                key = mirror(parse(line)) if flip != again else parse(line)
                pose = at_ease.copy()
                pose[[at[name] for name in key]] = list(key.values())
                pose[angles] = at_ease[angles] + size * (pose[angles] - at_ease[angles])
                pose[angles] += rng.normal(0, style.spread, len(pose[angles]))
                pose[bends] = np.clip(pose[bends], 2, 140)
                for side in "lr" if len(keys) % 2 else "":
                    pose[at[f"{side}_knee"]] += style.bounce
                    pose[at[f"{side}_flex"]] += 0.55 * style.bounce
                pose[at["yaw"]] += turned
                keys.append(pose)
            turned = 360 * round(keys[-1][at["yaw"]] / 360)
    return np.stack(keys[:count])


def _ease(
    key_times_s: np.ndarray, keys: np.ndarray, times_s: np.ndarray, snap: float
) -> np.ndarray:
    """Return the controls (T, controls) at `times_s`, with zero speed at every key pose."""
    index = np.clip(np.searchsorted(key_times_s, times_s, side="right") - 1, 0, len(keys) - 2)
    span = key_times_s[index + 1] - key_times_s[index]
    u = np.clip((times_s - key_times_s[index]) / span, 0, 1)
    rise, fall = u ** (1 + snap), (1 - u) ** (1 + snap)
    part = (rise / (rise + fall))[:, None]
    controls = keys[index] * (1 - part) + keys[index + 1] * part
    hop = CONTROLS.index("hop")
    controls[:, hop] = keys[index, hop] * np.sin(np.pi * part[:, 0]) ** 2
    return controls


def _turn(axis: str, degrees: np.ndarray) -> np.ndarray:
    """Return rotation matrices (T, 3, 3) about the axis x, y or z."""
    c, s, one, nil = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 1.0, 0.0
    rows = {
        "x": [[one, nil, nil], [nil, c, -s], [nil, s, c]],
        "y": [[c, nil, s], [nil, one, nil], [-s, nil, c]],
        "z": [[c, -s, nil], [s, c, nil], [nil, nil, one]],
    }[axis]
    flat = [np.broadcast_to(value, np.shape(degrees)) for row in rows for value in row]
    return np.stack(flat, -1).reshape(*np.shape(degrees), 3, 3)


def _poses(controls: np.ndarray) -> np.ndarray:
    """Return SMPL poses (T, 72) for controls; rotations of the right side have mirrored signs."""
    c = {name: controls[:, index] for index, name in enumerate(CONTROLS)}
    local = np.tile(np.eye(3), (len(controls), len(J), 1, 1))
    upright = _turn("x", c["pitch"]) @ _turn("z", c["roll"])
    local[:, J["pelvis"]] = _turn("y", c["yaw"]) @ upright
    for joint in ("spine1", "spine2", "spine3"):
        bend = _turn("x", c["lean"] / 3) @ _turn("z", c["side"] / 3)
        local[:, J[joint]] = bend @ _turn("y", c["twist"] / 3)
    local[:, J["neck"]] = _turn("y", c["look"] / 2) @ _turn("x", (c["nod"] - c["lean"] / 2) / 2)
    local[:, J["head"]] = local[:, J["neck"]]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        s = {name: c[f"{side[0]}_{name}"] for name in SIDE}
        share = 0.25 * np.maximum(s["el"], 0)  # a raised arm also lifts the shoulder girdle
        local[:, J[f"{side}_collar"]] = _turn("z", sign * share)
        arm = _turn("y", -sign * s["az"]) @ _turn("z", sign * (s["el"] - share))
        local[:, J[f"{side}_shoulder"]] = arm @ _turn("x", s["tw"])
        local[:, J[f"{side}_elbow"]] = _turn("y", -sign * s["elbow"])
        local[:, J[f"{side}_wrist"]] = _turn("y", -sign * 0.15 * s["elbow"])
        hip = _turn("x", -s["flex"]) @ _turn("z", sign * s["out"])
        local[:, J[f"{side}_hip"]] = hip @ _turn("y", sign * s["toe"])
        local[:, J[f"{side}_knee"]] = _turn("x", s["knee"])
        flat = np.clip(s["flex"] - s["knee"], -45, 30)  # level sole, within the ankle's limits
        local[:, J[f"{side}_ankle"]] = _turn("x", flat)
    return axis_angles(local).reshape(len(controls), -1)


def _grounded(poses: np.ndarray, controls: np.ndarray, place_m: tuple[float, float]) -> np.ndarray:
    """Return pelvis positions (T, 3): the lowest joint is on the floor, the feet near `place_m`."""
    joints = forward_kinematics(poses, np.zeros((len(poses), 3)))
    feet = joints[:, [J["left_ankle"], J["right_ankle"]]].mean(1)
    x, z, hop = (controls[:, CONTROLS.index(name)] / 100 for name in ("x", "z", "hop"))
    height = SOLE_M - joints[:, :, 1].min(1) + hop
    return np.stack(
        [place_m[0] + x - 0.7 * feet[:, 0], height, place_m[1] + z - 0.7 * feet[:, 2]], 1
    )
