"""Poses as pictures: frames at 30 a second, joints out of sight, and the middle of the picture."""

import numpy as np
import pytest

from model.families.notes.poses import filled, frames_at, poses_of


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60, 120])
def test_each_frame_shows_its_own_moment(fps):
    count = round(4 * fps)
    chosen = frames_at(count, fps)
    assert len(chosen) == int(count / fps * 30 + 1e-6)
    late_s = np.arange(len(chosen)) / 30 - chosen / fps
    assert late_s.min() > -1e-4 and late_s.max() < 1 / fps + 1e-4 and chosen.max() < count


def test_joints_out_of_sight_stay_where_they_were_last_seen():
    points = np.arange(10.0).reshape(5, 1, 2)
    seen = np.array([[False], [True], [False], [True], [False]])
    assert filled(points, seen)[:, 0, 0].tolist() == [2, 2, 2, 6, 6]
    assert not filled(points, np.zeros((5, 1), bool)).any()


def test_the_picture_follows_the_dancer_of_smpl_and_stays_for_body_25():
    joints = np.random.default_rng(0).normal(5, 1, (120, 24, 3))
    points, seen = poses_of(joints, None, 60)
    assert points.shape == (60, 24, 2) and seen.all() and seen.shape == (60, 24)
    np.testing.assert_allclose(points.mean((0, 1)), 0, atol=1e-12)
    body, visible = joints[:, :1, :2].repeat(25, 1), np.ones((120, 25), bool)
    visible[:, 3] = False
    points, seen = poses_of(body, visible, 30)
    np.testing.assert_array_equal(points[:, 4], body[:, 4])
    assert not points[:, 3].any() and not seen[:, 3].any()


def test_no_frames_are_no_poses_and_other_joints_are_refused():
    assert poses_of(np.zeros((0, 24, 3)), None, 60)[0].shape == (0, 24, 2)
    with pytest.raises(ValueError, match=r"expected \(T, 24, 3\) of SMPL or"):
        poses_of(np.zeros((4, 17, 3)), None, 60)
    with pytest.raises(ValueError, match="expected more than 0"):
        poses_of(np.zeros((4, 24, 3)), None, 0)
