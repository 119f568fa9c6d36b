"""MoveNet and BlazePose: crops and decoding by numbers, and the real networks on clips of people.

The networks are fetched once into the folder that D2M_TEST_CACHE names (else one in the user's
cache), as `pipeline weights fetch` does. Where they cannot be had, their tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import options
from clips import ffmpeg

from model.contract.dataset import load_dataset
from pipeline.build import BuildOptions, build
from pipeline.curate.people import Networks
from pipeline.features.motion.base import Motion
from pipeline.features.motion.body25 import BODY_25, COCO, to_body25
from pipeline.features.pose import base, blazepose, movenet
from pipeline.features.pose.crops import cut, put_back
from pipeline.features.pose.people import PersonCollector, pace, pose_crops, pose_times
from pipeline.features.pose.tracks import dancers_seen
from pipeline.media.reader import FrameRequest, frame_times, probe, read_frames
from pipeline.sources.folder import Folder
from pipeline.sources.tiktok import TikTok
from pipeline.weights.download import DownloadError
from pipeline.weights.fetch import fetch
from pipeline.weights.table import lookup

SOLO, THREE = ("D2M_high1", "D2M_high2", "motivation_gt", "tiktok_high1"), "tiktok_low1"


def standing(x: float, y: float, trunk: float, turn: float = 0.0) -> np.ndarray:
    """Return a person as a detector of joints has it, 4 + 51: hips at x, y; `turn` in radians."""
    shape = {name: (0.0, 0.0) for name in COCO}
    for side, sign in (("left", 1), ("right", -1)):
        for part, at in {
            "eye": -1.4,
            "ear": -1.4,
            "shoulder": -1,
            "elbow": -0.5,
            "wrist": 0,
        }.items():
            shape[f"{side}_{part}"] = (0.3 * sign, at)
        for part, at in {"hip": 0, "knee": 0.8, "ankle": 1.6}.items():
            shape[f"{side}_{part}"] = (0.2 * sign, at)
    shape["nose"] = (0.0, -1.35)
    points = np.array([shape[name] for name in COCO]) * trunk
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    joints = np.concatenate([turned + np.array([x, y]), np.full((17, 1), 0.8)], 1)
    box = np.concatenate([joints[:, :2].min(0), joints[:, :2].max(0)])
    return np.concatenate([box, joints.ravel()])


@pytest.mark.parametrize("turn", [0.0, 1.2, -2.5, np.pi])
def test_a_crop_has_the_hips_in_its_middle_the_shoulders_above_and_the_body_inside(turn):
    person = standing(300, 200, 50, turn)[None]
    (place,) = blazepose.squares(person)
    joints = person[:, 4:].reshape(17, 3)
    inside = np.linalg.solve(place[:, :2], (joints[:, :2] - place[:, 2]).T).T
    at = {name: inside[i] for i, name in enumerate(COCO)}
    hips = (at["left_hip"] + at["right_hip"]) / 2
    shoulders = (at["left_shoulder"] + at["right_shoulder"]) / 2
    np.testing.assert_allclose(hips, 127.5, atol=1e-6)
    assert abs(shoulders[0] - 127.5) < 1e-6 and shoulders[1] < 100
    assert at["left_shoulder"][0] > at["right_shoulder"][0]
    assert 10 < inside.min() and inside.max() < 246
    back = put_back(np.concatenate([inside, joints[:, 2:]], 1)[None], place[None])
    np.testing.assert_allclose(back[0], joints, atol=1e-6)


def test_without_sure_joints_the_box_places_the_crop():
    person = standing(300, 200, 50, 1.0)[None]
    unsure = person.copy()
    unsure[:, 4:].reshape(-1, 3)[COCO.index("left_hip"), 2] = 0.1
    box = blazepose.squares(person[:, :4])
    np.testing.assert_array_equal(blazepose.squares(unsure), box)
    (place,) = box
    middle = (person[0, :2] + person[0, 2:4]) / 2
    np.testing.assert_allclose(place @ [127.5, 127.5, 1], middle)
    assert place[0, 1] == place[1, 0] == 0 and place[0, 0] == place[1, 1]


def test_a_cut_shows_what_lies_at_its_place():
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[60:70, 120:130] = 255
    turned = np.array([[[0.0, -0.5, 150], [0.5, 0.0, 40]]])
    (crop,) = cut(frame, turned, (64, 96))
    y, x = np.nonzero(crop[..., 0] > 128)
    found = put_back(np.array([[[x.mean(), y.mean(), 1.0]]]), turned)
    np.testing.assert_allclose(found[0, 0, :2], [124.5, 64.5], atol=0.3)


def test_another_persons_joints_are_not_taken_for_ones_own():
    people = np.stack([standing(300, 200, 50), standing(330, 200, 50)])
    joints = np.zeros((2, 33, 3))
    mine = [blazepose.POINTS.index(name) for name in COCO]
    joints[:, mine] = people[0, 4:].reshape(17, 3) + np.array([1, 0, 0.1])  # the first, twice
    joints[:, blazepose.POINTS.index("left_heel")] = (300, 290, 0.9)
    settled = blazepose.own_joints(joints, people)
    np.testing.assert_array_equal(settled[0], joints[0])
    np.testing.assert_array_equal(settled[1, mine], people[1, 4:].reshape(17, 3))
    assert settled[1, blazepose.POINTS.index("left_heel"), 2] == 0
    np.testing.assert_array_equal(blazepose.own_joints(joints, people[:, :4]), joints)


def heads(persons: list[tuple[int, int]], high: int = 24, wide: int = 32) -> list[torch.Tensor]:
    """Return MoveNet's heads for persons with centres (row, column), joints 3 cells about them."""
    centre, heat = torch.zeros(1, 1, high, wide), torch.zeros(1, 17, high, wide)
    size, offset = torch.zeros(1, 2, high, wide), torch.zeros(1, 2, high, wide)
    regressed, nudge = torch.zeros(1, 34, high, wide), torch.full((1, 34, high, wide), 0.25)
    for rank, (row, column) in enumerate(persons):
        centre[0, 0, row, column] = 0.9 - 0.1 * rank
        size[0, :, row, column] = 8
        for joint in range(17):
            y, x = (joint % 7) - 3, (joint % 5) - 2
            regressed[0, 2 * joint : 2 * joint + 2, row, column] = torch.tensor([y, x]).float()
            heat[0, joint, row + y, column + x] = 0.8
    return [centre, size, offset, regressed, heat, nudge]


def test_each_person_gets_the_joints_of_its_own_and_a_batch_is_its_pictures():
    several = [heads([(10, 8), (10, 22)]), heads([(8, 16)]), heads([])]
    together = movenet.decode(*(torch.cat(parts) for parts in zip(*several, strict=True)))
    assert together.shape == (3, 6, 5 + 51)
    for one, alone in zip(together, several, strict=True):
        torch.testing.assert_close(one, movenet.decode(*alone)[0])
    for person, (row, column) in zip(together[0], [(10, 8), (10, 22)], strict=False):
        joints = person[5:].reshape(17, 3)
        want = [(column + j % 5 - 2 + 0.25, row + j % 7 - 3 + 0.25) for j in range(17)]
        np.testing.assert_allclose(joints[:, :2], want, atol=1e-6)
        np.testing.assert_allclose(joints[:, 2], 0.8, atol=1e-6)
        np.testing.assert_allclose(person[:4], [column - 4, row - 4, column + 4, row + 4])
    np.testing.assert_allclose(together[:, 0, 4], [0.9 * 0.8, 0.9 * 0.8, 0], atol=1e-6)
    assert together[1, 1:, 4].max() == together[2, :, 4].max() == 0


class Whole:
    """An estimator of frames: a person of one joint where the picture is bright, blind at times."""

    INPUT, WEIGHTS = "frames", ""
    names, input_px, batch = ("nose",), (8, 8), 4

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        found = []
        for frame in frames:
            y, x = np.nonzero(frame[..., 0] > 128)
            box = (
                [x.min(), y.min(), x.max(), y.max(), 0.9, x.mean(), y.mean(), 0.7] if len(x) else []
            )
            found.append(np.array(box, np.float32).reshape(-1, 8))
        return found


def test_an_estimator_of_frames_finds_its_people_in_each_and_short_misses_do_not_end_a_track():
    watch = PersonCollector(None, Whole(), 40, (400, 240), **pace(Whole()))
    for index in range(40):
        picture = np.zeros((120, 200, 3), np.uint8)
        if index not in range(12, 20):
            picture[30:91, 20 + index : 41 + index] = 255
        watch(picture)
    found = watch.result(pose_crops(watch.net, watch.crops()))
    np.testing.assert_array_equal(found["frame"], np.arange(40))
    np.testing.assert_array_equal(found["track"], 0)
    hidden = np.isin(np.arange(40), range(12, 20))
    np.testing.assert_array_equal(found["joints"][hidden, 0, 2], 0)  # nobody made them up
    np.testing.assert_allclose(found["joints"][~hidden, 0, 2], 0.7)
    x = (30 + np.arange(40) + 0.5) * 2 - 0.5
    np.testing.assert_allclose(found["joints"][~hidden, 0, 0], x[~hidden], atol=1e-4)
    assert len(watch._held) <= 20


def test_a_detector_named_for_an_estimator_that_needs_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--detector movenet: movenet finds its own people"):
        Motion("movenet", detector="movenet").check(Fraction(2))
    assert base.detector_for("blazepose") == "movenet"
    assert base.detector_for("blazepose", "x.pth") == "x.pth"
    assert base.detector_for("mmpose") == "fasterrcnn_mobilenet"
    assert Networks("movenet", "", "blazepose_heavy").estimator == ("blazepose", "blazepose_heavy")
    assert Networks("movenet", "", "movenet").estimator == ("movenet", "")


def test_auto_takes_what_is_there_and_says_so_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    found = {"mmpose": None}
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: found[name] if name in found else real(name, package),
    )
    assert base.usual_estimator() == ("blazepose", "mmpose is not installed")
    found["mmpose"] = object()
    assert base.usual_estimator()[0] == "blazepose"
    assert "hrnet_w32_wholebody are not there" in base.usual_estimator()[1]
    for name in ("hrnet_w32_wholebody", "fasterrcnn_mobilenet"):
        path = lookup(name).path
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert base.usual_estimator()[0] == "mmpose"
    assert base.usual_estimator("blazepose_heavy")[0] == "blazepose"
    assert base.usual_estimator("untrained")[0] == "mmpose"
    found["mmpose"] = None
    for kind, source in (("", TikTok()), ("auto", Folder(tmp_path))):
        asked = BuildOptions(source=source, out=tmp_path / "o", features=[Motion(kind)])
        assert asked.features[0].kind == "blazepose"
    videos = tmp_path / "in"
    videos.mkdir()
    (videos / "a.mp4").touch()
    asked = BuildOptions(source=Folder(videos), out=tmp_path / "o", features=[Motion("auto")])
    both = "pipeline weights fetch blazepose_full.*pipeline weights fetch movenet_multipose"
    with pytest.raises(FileNotFoundError, match=both):
        build(asked)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "motion: blazepose (mmpose is not installed)"
    for kind in ("none", "movenet"):
        asked = BuildOptions(source=TikTok(), out=tmp_path / "o", features=[Motion(kind)])
        assert asked.features[0].kind == kind and not asked.features[0].choices()


@pytest.fixture(scope="module")
def networks() -> Path:
    """Return a weights cache with the real networks, fetched once; skip where they are not had."""
    usual = Path.home() / ".cache" / "dance2music-tests"
    cache = Path(os.environ.get("D2M_TEST_CACHE") or usual)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("D2M_CACHE", str(cache))
        for name in ("movenet_multipose", "blazepose_full"):
            try:
                fetch(lookup(name), tell=lambda line: None)
            except (DownloadError, OSError) as error:
                pytest.skip(f"the real network {name} cannot be fetched here: {str(error)[:200]}")
        yield cache


@pytest.fixture
def clips(data, networks) -> Path:
    folder = data / "videos"
    if not (folder / f"{THREE}.mp4").is_file():
        pytest.skip(f"{folder}: the five clips of people are not there")
    return folder


def poses(path: Path, name: str, most: int = 45) -> tuple[dict[str, np.ndarray], int, tuple]:
    """Return what the pose stage stores of a clip's beginning, its frames and its joints' names."""
    net = base.make_estimator(name)
    net.device = "cpu"
    net.setup()
    finder = None if base.takes_frames(net) else base.make_detector("movenet")
    if finder is not None:
        finder.device = "cpu"
        finder.setup()
    seen, shown_s = probe(path), frame_times(path)
    times_s = pose_times(shown_s, shown_s[0], shown_s[-1])[:most]
    watch = PersonCollector(finder, net, len(times_s), (seen.width, seen.height), **pace(net))
    read_frames(path, {"pose": FrameRequest(times_s, 360)}, each={"pose": watch})
    return watch.result(pose_crops(net, watch.crops())), len(times_s), net.names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["movenet", "blazepose"])
def test_real_dancers_are_found_counted_and_posed(name, clips):
    for clip in (*SOLO, THREE):
        found, frames, names = poses(clips / f"{clip}.mp4", name)
        counts = np.bincount(found["frame"], minlength=frames)
        people = 3 if clip == THREE else 1
        assert np.mean(counts == people) >= (0.95 if people == 3 else 0.99), clip
        assert dancers_seen(found["frame"], frames) == people
        if clip not in SOLO[:3]:
            continue
        body = to_body25(names, found["joints"])
        sure = body[..., 2] >= 0.2
        wanted = [i for i, joint in enumerate(BODY_25) if "small_toe" not in joint]
        if name == "movenet":
            wanted = [i for i in wanted if "toe" not in BODY_25[i] and "heel" not in BODY_25[i]]
        assert sure[:, wanted].mean() > 0.9, clip
        at = {joint: body[:, i] for i, joint in enumerate(BODY_25)}
        for lower, upper in (("mid_hip", "neck"), ("left_knee", "left_hip"), ("neck", "nose")):
            assert np.mean(at[lower][:, 1] > at[upper][:, 1]) > 0.95, (clip, lower)
        low = np.maximum(at["left_ankle"][:, 1], at["right_ankle"][:, 1])
        assert np.mean(low > at["mid_hip"][:, 1]) == 1, clip


@pytest.mark.parametrize("name", ["movenet", "blazepose"])
def test_frames_without_people_have_no_poses(name, networks):
    black = np.zeros((3, 360, 640, 3), np.uint8)
    finder = base.make_detector("movenet")
    finder.setup()
    assert [rows.shape for rows in finder(black)] == [(0, 5 + 3 * len(COCO))] * 3
    net = base.make_estimator(name)
    net.setup()
    watch = PersonCollector(finder, net, len(black), (640, 360), **pace(net))
    for frame in black:
        watch(frame)
    found = watch.result(pose_crops(net, watch.crops()))
    assert len(found["frame"]) == len(found["boxes"]) == len(found["joints"]) == 0


@pytest.mark.slow
def test_a_dancer_who_comes_late_is_found(clips, tmp_path):
    late = tmp_path / "late.mp4"
    pad = "tpad=start_duration=1:start_mode=add:color=black"
    ffmpeg("-i", clips / f"{SOLO[0]}.mp4", "-vf", pad, "-an", late)
    found, frames, _ = poses(late, "blazepose")
    assert set(found["frame"].tolist()) == set(range(30, frames))


@pytest.mark.long
def test_a_result_does_not_depend_on_how_frames_and_crops_are_grouped(clips):
    path = clips / f"{THREE}.mp4"
    frames = read_frames(path, {"all": FrameRequest(frame_times(path)[:6], 360)})["all"]
    finder = base.make_detector("movenet")
    finder.device = "cpu"
    finder.setup()
    together = finder(frames)
    for rows, frame in zip(together, frames, strict=True):
        np.testing.assert_allclose(rows, finder(frame[None])[0], atol=2e-3)
    net = base.make_estimator("blazepose")
    net.device = "cpu"
    net.setup()
    people = np.delete(together[0], 4, axis=1).astype(float)
    crops = cut(frames[0], net.places(people), net.input_px)
    alone = np.concatenate([net(crop[None]) for crop in crops])
    np.testing.assert_allclose(net(crops), alone, atol=2e-3)


@pytest.mark.slow
def test_a_folder_of_people_becomes_shards_with_their_motion(clips, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for clip in ("D2M_high2", "tiktok_high1"):
        (tmp_path / "in" / f"{clip}.mp4").symlink_to(clips / f"{clip}.mp4")
    weights = {"pose_weights": "blazepose_full"}  # decides, with mmpose or without
    report = build(options(tmp_path / "in", tmp_path / "out", motion="auto", **weights))
    assert [row["status"] for row in report.rows] == ["ok", "ok"]
    dataset = load_dataset(tmp_path / "out")
    assert dataset.build["motion"] == "blazepose" and dataset.build["detector"] == "movenet"
    motion = dataset.fields["motion.npy"]
    assert motion["layout"] == "body25" and motion["weights"].startswith("blazepose ")
    assert capsys.readouterr().out.splitlines()[0].startswith("motion: blazepose (")
