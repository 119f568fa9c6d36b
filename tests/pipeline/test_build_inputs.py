"""What `pipeline build` finds: hard names, links, annotations, lists, and files of no use."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from builds import clip, ends, motion_file, options
from clips import as_listed

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.build import build
from pipeline.features.motion import smpl_rotations as smpl
from pipeline.output.verify import verify
from pipeline.report.report import Report
from pipeline.sources import aist
from pipeline.sources.listing import source_files


def test_hard_names_and_links_all_have_a_row(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    clip(source / "a.mp4", 2.1)
    hard = ["x" * 90, "-dash", "two\nlines \x1b[31m", as_listed("日本"), "%03d:?#"]
    for name in hard:
        (source / f"{name}.mp4").write_bytes((source / "a.mp4").read_bytes())
    (source / "broken.mp4").symlink_to(tmp_path / "nowhere")
    (source / "loop").symlink_to(source)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").write_bytes((source / "a.mp4").read_bytes())
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / os.fsdecode(b"bad\xff.mp4")).touch()
    report = build(options(source, out))
    found = ends(report)
    assert {found[f"{name}.mp4"] for name in [*hard, "a", "linked/b"]} == {"ok"}
    assert found["broken.mp4"] == "missing_file"
    # In a Latin-1 locale every name is text.
    assert found.get("bad\\xff.mp4") == ("bad_name" if os.fsdecode(b"\xff") != "ÿ" else None)
    assert len(found) == 9 and report.segments == {"train": 7}
    assert "\x1b" not in report.table()
    list(verify(out))


def test_two_inputs_of_one_id_are_refused(tmp_path, monkeypatch):
    for folder in ("x", "y"):
        clip(tmp_path / "in" / folder / "a.mp4", 2.1)
    monkeypatch.setattr("pipeline.sources.folder.video_id", lambda path: Path(path).stem)
    with pytest.raises(ValueError, match=r"x/a\.mp4 and y/a\.mp4 have the same id"):
        build(options(tmp_path / "in", tmp_path / "out"))


def test_equal_bad_files_are_each_named(tmp_path):
    for name in ("p.mp4", "q.mp4"):
        (tmp_path / name).write_text("junk" * 100, encoding="utf-8")
    report = build(options(tmp_path, tmp_path / "out"))
    again = build(options(tmp_path, tmp_path / "out"))
    for row in report.rows + again.rows:
        assert row["path"] in row["message"] and str(tmp_path) not in row["message"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(videos, monkeypatch):
    def refuse(folder: object) -> object:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="this folder cannot be read"):
        source_files(videos)


def test_a_limit_counts_what_is_there(tmp_path):
    names = sorted(aist.official_split("aist"))
    for name in names[4:6]:
        clip(tmp_path / f"{name}.mp4", 2.1)
    report = build(options(tmp_path, tmp_path / "o", dataset="aist", motion="none", limit=2))
    assert ends(report) == {f"{name}.mp4": "ok" for name in names[4:6]}


def test_annotations_are_not_shared_by_videos_of_one_name(tmp_path):
    source = tmp_path / "in"
    for folder in ("x", "y"):
        clip(source / folder / "a.mp4", 2.1 + 0.1 * (folder == "y"))
    motion_file(source / "motions" / "a.pkl", 132)
    motion_file(source / "motions" / "y" / "a.pkl", 132)
    report = build(options(source, tmp_path / "out", motion="smpl"))
    assert ends(report) == {"x/a.mp4": "missing_motion", "y/a.mp4": "ok"}


def test_smpl_motion_follows_the_windows(tmp_path):
    source = tmp_path / "in" / "videos"
    clip(source / "a.mp4")
    clip(source / "b.mp4")
    raw = motion_file(tmp_path / "in" / "motions" / "a.pkl", 252)
    report = build(options(source, tmp_path / "out", motion="smpl"))
    assert ends(report) == {"a.mp4": "ok", "b.mp4": "missing_motion"}
    found = dict(read_shard(tmp_path / "out" / "train-000000.tar"))
    motion = np.concatenate([read_npy(m["motion.npy"]) for m in found.values()])
    assert motion.shape == (240, 219) and motion.dtype == np.float32
    np.testing.assert_array_equal(motion[:, :3], (raw["smpl_trans"][:240] / 2.0).astype(np.float32))
    angle = np.linalg.norm(raw["smpl_poses"][0, :3])
    first = motion[0, 3:12].reshape(3, 3)
    np.testing.assert_allclose(np.trace(first), 1 + 2 * np.cos(angle), rtol=1e-5)
    np.testing.assert_allclose(first @ first.T, np.eye(3), atol=1e-5)


def test_motion_that_is_too_short_or_hostile_fails_by_name(tmp_path):
    source, motions = tmp_path / "in" / "videos", tmp_path / "in" / "motions"
    for name in ("short", "attack", "shape"):
        clip(source / f"{name}.mp4")
    motion_file(motions / "short.pkl", 200)
    (motions / "attack.pkl").write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path).encode())
    (motions / "shape.pkl").write_bytes(pickle.dumps({"smpl_poses": np.zeros((9, 9))}))
    report = build(options(source, tmp_path / "out", motion="smpl"))
    assert set(ends(report).values()) == {"bad_motion"}
    words = {row["path"]: row["message"] for row in report.rows}
    assert "200 frames" in words["short.mp4"]
    assert "posix.system" in words["attack.mp4"] or "os.system" in words["attack.mp4"]


def test_openpose_json_is_resampled_by_timestamps(tmp_path):
    source = tmp_path / "in"
    clip(source / "a.mp4", 2.4)
    folder = tmp_path / "in" / "openpose" / "a"
    folder.mkdir(parents=True)
    for i in range(72):
        big = np.tile([[10.0 + i, 20, 0.5], [90, 60, 0.9], [0, 0, 0]], (25, 1))[:25]
        small = np.tile([[1.0, 1, 0.9], [2, 2, 0.9]], (13, 1))[:25]
        people = [{"pose_keypoints_2d": p.ravel().tolist()} for p in (small, big)]
        (folder / f"a_{i:012d}_keypoints.json").write_text(
            json.dumps({"people": people}), encoding="utf-8"
        )
    report = build(options(source, tmp_path / "out", motion="openpose"))
    assert ends(report) == {"a.mp4": "ok"}
    ((_, members),) = read_shard(tmp_path / "out" / "train-000000.tar")
    motion = read_npy(members["motion.npy"])
    assert motion.shape == (60, 75) and motion.dtype == np.float32
    np.testing.assert_allclose(motion[:, 0], (10 + np.arange(60) - 48) / 64, atol=1e-5)
    np.testing.assert_array_equal(motion[:, 6:9], 0)
    (folder / "a_000000000071_keypoints.json").unlink()  # programs differ about the last frame
    report = build(options(source, tmp_path / "out", motion="openpose"))
    assert ends(report) == {"a.mp4": "ok"}
    (folder / "a_000000000070_keypoints.json").unlink()
    report = build(options(source, tmp_path / "out", motion="openpose"))
    assert "70 frames" in report.rows[0]["message"]


def test_files_that_are_not_named_like_videos_are_counted(videos, tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "o"
    source.mkdir()
    (source / "a.mp4").symlink_to(videos / "a.mp4")
    (source / "camera.MTS").write_text("no video", encoding="utf-8")
    (source / "sub").mkdir()
    for name in ("a.txt", "b.TXT", "sub/notes", "c.json"):
        (source / name).touch()
    report = build(options(source, out))
    assert ends(report) == {"a.mp4": "ok", "camera.MTS": "undecodable"}
    words = "4 other files in the source folder are not named like videos (.txt 2, no suffix 1,"
    assert words in report.table() and words in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["others"] == {
        "": 1,
        ".json": 1,
        ".txt": 2,
    }
    assert words in Report.load(out).table()
    (source / "a.mp4").unlink()
    (source / "camera.MTS").unlink()
    with pytest.raises(FileNotFoundError, match="no video in it; 4 other files"):
        build(options(source, out))


def test_aist_counts_listed_and_unlisted_videos(tmp_path):
    source = tmp_path / "aist"
    names = ["gBR_sBM_c01_d04_mBR0_ch01", "gBR_sBM_c01_d04_mBR1_ch03", "gBR_sBM_c02_d04_mBR1_ch03"]
    for name in names:
        clip(source / "videos" / f"{name}.mp4", 2.1)
    for name in ("gBR_sBM_cAll_d04_mBR0_ch01", "gBR_sBM_cAll_d04_mBR1_ch03"):
        motion_file(source / "motions" / f"{name}.pkl", 126)
    report = build(options(source, tmp_path / "out", dataset="aist", motion=""))
    assert len(report.rows) == 1020 + 1
    assert report.counts == {"ok": 2, "filtered": 1, "failed": 1018}
    assert report.as_dict()["reasons"] == {
        "failed: missing_file": 1018,
        "filtered: not_in_split": 1,
    }
    assert report.segments == {"train": 1, "val": 1}
    ((key, members),) = read_shard(tmp_path / "out" / "val-000000.tar")
    meta = json.loads(members["json"])
    assert key == "gBR_sBM_c01_d04_mBR0_ch01_seg0001"
    assert (meta["genre"], meta["song"], meta["dancers"]) == ("BR", "mBR0", ["d04"])
    assert load_dataset(tmp_path / "out").fields["motion.npy"]["shape"] == [120, smpl.DIM]


@pytest.mark.slow
def test_the_real_clips_give_six_segments(data, tmp_path):
    report = build(
        options(data / "videos", tmp_path, visual="i3d_r50", weights="untrained", motion="none")
    )
    assert {row["video_id"]: row["segments"] for row in report.rows} == {
        "D2M_high1": 1,
        "D2M_high2": 1,
        "motivation_gt": 2,
        "tiktok_high1": 1,
        "tiktok_low1": 1,
    }
    found = dict(read_shard(tmp_path / "train-000000.tar"))
    assert {len(read_wav(members["wav"])) for members in found.values()} == {44100}
    assert {read_npy(members["visual.npy"]).shape for members in found.values()} == {(1, 2048)}
    padded = {key: json.loads(m["json"])["padded_ms"] for key, m in found.items()}
    assert sum(padded_ms > 0 for padded_ms in padded.values()) == 2
    assert json.loads(found["motivation_gt_seg0001"]["json"])["start_s"] == pytest.approx(0.0454)
