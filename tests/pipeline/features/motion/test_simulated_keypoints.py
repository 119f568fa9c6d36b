"""2D poses that are made from SMPL: places, errors, gaps, and that the dance survives them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from builds import options, run, shards

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.measures.align import beat_align, kinematic_beats_s
from pipeline.build import build
from pipeline.features.motion.body25 import BODY_25
from pipeline.features.motion.pose_errors import drift, estimated
from pipeline.features.motion.simulated_keypoints import (
    POINTS,
    SimulatedKeypoints,
    View,
    points_of,
    random_view,
    simulate,
)
from pipeline.features.pose.blazepose import BlazePose
from pipeline.sources.synthetic import plan
from pipeline.sources.synthetic.body import J
from pipeline.sources.synthetic.render import Camera
from pipeline.sources.synthetic.write import Performance, perform

VIDEOS = 24
SMALL_TOES = [BODY_25.index("left_small_toe"), BODY_25.index("right_small_toe")]
FEET = [i for i, name in enumerate(BODY_25) if name.endswith(("toe", "heel"))]
BODY = [i for i in range(len(BODY_25)) if i not in FEET]


@cache
def dances() -> list[tuple[Performance, np.ndarray]]:
    """Return dances, and their keypoints (T, 25, 3) at 60 fps."""
    shows = [perform(spec) for spec in plan(VIDEOS)]
    return [(show, simulate(*smpl(show))) for show in shows]


def smpl(show: Performance) -> tuple[np.ndarray, np.ndarray]:
    motion = show.motions[0]
    return motion.poses.astype(float), motion.trans_m.astype(float)


@pytest.mark.long
def test_points_lie_on_the_skeleton_and_the_face_in_front_of_it():
    show, _ = dances()[0]
    points, joints = points_of(*smpl(show)), show.motions[0].joints_m
    for name in ("left_wrist", "right_knee", "left_shoulder"):
        np.testing.assert_allclose(points[:, POINTS.index(name)], joints[:, J[name]], atol=1e-9)
    at_rest = points_of(np.zeros((1, 72)), np.array([[0, 0.93, 0]]))[0]
    place = dict(zip(POINTS, at_rest, strict=True))
    assert place["nose"][2] > place["left_ear"][2] + 0.05
    assert place["left_ear"][0] > 0 > place["right_ear"][0]
    assert place["left_big_toe"][2] > place["left_heel"][2] + 0.1
    assert abs(place["right_heel"][1] - place["right_big_toe"][1]) < 0.02


@pytest.mark.long
def test_a_still_view_is_the_camera_s_projection_in_heights_of_the_picture():
    show, _ = dances()[1]
    points = points_of(*smpl(show))
    frames = len(points)
    size = (0.1, 1.2, 5.0), 0.1, -0.05
    px = Camera(*size, 700.0, 640, 480).project(points)[0]
    view = View(
        Camera(*size, 700 / 480, 0, 0), 4 / 3, False, np.zeros((frames, 2)), np.ones(frames)
    )
    np.testing.assert_allclose(view(points)[0], (px - (320, 240)) / 480, atol=1e-9)


@pytest.mark.long
def test_errors_are_small_around_the_projected_joints():
    """In most videos the median joint is within 0.1 trunks, as in docs/results/poses.md."""
    far = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = points_of(*smpl(dances()[seed][0]))
        view = random_view(points, rng)
        places, depths = view(points)
        found = estimated(places, depths - depths.mean(1, keepdims=True), POINTS,
                          np.arange(len(points)) / 60, view.aspect, rng)  # fmt: skip
        hips, shoulders = (
            places[:, [POINTS.index(f"{side}_{part}") for side in ("left", "right")]].mean(1)
            for part in ("hip", "shoulder")
        )
        trunk = np.median(np.linalg.norm(hips - shoulders, axis=1))
        off = np.linalg.norm(found[..., :2] - places, axis=-1) / trunk
        far.append(np.median(off[found[..., 2] > 0.2]))
        assert (found[..., 2] > 0).all() and (found[..., 2] < 1).all()
    assert 0.02 < np.median(far) < 0.08
    assert max(far) < 0.2


def test_confidences_and_gaps_are_like_blazepose_s():
    found = np.stack([keypoints for _, keypoints in dances()])
    seen = found[..., 2] > 0
    assert not seen[..., SMALL_TOES].any()
    assert (found[seen, 2] >= 0.2).all(), "a joint that is less sure counts as not visible"
    assert not found[~seen].any()
    assert 0.85 < seen[..., BODY].mean() < 0.99
    feet = [i for i in FEET if i not in SMALL_TOES]
    assert 0.4 < seen[..., feet].mean() < 0.9
    by_video = seen[..., feet].mean((1, 2))
    assert by_video.min() < 0.05 and by_video.max() > 0.9, "some have no feet, some all"
    nose, wrist = (np.median(found[..., BODY_25.index(name), 2][seen[..., BODY_25.index(name)]])
                   for name in ("nose", "left_wrist"))  # fmt: skip
    assert nose > 0.85 and 0.5 < wrist < 0.9
    joint = seen[..., BODY_25.index("right_wrist")]
    assert (joint[:, 1:] & ~joint[:, :-1]).sum() > VIDEOS / 4, "joints come back"


def test_people_stand_where_people_stand():
    found = np.stack([keypoints for _, keypoints in dances()])
    neck, hip = (found[:, :, BODY_25.index(name)] for name in ("neck", "mid_hip"))
    both = (neck[..., 2] > 0) & (hip[..., 2] > 0)
    trunk = [np.median(np.linalg.norm((n - h)[b, :2], axis=1))
             for n, h, b in zip(neck, hip, both, strict=True)]  # fmt: skip
    assert min(trunk) < 0.13 and max(trunk) > 0.2, "far and near"
    assert 0 < np.median(hip[both][:, 1]) < 0.25, "hips are below the middle"
    assert np.abs(hip[both][:, 0]).max() < 0.9


def test_the_kinematic_beats_survive():
    """The measure's own frames and delays cost 0.1 of an exact dance's score, the noise more.

    In a video of under 30 fps, some frames are repeated: the dancer then stands still all the time,
    and the measure finds no beat. A fifth of the videos are of this kind.
    """
    own, off = [], []
    for show, keypoints in dances():
        rests = show.motions[0].rest_times_s
        half = np.median(np.diff(rests)) / 2
        seen = keypoints[::2, :, 2] > 0
        beats = kinematic_beats_s(keypoints[::2, :, :2].astype(float), 30, seen)
        repeated = (np.diff(keypoints[::2], axis=0) == 0).all((1, 2))
        if repeated.sum() > 5:
            continue
        assert len(beats) > len(rests) / 2
        own.append(beat_align(beats, rests))
        off.append(beat_align(beats, rests + half))
    assert len(own) > 0.6 * VIDEOS
    assert np.mean(own) > 0.55
    assert np.mean(off) < 0.1
    assert np.mean(np.array(own) > off) > 0.9


def test_the_same_annotation_gives_the_same_keypoints_and_another_one_another_view():
    (show, first), (_, second) = dances()[:2]
    np.testing.assert_array_equal(simulate(*smpl(show)), first)
    assert first.dtype == np.float32
    assert first.shape == second.shape == (480, 25, 3)
    assert not np.allclose(first[:, BODY_25.index("nose")], second[:, BODY_25.index("nose")])


def test_noise_that_drifts_has_its_size_and_memory():
    times_s = np.arange(20_000) / 30
    noise = drift(times_s, 0.4, (3,), np.random.default_rng(0))
    assert noise.shape == (20_000, 3)
    np.testing.assert_allclose(noise.std(0), 1, atol=0.06)
    later = (noise[12:] * noise[:-12]).mean()
    np.testing.assert_allclose(later, np.exp(-1), atol=0.08)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two dances, built without pictures, with 2D poses and at a pace of their own."""
    folder = tmp_path_factory.mktemp("simulated")
    asked = {"dataset": "synthetic", "limit": 2, "no_video": True, "vary_pace": True}
    build(options(folder / "in", folder / "out", motion="simulated-keypoints2d", **asked))
    return folder


def test_a_build_stores_them_at_30_fps_and_says_what_they_imitate(built):
    dataset = load_dataset(built / "out")
    spec = dataset.fields["motion.npy"]
    assert spec == {
        "dtype": "float32", "shape": [60, 75], "kind": "simulated-keypoints2d",
        "layout": "body25", "fps": 30, "imitates": "blazepose",
    }  # fmt: skip
    assert BlazePose.NAMES[0].startswith(SimulatedKeypoints.IMITATES)
    members = {key: m for shard in sorted((built / "out").glob("*.tar"))
               for key, m in read_shard(shard)}  # fmt: skip
    for video in plan(2, vary_pace=True):
        show = perform(video)
        whole = simulate(*smpl(show))[::2].reshape(-1, 75)
        parts = [read_npy(members[f"{video.video_id}_seg{i:04d}"]["motion.npy"]) for i in (1, 2, 3)]
        np.testing.assert_allclose(np.concatenate(parts), whole[:180], atol=1e-6)


@pytest.mark.long
def test_other_kinds_of_motion_of_the_same_videos_are_as_before(built):
    """The order of builds, and the other option, change nothing."""
    asked = {"dataset": "synthetic", "limit": 2, "no_video": True}
    build(options(built / "plain", built / "one", **asked))
    before = shards(built / "one")
    build(options(built / "plain", built / "two", motion="simulated-keypoints2d", **asked))
    build(options(built / "plain", built / "one", **asked))
    assert before and shards(built / "one") == before
    kinds = [load_dataset(built / name).fields["motion.npy"]["kind"] for name in ("one", "two")]
    assert kinds == ["smpl", "simulated-keypoints2d"]


@pytest.mark.long
def test_some_dancers_move_at_another_pace_and_the_music_stays():
    same, other = plan(40), plan(40, vary_pace=True)
    ratios = []
    for plain, varied in zip(same, other, strict=True):
        assert plain.video_id == varied.video_id
        a, b = (len(perform(spec).motions[0].rest_times_s) for spec in (plain, varied))
        ratios.append(b / a)
    slow, usual, fast = (np.mean([low < r <= high for r in ratios])
                         for low, high in ((0, 0.7), (0.7, 1.4), (1.4, 3)))  # fmt: skip
    assert slow > 0.1 and fast > 0.05 and usual > 0.4
    a, b = perform(same[3]), perform(other[3])
    np.testing.assert_array_equal(a.audio, b.audio)
    np.testing.assert_array_equal(a.beat_times_s, b.beat_times_s)


def test_pace_goes_with_the_synthetic_data_set_alone(tmp_path, capsys):
    assert run("build", "--dataset", "folder", "--source", tmp_path, "--vary-pace") == 2
    assert "--vary-pace goes with --dataset synthetic" in capsys.readouterr().err
