"""`pipeline build` on the real chain: small generated videos, both engines."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import clip, ends, motion_file, options, refuse_work, run, shards
from clips import as_listed

import pipeline.build
from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from model.generation.pipeline_process import build_features
from pipeline.build import build, locked
from pipeline.engine.base import LocalEngine
from pipeline.features.base import recorded_weights
from pipeline.features.motion import smpl_rotations as smpl
from pipeline.output.verify import verify
from pipeline.report.report import Report
from pipeline.sources import aist
from pipeline.sources.listing import source_files

NAME = as_listed("näme with 'quotes'.mp4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Three good videos and four that must end otherwise."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.mp4", NAME):
        clip(folder / name)
    clip(folder / "short.mp4", 1.2)
    clip(folder / "silent.mp4", sound=False)
    (folder / "text.mp4").write_text("this is no video\n" * 50, encoding="utf-8")
    (folder / "zero.mp4").touch()
    return folder


def test_every_input_ends_and_the_good_ones_are_there(videos, tmp_path):
    report = build(options(videos, tmp_path))
    assert ends(report) == {
        "a.mp4": "ok",
        "b.mp4": "ok",
        NAME: "ok",
        "short.mp4": "too_short",
        "silent.mp4": "no_audio",
        "text.mp4": "undecodable",
        "zero.mp4": "empty",
    }
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert saved["inputs"] == sum(saved["counts"].values()) == 7
    assert saved["counts"] == {"ok": 3, "filtered": 1, "failed": 3}
    assert saved["segments"] == {"train": 6}
    failed = {row["path"]: row for row in saved["rows"] if row["status"] == "failed"}
    assert all(row["message"] and row["stage"] for row in failed.values())
    assert "text.mp4" in failed["text.mp4"]["message"]
    (short,) = [row for row in saved["rows"] if row["path"] == "short.mp4"]
    assert "window 2.00 s" in short["message"]
    assert list(verify(tmp_path)) == ["train-000000.tar: 6 segments"]


@pytest.mark.slow
def test_both_engines_write_the_same_bytes(videos, tmp_path, engine):
    quiet = options(videos, tmp_path / "quiet", limit=2, visual="i3d_r50", weights="untrained")
    build(quiet)
    other = replace(quiet, out=tmp_path / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build, "make_engine", lambda name, address: engine)
        report = build(other)
    assert shards(quiet.out) == shards(other.out)
    assert report.untrained == ["visual features: i3d_r50 with random weights"]
    features = [read_npy(m["visual.npy"]) for _, m in read_shard(other.out / "train-000000.tar")]
    assert {(f.shape, str(f.dtype)) for f in features} == {((1, 2048), "float32")}
    assert np.stack(features).std(0).max() > 0


def test_the_same_command_again_works_on_nothing(videos, tmp_path, monkeypatch, capsys):
    first = build(options(videos, tmp_path))
    before = shards(tmp_path)
    monkeypatch.setattr(LocalEngine, "run", refuse_work)
    again = build(options(videos, tmp_path))
    assert "7 of 7 inputs are done already" in capsys.readouterr().out
    assert shards(tmp_path) == before
    assert again.rows == first.rows


def test_one_more_input_leaves_the_old_ones_alone(tmp_path, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    clip(source / "m.mp4")
    build(options(source, out))
    old = dict(read_shard(out / "train-000000.tar"))
    clip(source / "a.mp4")
    worked: list[str] = []
    run = LocalEngine.run

    def watch(self, stages, items, lost):
        items = list(items)
        worked.extend(item.row.path for item in items if hasattr(item, "row"))
        return run(self, stages, items, lost)

    monkeypatch.setattr(LocalEngine, "run", watch)
    build(options(source, out))
    assert worked == ["a.mp4"]
    new = dict(read_shard(out / "train-000000.tar"))
    assert len(new) == 4
    assert {key: new[key] for key in old} == old


def test_a_changed_window_is_cut_again(videos, tmp_path):
    build(options(videos, tmp_path, limit=2))
    report = build(options(videos, tmp_path, limit=2, window_s="4"))
    assert report.segments == {"train": 2}
    dataset = load_dataset(tmp_path)
    assert dataset.window_s == "4"
    assert dataset.fields["wav"]["shape"] == [88200]
    assert list(verify(tmp_path)) == ["train-000000.tar: 2 segments"]


def test_a_damaged_result_is_made_again(videos, tmp_path, capsys):
    build(options(videos, tmp_path, limit=2))
    before = shards(tmp_path)
    stored = sorted((tmp_path / ".work" / "results" / "cut").rglob("*.npz"))
    stored[0].write_bytes(b"not a zip file")
    (tmp_path / ".work" / "shards" / "train-000000.tar.json").write_text("{", encoding="utf-8")
    flip_a_byte(tmp_path)
    report = build(options(videos, tmp_path, limit=2))
    assert str(stored[0]) in capsys.readouterr().err
    assert report.counts == {"ok": 2}
    assert shards(tmp_path) == before
    list(verify(tmp_path))


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
    monkeypatch.setattr("pipeline.sources.folder.video_id", lambda path: path.stem)
    with pytest.raises(ValueError, match=r"x/a\.mp4 and y/a\.mp4 have one id"):
        build(options(tmp_path / "in", tmp_path / "out"))


def test_equal_bad_files_are_each_named(tmp_path):
    for name in ("p.mp4", "q.mp4"):
        (tmp_path / name).write_text("junk" * 100, encoding="utf-8")
    report = build(options(tmp_path, tmp_path / "out"))
    again = build(options(tmp_path, tmp_path / "out"))
    for row in report.rows + again.rows:
        assert row["path"] in row["message"] and str(tmp_path) not in row["message"]


def test_another_source_does_not_replace_what_is_there(videos, tmp_path):
    build(options(videos, tmp_path / "out", limit=2))
    before = shards(tmp_path / "out")
    clip(tmp_path / "other" / "z.mp4", 2.1)
    with pytest.raises(ValueError, match="choose another --out"):
        build(options(tmp_path / "other", tmp_path / "out"))
    assert shards(tmp_path / "out") == before


def test_files_that_are_not_ours_stay(videos, tmp_path):
    for name in ("backup.tar", "film.mp4.part"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    (tmp_path / "train-000000.tar.123.part").write_text("of a killed build", encoding="utf-8")
    (tmp_path / "train-000009.tar").write_text("of an earlier build", encoding="utf-8")
    build(options(videos, tmp_path))
    assert sorted(path.name for path in tmp_path.glob("*.part")) == ["film.mp4.part"]
    assert sorted(shards(tmp_path)) == ["backup.tar", "train-000000.tar"]
    assert list(verify(tmp_path))


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


def test_sound_is_normalised_and_the_gain_is_kept(videos, tmp_path):
    build(options(videos / "a.mp4", tmp_path))
    for _, members in read_shard(tmp_path / "train-000000.tar"):
        pcm, meta = read_wav(members["wav"]), json.loads(members["json"])
        assert pcm.shape == (44100,)
        assert np.abs(pcm).max() == round(0.95 * 32767)
        assert 0.95 / 32 <= 1 / meta["gain"] <= 2


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


def test_two_builds_into_one_folder_are_refused(videos, tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another command is writing"):
        build(options(videos, tmp_path))


def test_webdataset_alone_reads_the_shards(videos, tmp_path):
    import webdataset as wds

    build(options(videos, tmp_path))
    stream = wds.WebDataset(str(tmp_path / "train-000000.tar"), shardshuffle=False)
    found = [sample["__key__"] for sample in stream if len(sample["wav"]) > 88200]
    assert [key for key in found if key.startswith("a_")] == ["a_seg0001", "a_seg0002"]
    assert len(found) == 6


def flip_a_byte(out: Path) -> None:
    path = out / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_the_tail(out: Path) -> None:
    path = out / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:-2000])


def add_a_stranger(out: Path) -> None:
    with tarfile.open(out / "train-000009.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x_seg0001.wav"), io.BytesIO())


@pytest.mark.parametrize("damage", [flip_a_byte, cut_the_tail, add_a_stranger])
def test_verify_names_the_damaged_shard(videos, tmp_path, damage):
    build(options(videos, tmp_path, limit=2))
    damage(tmp_path)
    with pytest.raises(ValueError, match=r"train-00000\d\.tar"):
        list(verify(tmp_path))


def test_exit_codes_and_messages(videos, tmp_path, capsys):
    build_it = ["build", "--dataset", "folder", "--engine", "local", "--visual", "none"]
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o") == 3
    said = capsys.readouterr()
    assert "failed" in said.out and "more than --max-failed 20.0%" in said.err
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o", "--dry-run") == 0
    clip(tmp_path / "short" / "a.mp4", 1.0)
    assert run(*build_it, "--source", tmp_path / "short", "--out", tmp_path / "q") == 3
    error = capsys.readouterr().err
    assert "no segment was made: a: too_short: a.mp4: got 1.00 s" in error
    assert f"see {tmp_path}/q/report.html" in error
    assert run("curate", "--dataset", "tiktok", "--source", videos, "--out", tmp_path / "r",
               "--engine", "local", "--address", "auto") == 2  # fmt: skip
    assert "--address auto goes with --engine ray" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o", "--max-failed", 0.5) == 0
    assert run(*build_it, "--source", tmp_path / "none", "--out", tmp_path / "p") == 1
    assert "no such folder" in capsys.readouterr().err
    assert run(*build_it[:-2], "--source", videos, "--weights", tmp_path / "w") == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "w").write_text("no weights", encoding="utf-8")
    assert run(*build_it[:-2], "--source", videos, "--weights", tmp_path / "w") == 1
    assert "not the weights of i3d_r50" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--window-s", "1/0") == 2
    assert "not a number of seconds" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--motion-dir", tmp_path / "none") == 1
    assert "no such folder" in capsys.readouterr().err
    assert run("verify", "--shards", tmp_path / "none") == 1
    assert "pipeline build" in capsys.readouterr().err
    assert run("build") == 2


def test_features_of_a_new_video_are_made_or_it_is_said_why_not(tmp_path):
    wanted = {"motion": "smpl", "visual": "none", "window_s": "5/2"}
    with pytest.raises(ValueError, match="knows motion from smpl annotations"):
        build_features(clip(tmp_path / "a.mp4"), wanted, tmp_path / "a")
    build_features(tmp_path / "a.mp4", wanted | {"motion": "none"}, tmp_path / "b")
    assert load_dataset(tmp_path / "b").seconds == 2.5
    with pytest.raises(ValueError, match=r"filtered: cut: short\.mp4: got 1\.20 s"):
        build_features(clip(tmp_path / "short.mp4", 1.2), wanted, tmp_path / "c")


def test_kinetics_weights_that_are_not_there_are_not_replaced(
    videos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    assert run("build", "--dataset", "folder", "--source", videos, "--out", tmp_path / "o") == 1
    assert "--weights untrained" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_dry_run_lists_and_writes_nothing(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))  # without any weights
    out = tmp_path / "o"
    arguments = ["--source", videos, "--out", out, "--codec", "jukebox-5b", "--dry-run"]
    assert run("build", "--dataset", "folder", *arguments) == 0
    said = capsys.readouterr().out
    assert "inputs                             7" in said
    assert {"a  a.mp4", "short  short.mp4"} <= set(said.splitlines())
    assert not out.exists()


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs --source DIR"),
        (["--source", ".", "--window-s", "1"], "a window has 2 to 20 s"),
        (["--source", ".", "--window-s", "2,5"], "not a number of seconds"),
        (["--source", ".", "--engine", "local", "--address", "auto"], "goes with --engine ray"),
        (["--source", ".", "--address", "nonsense"], "expected auto, HOST:PORT or ray://HOST:PORT"),
        (["--source", ".", "--published"], "go with --dataset tiktok"),
        (["--source", "s3://b/x"], "s3://b/x: is an address"),
        (["--source", ".", "--out", "s3://b/x"], "pipeline publish --shards FOLDER --to s3://b/x"),
        (["--limit", "abc"], "abc: expected a whole number, 1 or more"),
        (["--limit", "0"], "0: expected a whole number, 1 or more"),
        (["--max-failed", "20%"], "20%: expected a share between 0 and 1"),
        (["--item-limit-s", "nan"], "nan: expected a number of seconds, 0 or more"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("build", "--dataset", "folder", *arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract-codes", "--shards", "s3://b/x"], "s3://b/x: is an address"),
        (["publish", "--shards", "s3://b/x", "--to", "s3://b/y"], "s3://b/x: is an address"),
        (["report", "--shards", "s3://b/x"], "s3://b/x: is an address"),
        (["report", "--shards", "set/dataset.json"], "a file; name its folder: --shards set"),
        (["extract-codes", "--shards", "set", "--codec", "none"], "--codec none: no codes"),
        (["weights", "fetch", "nope"], "weights 'nope': no such name"),
        (["curate", "--dataset", "tiktok"], "needs --source DIR"),
    ],
)
def test_wrong_usage_of_the_other_commands(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").touch()
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aist"], "data/aist: no such folder; put the AIST videos"),
        (["aist", "--source", "nowhere"], "nowhere: no such folder; put the AIST videos"),
        (["folder", "--source", "nowhere"], "nowhere: no such folder"),
        (["folder", "--source", "."], "no video in it"),
    ],
)
def test_inputs_that_are_not_there_are_told_before_weights(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert run("build", "--dataset", *arguments) == 1
    assert words in capsys.readouterr().err


def test_an_error_of_the_system_says_what_to_do(tmp_path, capsys):
    (tmp_path / "file").touch()
    made = ["--limit", 1, "--visual", "none", "--engine", "local", "--out", tmp_path / "o"]
    assert run("build", "--dataset", "synthetic", "--source", tmp_path / "file", *made) == 1
    error = capsys.readouterr().err
    assert "file" in error and "Not a directory; check the path, or choose another" in error


def test_paths_of_weights_are_recorded_whole(videos, tmp_path, monkeypatch, capsys):
    (tmp_path / "net:1.pth").touch()
    (tmp_path / "kinetics").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("kinetics", "untrained", "hrnet_w32_coco", "fasterrcnn_mobilenet"):
        assert recorded_weights(name) == name
    assert recorded_weights("net:1.pth") == str(tmp_path / "net:1.pth")
    assert recorded_weights("c.py:net.pth") == f"{tmp_path}/c.py:{tmp_path}/net.pth"
    out = tmp_path / "o"
    build(options(videos, out, weights="net:1.pth", limit=1))
    written = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert written["build"]["weights"] == str(tmp_path / "net:1.pth")
    written["build"]["weights"] = "net:1.pth"  # as it was recorded before
    (out / "dataset.json").write_text(json.dumps(written), encoding="utf-8")
    capsys.readouterr()
    build(options(videos, out, weights="net:1.pth", limit=1))
    assert "--weights was" not in capsys.readouterr().out


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
