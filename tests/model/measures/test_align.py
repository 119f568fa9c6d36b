"""Dance and music: the published score, and the beats of bodies of any kind."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from model.measures.align import align_scores, beat_align, kinematic_beats_s, without_repeats
from model.measures.skeleton import SMPL_OFFSETS_M, SMPL_PARENTS, joints_of


def test_the_beat_align_score_is_the_published_one():
    from scipy.signal import argrelextrema

    rng = np.random.default_rng(0)
    joints = rng.standard_normal((300, 24, 3)).cumsum(0).cumsum(0)
    speed = np.zeros(300)
    for frame in range(1, 300):
        speed[frame] = sum(
            np.linalg.norm(joints[frame, j] - joints[frame - 1, j]) for j in range(24)
        )
    frames = argrelextrema(speed, np.less, order=10)[0]
    assert len(frames) == 5
    dance_s = kinematic_beats_s(joints, 60)
    assert np.array_equal(np.round(dance_s * 60).astype(int), frames)
    music = np.sort(rng.choice(300, 12, replace=False))
    total = sum(math.exp(-(min(abs(m - k) for m in music) ** 2) / 2 / 3**2) for k in frames)
    assert beat_align(dance_s, music / 60) == pytest.approx(total / len(frames), rel=1e-12)


def test_beat_align_at_its_ends():
    beats = np.array([0.5, 1.0, 1.5])
    assert beat_align(beats, beats) == 1.0
    assert beat_align(beats, beats + 0.05) == pytest.approx(math.exp(-0.5))
    assert beat_align(beats, np.zeros(0)) == 0.0
    assert math.isnan(beat_align(np.zeros(0), beats))
    still = align_scores(np.zeros((120, 219)), 60, beats)
    assert all(math.isnan(value) for value in still.values())


def swing(frames: int, fps: float, period_s: float) -> np.ndarray:
    """Return how far (T,) an arm is that rests every half period: at 0, p / 2, p, ..."""
    return np.cos(2 * np.pi * np.arange(frames) / fps / period_s)


def test_kinematic_beats_of_two_dimensional_poses_ignore_unseen_joints():
    body = np.zeros((240, 25, 3))
    body[..., 0] = swing(240, 30, 1.0)[:, None] * np.linspace(0.1, 1, 25)
    body[..., 0] += 5  # far from (0, 0), where a joint lies that is not seen
    body[..., 2] = 0.9
    all_seen = kinematic_beats_s(*args(body))
    assert np.abs(all_seen - 0.5 * np.round(all_seen / 0.5)).max() <= 1 / 30 + 1e-9
    assert len(all_seen) >= 14
    hidden = body.copy()
    frame = np.arange(240)
    hidden[((frame + 4) % 15 < 8) & (frame % 2 == 0), 4] = 0  # a wrist flickers at each rest
    hidden[100] = 0
    found = kinematic_beats_s(*args(hidden))
    assert len(found) == len(all_seen) and np.abs(found - all_seen).max() <= 2 / 30
    naive = kinematic_beats_s(hidden[..., :2], 30)
    assert len(naive) != len(all_seen) or np.abs(naive - all_seen).max() > 2 / 30
    scores = align_scores(body.reshape(240, 75), 30, np.arange(0.5, 7.5, 0.5))
    assert scores["align"] > 0.7 and scores["align_back"] > 0.7


def args(body: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    joints, seen = joints_of(body.reshape(len(body), 75))
    return joints, 30.0, seen


@pytest.mark.parametrize("slow_fps", [25, 24, 15, 12])
def test_frames_that_a_slower_video_shows_twice_are_no_rests(slow_fps):
    def dance(at_s):
        return np.cos(2 * np.pi * at_s / 1.07)[:, None, None] * np.ones((1, 5, 2))

    at_s = np.arange(300) / 30
    joints = dance(np.floor(at_s * slow_fps + 1e-6) / slow_fps)
    found, true = kinematic_beats_s(joints, 30), kinematic_beats_s(dance(at_s), 30)
    assert len(true) >= 17 and abs(len(found) - len(true)) <= 2
    assert beat_align(true, found) > 0.8 and beat_align(found, true) > 0.8
    longer = np.repeat(joints[::10], 10, axis=0)
    np.testing.assert_array_equal(without_repeats(longer), longer)


def test_joints_of_a_stored_annotation_are_those_of_the_dancer(tmp_path):
    from pipeline.features.motion.smpl_rotations import load_motion
    from pipeline.sources.synthetic.body import OFFSETS_M, PARENTS
    from pipeline.sources.synthetic.dance import choreograph

    assert SMPL_PARENTS == PARENTS and np.array_equal(SMPL_OFFSETS_M, OFFSETS_M)
    beats = np.arange(-1.2, 9.5, 0.5)
    dance = choreograph("HO", beats, 480, np.random.default_rng(0))
    path = tmp_path / "dance.pkl"
    smpl = {"smpl_poses": dance.poses, "smpl_trans": 100 * dance.trans_m,
            "smpl_scaling": np.array([100.0])}  # fmt: skip
    path.write_bytes(pickle.dumps(smpl))
    motion = load_motion(path)
    joints, seen = joints_of(motion)
    assert np.abs(joints - dance.joints_m).max() < 1e-5 and seen.all()
    music = beats[(beats >= 0) & (beats < 8)]
    scores = align_scores(motion, 60, music)
    assert scores["align"] > 0.9
    assert align_scores(motion, 60, music + 0.25)["align"] < 0.1
    stored = align_scores(dance.joints_m.reshape(480, 72), 60, music)
    assert stored == pytest.approx(scores, abs=1e-3)
    with pytest.raises(ValueError, match=r"shape \(480, 200\).*219.*--motion smpl"):
        joints_of(motion[:, :200])
