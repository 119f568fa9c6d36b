"""SMPL joints: the model file read without running it, the joints against plain kinematics."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from builds import clip, motion_file, options, run
from smpl_bodies import PELVIS_M, body, published

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from pipeline.build import build
from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import StageError
from pipeline.features.motion import smpl_rotations as smpl
from pipeline.features.motion.smpl_joints import BATCH, SmplJoints
from pipeline.features.motion.smpl_model import load_body_model
from pipeline.sources.synthetic import plan
from pipeline.sources.synthetic.body import PARENTS, forward_kinematics
from pipeline.sources.synthetic.write import SCALING, perform


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("smpl") / "SMPL_MALE.pkl"
    path.write_bytes(published(body()))
    return path


@pytest.fixture(scope="module")
def joints_of(model_file) -> SmplJoints:
    made = SmplJoints(model_file)
    made.setup()
    return made


def test_a_published_pickle_is_read_without_chumpy(model_file):
    assert "chumpy" not in sys.modules and b"chumpy.ch" in model_file.read_bytes()
    model, arrays = load_body_model(model_file), body()
    np.testing.assert_array_equal(model.template, arrays["v_template"])
    np.testing.assert_array_equal(model.regressor, arrays["J_regressor"])
    np.testing.assert_array_equal(model.pose_shapes, arrays["posedirs"])
    assert tuple(model.parents) == PARENTS


def test_npz_gives_the_same_joints(model_file, joints_of, tmp_path):
    path = tmp_path / "SMPL_MALE.npz"
    np.savez(path, **body(), part2num=np.array({"an": "object"}, dtype=object))
    other = SmplJoints(path)
    other.setup()
    poses = np.random.default_rng(0).normal(size=(3, 72))
    np.testing.assert_array_equal(other(poses, poses[:, :3]), joints_of(poses, poses[:, :3]))


def test_joints_of_synthetic_dancers_are_their_forward_kinematics(joints_of, tmp_path):
    for spec in plan(2):
        motion = perform(spec).motions[0]
        frames = min(len(motion.poses), BATCH + 7)
        poses, trans_m = motion.poses[:frames], motion.trans_m[:frames]
        raw = {
            "smpl_poses": poses.astype(np.float32),
            "smpl_trans": (SCALING * trans_m).astype(np.float32),
            "smpl_scaling": np.array([SCALING], np.float32),
        }
        path = tmp_path / f"{spec.motion_id}.pkl"
        path.write_bytes(pickle.dumps(raw))
        found = joints_of.load_motion(path)
        assert found.shape == (frames, 72) and found.dtype == np.float32
        expected = forward_kinematics(poses, PELVIS_M + trans_m)
        np.testing.assert_allclose(found.reshape(frames, 24, 3), expected, atol=2e-6)
        assert np.ptp(found, axis=0).max() > 0.1  # it dances


def test_a_turned_root_turns_about_itself_and_not_about_the_origin(joints_of):
    poses = np.zeros((2, 72))
    poses[1, 1] = np.pi / 2
    rest, turned = joints_of(poses, np.array([[0, 0, 0], [1.0, 2, 3]])).reshape(2, 24, 3)
    np.testing.assert_allclose(rest[0], PELVIS_M, atol=1e-7)
    np.testing.assert_allclose(turned[0], PELVIS_M + np.array([1, 2, 3]), atol=1e-7)
    arm = rest[20] - rest[0]
    np.testing.assert_allclose(turned[20] - turned[0], [arm[2], arm[1], -arm[0]], atol=1e-7)


class Command:
    """Pickles as a call of a program."""

    def __reduce__(self):
        return print, ("run!",)


def without(name: str) -> bytes:
    return published({key: value for key, value in body().items() if key != name} | {"x": 0})


def fewer_joints() -> bytes:
    arrays = body()
    return published(arrays | {"kintree_table": np.zeros((2, 52), np.uint32)})


def damaged(name: str, change) -> bytes:
    arrays = body()
    return published(arrays | {name: change(arrays[name])})


def by_hand() -> bytes:
    """Return a pickle that asks for an object of a class of ours, made without its own say."""
    return b"\x80\x02ccopy_reg\n_reconstructor\nc__builtin__\nset\nc__builtin__\nobject\nN\x87R."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"v_template": Command()}), "builtins.print"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (by_hand(), "not allowed in a body model"),
        (b"Pfile\n.", "cannot be read"),
        (b"\x80\x02\x82\x01.", "cannot be read"),
        (b"this is no pickle", "cannot be read"),
        (b"", "cannot be read"),
        (pickle.dumps([1, 2]), "contains a list"),
        (without("weights"), "weights is missing"),
        (fewer_joints(), "52 joints, expected 24"),
        (damaged("weights", lambda w: w[:, :23]), r"\(72, 23\), expected \(72, 24\)"),
        (damaged("J_regressor", lambda r: r * np.nan), "not finite"),
        (damaged("kintree_table", lambda t: np.flip(t, 1)), "not a valid tree"),
        (damaged("posedirs", lambda p: p[:, :, :93]), "cannot reshape"),
        (pickle.dumps(body() | {"weights": "many"}), "expected an array of numbers"),
    ],
)
def test_what_is_no_body_model_is_refused_and_nothing_in_it_is_run(content, words, tmp_path, capfd):
    path = tmp_path / "SMPL_MALE.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as refused:
        load_body_model(path)
    assert str(path) in str(refused.value) and "https://smpl.is.tue.mpg.de" in str(refused.value)
    assert "run!" not in capfd.readouterr().out


def test_an_npz_of_objects_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, **(body() | {"J_regressor": np.array(Command(), dtype=object)}))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_body_model(path)


def test_the_command_says_which_file_it_needs(model_file, tmp_path, capsys):
    clip(tmp_path / "in" / "a.mp4", 2.1)
    command = ["build", "--dataset", "folder", "--source", tmp_path / "in", "--visual", "none"]
    command += ["--out", tmp_path / "out", "--engine", "local"]
    assert run(*command, "--motion", "smpl-joints") == 1
    assert "register, accept the terms" in capsys.readouterr().err
    assert run(*command, "--motion", "smpl-joints", "--smpl-model", tmp_path / "no.pkl") == 1
    assert "no.pkl: no such file" in capsys.readouterr().err
    assert run(*command, "--motion", "smpl", "--smpl-model", model_file) == 1
    assert "needs --motion smpl-joints" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_build_holds_joints_and_another_model_makes_them_again(
    model_file, joints_of, tmp_path, monkeypatch
):
    clip(tmp_path / "in" / "a.mp4", 4.2)
    motion = tmp_path / "in" / "motions" / "a.pkl"
    motion_file(motion, 252)
    joints = options(tmp_path / "in", tmp_path / "out", motion="smpl-joints", smpl_model=model_file)
    build(joints)
    found = dict(read_shard(joints.out / "train-000000.tar"))
    expected = joints_of.load_motion(motion)
    for i in range(2):
        members = found[f"a_seg{i + 1:04d}"]
        np.testing.assert_array_equal(
            read_npy(members["motion.npy"]), expected[120 * i : 120 * i + 120]
        )
        assert json.loads(members["json"])["start_s"] == 2 * i
    dataset = load_dataset(joints.out)
    assert dataset.fields["motion.npy"]["kind"] == "smpl-joints"
    assert dataset.fields["motion.npy"]["shape"] == [120, 72]
    assert dataset.build["smpl_model"] == str(model_file)

    worked: list[str] = []
    engine_run = LocalEngine.run

    def watch(self, stages, items, lost):
        items = list(items)
        worked.extend(item.row.path for item in items if hasattr(item, "row"))
        return engine_run(self, stages, items, lost)

    monkeypatch.setattr(LocalEngine, "run", watch)
    build(joints)
    assert worked == []
    taller = body()
    taller["v_template"] = taller["v_template"] * 1.1
    model_file = tmp_path / "other.pkl"
    model_file.write_bytes(published(taller))
    again = options(tmp_path / "in", tmp_path / "out", motion="smpl-joints", smpl_model=model_file)
    build(again)
    assert worked == ["a.mp4"]
    new = dict(read_shard(joints.out / "train-000000.tar"))
    assert new["a_seg0001"]["wav"] == found["a_seg0001"]["wav"]
    assert np.abs(
        read_npy(new["a_seg0001"]["motion.npy"]) - read_npy(found["a_seg0001"]["motion.npy"])
    ).max() > 0.01  # fmt: skip


@pytest.mark.parametrize("scaling", [0.0, -1.0, np.nan])
def test_a_scale_that_is_none_is_bad_motion(scaling, tmp_path):
    raw = {"smpl_poses": np.zeros((3, 72)), "smpl_trans": np.ones((3, 3)), "smpl_scaling": scaling}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(raw))
    for load in (smpl.load_motion, smpl.read_annotation):
        with pytest.raises(StageError, match="invalid scale") as error:
            load(path)
        assert error.value.code == "bad_motion"
