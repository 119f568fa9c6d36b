"""Annotations, weights, checkpoints and tars made to harm: refused by name, and never run."""

from __future__ import annotations

import io
import json
import pickle
import resource
import tarfile

import numpy as np
import pytest
import torch
from builds import clip, ends, motion_file, options, run
from hostile_parts import Touch, Vast, member, nested

from model.cli import main as model_main
from model.contract.dataset import load_dataset
from model.contract.shards import read_shard
from model.data.reader import read_tar
from pipeline.build import build

# --- annotations, weights, checkpoints -----------------------------------------------------------


def test_annotations_that_run_code_or_unpack_without_end_fail_by_name(tmp_path):
    source, motions = tmp_path / "in" / "videos", tmp_path / "in" / "motions"
    good = motion_file(motions / "good.pkl", 132)
    attacks = {
        "code": good | {"smpl_loss": Touch(tmp_path / "owned")},
        "lists": good | {"smpl_poses": nested(9)},
        "vast": good | {"smpl_poses": Vast()},
        "objects": good | {"smpl_poses": np.array([None] * 72, object)},
    }
    for name in ("good", *attacks):
        clip(source / f"{name}.mp4", 2.1)
    for name, content in attacks.items():
        (motions / f"{name}.pkl").write_bytes(pickle.dumps(content))
    (motions / "deep.pkl").write_bytes(b"(" * 100_000 + b".")
    clip(source / "deep.mp4", 2.1)
    report = build(options(source, tmp_path / "out", motion="smpl"))
    assert ends(report) == {f"{name}.mp4": "bad_motion" for name in (*attacks, "deep")} | {
        "good.mp4": "ok"
    }
    assert not (tmp_path / "owned").exists()
    assert "posix.mkdir" in {row["path"]: row["message"] for row in report.rows}["code.mp4"]


def test_keypoints_nested_without_end_fail_by_name(tmp_path):
    for name, text in {
        "deep": "[" * 200_000,
        "numbers": '{"people": [{"pose_keypoints_2d": [' + "1e999," * 74 + "1]}]}",
        "type": '{"people": {"pose_keypoints_2d": 3}}',
    }.items():
        clip(tmp_path / "in" / f"{name}.mp4", 2.1)
        folder = tmp_path / "in" / "openpose" / name
        folder.mkdir(parents=True)
        for frame in range(63):
            (folder / f"{name}_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")
    report = build(options(tmp_path / "in", tmp_path / "out", motion="openpose"))
    assert set(ends(report).values()) == {"bad_motion"}


WEIGHTS = ["codec", "pose-weights", "detector", "smpl-model"]


@pytest.mark.parametrize("what", [pytest.param("weights", marks=pytest.mark.slow), *WEIGHTS])
def test_weights_that_run_code_are_refused(tmp_path, what, capsys):
    if what in ("pose-weights", "detector"):
        pytest.importorskip("mmpose")
    evil = tmp_path / ("evil.pkl" if what == "smpl-model" else "evil.pth")
    state = {"model": Touch(tmp_path / "owned"), "state_dict": Touch(tmp_path / "owned")}
    if what == "smpl-model":
        evil.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, evil)
    clip(tmp_path / "in" / "a.mp4", 2.1)
    motion = {"pose-weights": "mmpose", "detector": "mmpose", "smpl-model": "smpl-joints"}
    more = ["--motion", motion.get(what, "none")]
    more += ["--visual", "i3d_r50" if what == "weights" else "none"]
    more += ["--pose-weights", "untrained"] if what == "detector" else []
    command = ["build", "--dataset", "folder", "--source", tmp_path / "in", "--engine", "local"]
    assert run(*command, "--out", tmp_path / "out", *more, f"--{what}", evil) == 1
    assert "evil" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("command", ["info", "generate"])
def test_a_checkpoint_that_runs_code_is_refused(tmp_path, command, capsys):
    torch.save({"format": 2, "config": Touch(tmp_path / "owned")}, tmp_path / "last.pt")
    more = {"info": [], "generate": ["--video", "x.mp4", "--out", str(tmp_path / "music")]}[command]
    with pytest.raises(SystemExit) as end:
        model_main([command, "--run", str(tmp_path), "--checkpoint", "last", *more])
    assert end.value.code == 1
    assert "last.pt: cannot be read as a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


# --- tars ----------------------------------------------------------------------------------------


def claiming(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    return info.tobuf(tarfile.GNU_FORMAT) + b"RIFF" + bytes(508)


def sparse(name: str, size_bytes: int) -> bytes:
    """Return an old GNU sparse member: 512 bytes in the tar, `size_bytes` of zeros when read."""
    info = tarfile.TarInfo(name)
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:398], head[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    head[483:495] = b"%011o\0" % size_bytes
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + bytes(512)


TARS = {
    "dot-dot": member("../evil_seg0001.wav"),
    "absolute": member("/tmp/evil_seg0001.wav"),
    "folder": member("a/evil_seg0001.wav"),
    "symlink": member("evil_seg0001.wav", kind=tarfile.SYMTYPE),
    "hardlink": member("evil_seg0001.wav", kind=tarfile.LNKTYPE),
    "device": member("evil_seg0001.wav", kind=tarfile.CHRTYPE),
    "member twice": member("evil_seg0001.wav") * 2,
    "claims 1 GB": claiming("evil_seg0001.wav", 1 << 30),
    "sparse 4 GB": sparse("evil_seg0001.wav", 4 << 30),
}


@pytest.mark.parametrize("attack", TARS)
def test_a_hostile_tar_is_refused_by_verify_and_trainer(tmp_path, attack):
    path = tmp_path / "train-000000.tar"
    path.write_bytes(TARS[attack] + bytes(1024))
    before = sorted(tmp_path.rglob("*"))
    resource_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with pytest.raises(ValueError, match=r"train-000000\.tar.*"):
        list(read_shard(path))
    with pytest.raises(ValueError, match=r"train-000000\.tar.*|evil_seg0001"):
        list(read_tar(path))
    assert sorted(tmp_path.rglob("*")) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 < resource_mb + 200


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "train-000000.tar"
    keys = ("a_seg0001", "b_seg0001", "a_seg0001")
    path.write_bytes(b"".join(member(f"{key}.wav") for key in keys) + bytes(1024))
    with pytest.raises(ValueError, match="key a_seg0001 appears twice"):
        list(read_shard(path))


def test_a_dataset_that_names_a_shard_elsewhere_is_refused(tmp_path):
    clip(tmp_path / "in" / "a.mp4", 2.1)
    build(options(tmp_path / "in", tmp_path / "out"))
    path = tmp_path / "out" / "dataset.json"
    for name in ("../train-000000.tar", "/etc/x.tar", "train-000000.tar/../../x.tar"):
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["splits"]["train"][0]["name"] = name
        path.write_text(json.dumps(raw), encoding="utf-8")
        with pytest.raises(ValueError, match=r"expected NAME\.tar without folder"):
            load_dataset(tmp_path / "out")


# --- names and paths -----------------------------------------------------------------------------


def test_a_member_of_a_tar_is_read_as_it_was_written(tmp_path):
    """The guards above let plain tars through."""
    path = tmp_path / "train-000000.tar"
    path.write_bytes(member("a_seg0001.wav", b"x" * 700) + bytes(1024))
    assert dict(read_shard(path)) == {"a_seg0001": {"wav": b"x" * 700}}
    assert [raw["wav"] for raw in read_tar(path)] == [b"x" * 700]
    assert io.BytesIO(b"x" * 700).read() == next(iter(dict(read_shard(path)).values()))["wav"]
