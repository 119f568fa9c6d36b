"""BODY_25 by names, tracks, the main dancer and gaps: the numbers of 2D pose, without a network."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.stages import openpose
from pipeline.stages.body25 import BODY_25, COCO, COCO_WHOLEBODY, normalise, to_body25
from pipeline.stages.tracks import Tracker, bridge, dancers_seen, main_dancer

# OpenPose's joints as indices of COCO-WholeBody, written down by hand from both documentations;
# a pair is the middle of two.
BY_HAND = [0, (5, 6), 6, 8, 10, 5, 7, 9, (11, 12), 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
BY_HAND += [17, 18, 19, 20, 21, 22]


def wholebody(frames: int = 20) -> np.ndarray:
    """Return random joints (F, 133, 3), a fifth of them not seen."""
    rng = np.random.default_rng(0)
    joints = rng.uniform([0, 0, 0.3], [640, 360, 1], (frames, 133, 3))
    joints[rng.random((frames, 133)) < 0.2, 2] = 0
    return joints.astype(np.float32)


def test_wholebody_and_openpose_json_give_the_same_motion(tmp_path):
    joints = wholebody()
    for number, frame in enumerate(joints):
        pose = []
        for source in BY_HAND:
            ends = frame[list(source)] if isinstance(source, tuple) else frame[[source]]
            x, y = ends[:, :2].mean(0).tolist()
            sure = float(ends[:, 2].min())
            pose += [x, y, sure] if sure > 0 else [0, 0, 0]
        people = {"people": [{"pose_keypoints_2d": pose}]}
        (tmp_path / f"a_{number:012d}_keypoints.json").write_text(json.dumps(people))
    read = openpose.main_person(openpose.load_people(tmp_path), 640, 360)
    mine = normalise(to_body25(COCO_WHOLEBODY, joints), 640, 360).reshape(20, 75)
    assert (mine.reshape(20, 25, 3)[..., 2] > 0).mean() > 0.6
    np.testing.assert_allclose(mine, read, atol=1e-6)


def test_names_are_complete_and_sides_stay_sides():
    assert len(COCO_WHOLEBODY) == len(set(COCO_WHOLEBODY)) == 133
    assert len(BODY_25) == len(set(BODY_25)) == 25
    left = np.array([[1.0 if "left" in n else 2.0, 0, 1] for n in COCO_WHOLEBODY])
    body = to_body25(COCO_WHOLEBODY, left)
    for name, (x, _, _) in zip(BODY_25, body, strict=True):
        if name.startswith(("left", "right")):
            assert x == (1 if name.startswith("left") else 2), name


def test_joints_that_a_source_lacks_have_no_confidence():
    body = to_body25(COCO, np.ones((4, 17, 3), np.float32))
    np.testing.assert_array_equal(body[:, 19:], 0)
    np.testing.assert_array_equal(body[:, :19], 1)
    np.testing.assert_array_equal(normalise(body, 90, 160)[:, 19:], 0)
    with pytest.raises(ValueError, match="expected"):
        to_body25(COCO, np.ones((4, 16, 3)))


def box(x: float, y: float = 50.0, width: float = 40.0, height: float = 100.0) -> np.ndarray:
    return np.array([x - width / 2, y, x + width / 2, y + height])


def test_two_dancers_who_pass_each_other_keep_their_numbers():
    """One is tall and walks right, one is small and walks left; they cross in the middle."""
    tracker, seen = Tracker(), []
    for frame in range(0, 101, 5):
        boxes = [box(100 + 3 * frame, 20, 60, 160), box(400 - 3 * frame, 90, 36, 80)]
        seen += tracker.update(frame, np.array(boxes[:: 1 if frame % 10 else -1]))
    assert tracker.tracks == 2
    tall = {s.track for s in seen if s.box[3] - s.box[1] > 150}
    assert len(tall) == 1
    places = {s.frame: (s.box[0] + s.box[2]) / 2 for s in seen if s.track in tall}
    assert sorted(places) == list(range(101))
    np.testing.assert_allclose([places[f] for f in range(101)], 100 + 3 * np.arange(101))


def test_one_missed_detection_is_forgiven_and_two_are_not():
    tracker = Tracker()
    assert [s.frame for s in tracker.update(0, box(100)[None])] == [0]
    assert tracker.update(5, np.zeros((0, 4))) == []
    found = tracker.update(10, box(120)[None])
    assert sorted(s.frame for s in found) == list(range(1, 11))
    (middle,) = [s for s in found if s.frame == 5]
    np.testing.assert_allclose(middle.box, box(110))
    tracker.update(15, np.zeros((0, 4)))
    tracker.update(20, np.zeros((0, 4)))
    assert [(s.frame, s.track) for s in tracker.update(25, box(120)[None])] == [(25, 1)]


def test_a_jump_across_the_picture_is_another_person():
    tracker = Tracker()
    tracker.update(0, box(100)[None])
    assert [s.track for s in tracker.update(5, box(300)[None])] == [1]


def sightings(*tracks: tuple[range, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [(f, number, b) for number, (frames, b) in enumerate(tracks) for f in frames]
    frame, track, boxes = zip(*rows, strict=True)
    return np.array(frame), np.array(track), np.array(boxes)


def test_the_main_dancer_is_long_large_and_central():
    all_frames, size = range(60), (640, 360)
    centre, aside = box(320, 50, 80, 200), box(60, 50, 80, 200)
    small = box(320, 50, 30, 70)
    assert main_dancer(*sightings((all_frames, aside), (all_frames, centre)), 60, size) == 1
    assert main_dancer(*sightings((all_frames, small), (all_frames, aside)), 60, size) == 1
    assert main_dancer(*sightings((range(20), centre), (all_frames, aside)), 60, size) == 1
    assert main_dancer(*sightings((all_frames, centre), (all_frames, centre)), 60, size) == 0
    empty = np.zeros(0, int)
    assert main_dancer(empty, empty, np.zeros((0, 4)), 60, size) is None


def test_dancers_are_counted_at_once_though_a_track_breaks():
    frame, _, _ = sightings((range(60), box(1)), (range(25), box(2)), (range(25, 60), box(2)))
    assert dancers_seen(frame, 60) == 2
    assert dancers_seen(np.arange(20), 60) == 0
    assert dancers_seen(np.arange(40), 60) == 1


@pytest.mark.parametrize("fps", [25, 30, 59.94])
def test_gaps_up_to_a_fifth_of_a_second_are_bridged_and_no_longer_ones(fps):
    times_s = np.arange(120) / fps
    poses = np.ones((120, 2, 3), np.float32)
    poses[:, 0, 0] = times_s * 7
    poses[:, 0, 2] = np.linspace(1, 0.5, 120)
    index, steps = np.arange(120), int(0.2 * fps + 1e-6)
    short, long = (index > 20) & (index < 20 + steps), (index > 60) & (index < 61 + steps)
    poses[short | long, 0] = 0
    poses[:3, 0] = 0
    filled = bridge(poses, times_s)
    np.testing.assert_allclose(filled[short, 0, 0], times_s[short] * 7, rtol=1e-4)
    assert (filled[short, 0, 2] == poses[np.flatnonzero(short)[-1] + 1, 0, 2]).all()
    assert (filled[long, 0] == 0).all() and (filled[:3, 0] == 0).all()
    np.testing.assert_array_equal(filled[:, 1], poses[:, 1])
