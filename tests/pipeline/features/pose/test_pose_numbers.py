"""BODY_25 by names, tracks, main dancer, gaps, times: what of 2D pose needs no network."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import clicks, write

from pipeline import cli
from pipeline.features.motion import openpose
from pipeline.features.motion.base import Motion
from pipeline.features.motion.body25 import BODY_25, COCO, COCO_WHOLEBODY, normalise, to_body25
from pipeline.features.plan import Settings
from pipeline.features.pose.people import PersonCollector, motion_of, pose_times
from pipeline.features.pose.tracks import Tracker, bridge, dancers_seen, main_dancer
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.sources.manifest import Row

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
        (tmp_path / f"a_{number:012d}_keypoints.json").write_text(
            json.dumps(people), encoding="utf-8"
        )
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


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 60])
def test_any_frame_rate_gives_60_poses_for_2_s_at_the_nearest_frames(fps):
    start_s, window_s = Fraction(1, 7), Fraction(2)
    shown_s = [Fraction(1, 100) + k / Fraction(fps) for k in range(round(5 * fps))]
    times_s = pose_times(shown_s, start_s, start_s + 2 * window_s)
    assert len(times_s) == len(set(times_s)) <= 4.06 * min(fps, 30) + 1
    count = len(times_s)
    pose = {
        "times_s": np.array([float(t) for t in times_s]),
        "frame": np.arange(count, dtype=np.int32),
        "track": np.zeros(count, np.int32),
        "boxes": np.tile(np.float32([100, 20, 200, 220]), (count, 1)),
        "joints": np.ones((count, 17, 3), np.float32),
    }
    pose["joints"][..., 0] = 320 + 240 * pose["times_s"][:, None]
    facts = {"joints": COCO, "width_px": 640, "height_px": 240}
    motion, dancers = motion_of(pose, facts, [start_s, start_s + 2], window_s)
    assert motion.shape == (2, 60, 75) and motion.dtype == np.float32
    assert dancers == [1, 1]
    wanted_s = float(start_s) + np.arange(120) / 30
    every_s = np.array([float(t) for t in shown_s])
    best = np.abs(every_s[:, None] - wanted_s).min(0)
    np.testing.assert_allclose(np.abs(motion[..., 0].ravel() - wanted_s), best, atol=1e-5)


class Wall:
    """A detector whose one person is the picture's bright part."""

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        found = []
        for frame in frames:
            y, x = np.nonzero(frame[..., 0] > 128)
            rows = [[x.min(), y.min(), x.max(), y.max(), 0.9]] if len(x) else []
            found.append(np.array(rows, np.float32).reshape(-1, 5))
        return found


class Centre:
    """A network of one joint, the middle of the crop's bright part."""

    names, input_px, batch = ("nose",), (48, 64), 8

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        light = np.maximum(crops[..., 0].astype(float) - 64, 0)
        y, x = np.mgrid[:64, :48]
        weight = light.sum((1, 2))
        places = [(light * axis).sum((1, 2)) / weight for axis in (x, y)]
        return np.stack([*places, np.ones(len(crops))], -1)[:, None].astype(np.float32)


@pytest.mark.parametrize("frames", [1, 4, 41, 93])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_moving_block_is_followed_in_px_of_the_videos_own_picture(frames, scale):
    watch = PersonCollector(Wall(), Centre(), frames, (200 * scale, 120 * scale))
    for index in range(frames):
        picture = np.zeros((120, 200, 3), np.uint8)
        picture[30:91, 20 + index : 41 + index] = 255
        watch(picture)
    found = watch.result(watch.net(watch.crops()))
    np.testing.assert_array_equal(found["frame"], np.arange(frames))
    np.testing.assert_array_equal(found["track"], 0)
    assert found["joints"].shape == (frames, 1, 3)
    x = (30 + np.arange(frames) + 0.5) * scale - 0.5
    np.testing.assert_allclose(found["joints"][:, 0, 0], x, atol=0.3 * scale)
    np.testing.assert_allclose(found["joints"][:, 0, 1], 60.5 * scale - 0.5, atol=0.3 * scale)
    np.testing.assert_allclose(found["boxes"][0], np.array([20.5, 30.5, 40.5, 90.5]) * scale - 0.5)


def test_a_long_video_does_not_keep_its_crops(monkeypatch):
    monkeypatch.setattr("pipeline.features.pose.people.CROPS", 20)
    watch = PersonCollector(Wall(), Centre(), 93, (200, 120))
    for index in range(93):
        picture = np.zeros((120, 200, 3), np.uint8)
        picture[30:91, 20 + index : 41 + index] = 255
        watch(picture)
        assert len(watch._held) <= 60
    left = watch.crops()
    assert len(left) < 60
    joints = watch.result(watch.net(left))["joints"]
    np.testing.assert_allclose(joints[:, 0, 0], 30 + np.arange(93), atol=0.3)


def test_nobody_in_sight_is_a_motion_of_zeros():
    watch = PersonCollector(Wall(), Centre(), 7, (200, 120))
    for _ in range(7):
        watch(np.zeros((120, 200, 3), np.uint8))
    pose = watch.result(np.zeros((0, 1, 3), np.float32)) | {"times_s": np.arange(7) / 30}
    facts = {"joints": ["nose"], "width_px": 200, "height_px": 120}
    motion, dancers = motion_of(pose, facts, [Fraction(0)], Fraction(2))
    assert motion.shape == (1, 60, 75) and not motion.any() and dancers == [0]


def test_keys_hold_weights_and_settings_and_no_window_for_the_networks():
    made = Motion("mmpose", weights_id="p", detector_id="d")
    plain = Settings(Path("a"), Path("b"), Path("c"), (made,))
    row = Row("v", "v.mp4", sha256="0" * 64)
    assert plain.key("pose", row) == replace(plain, window_s="4").key("pose", row)
    assert plain.key("motion", row) != replace(plain, window_s="4").key("motion", row)
    for change in ({"weights_id": "q"}, {"detector_id": "e"}, {"precision": "bf16"}):
        other = replace(plain, features=(replace(made, **change),))
        for stage in ("pose", "motion"):
            assert plain.key(stage, row) != other.key(stage, row)


def test_without_mmpose_the_command_that_installs_it_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.features.pose.estimator_mmpose.find_spec", lambda name: None)
    (tmp_path / "a.mp4").touch()
    arguments = ["build", "--dataset", "folder", "--source", str(tmp_path), "--visual", "none"]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--motion", "mmpose", "--out", str(tmp_path / "o")])
    assert end.value.code == 1
    assert "uv pip install -c constraints.txt -e '.[mmpose]'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_frames_handed_out_one_by_one_are_those_that_would_be_kept(tmp_path):
    write(tmp_path / "a.mp4", Fraction(30), 40, clicks(30000, [100]), 22050, "-c:a", "aac")
    times_s = [Fraction(k, 17) for k in range(20)]
    requests = {"all": FrameRequest(times_s), "few": FrameRequest(times_s[:5], 32)}
    given: list[np.ndarray] = []
    kept = read_frames(tmp_path / "a.mp4", requests)
    left = read_frames(tmp_path / "a.mp4", requests, each={"all": given.append})
    assert list(left) == ["few"]
    np.testing.assert_array_equal(np.stack(given), kept["all"])
    np.testing.assert_array_equal(left["few"], kept["few"])
