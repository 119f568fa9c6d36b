"""The synthetic benchmark through the whole pipeline: what comes out is what was put in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from builds import options, run
from scipy.spatial.transform import Rotation
from sound_fonts import write_sound_font

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.build import build
from pipeline.sources.synthetic import plan
from pipeline.sources.synthetic.write import perform


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Two synthetic videos, built without pictures."""
    folder = tmp_path_factory.mktemp("synthetic")
    build(options(folder / "in", folder / "out", dataset="synthetic", limit=2))
    return folder


def segments(built: Path) -> dict[str, dict[str, bytes]]:
    shards = sorted((built / "out").glob("*.tar"))
    return {key: members for shard in shards for key, members in read_shard(shard)}


@pytest.mark.long
def test_motion_equals_the_truth_to_float32(built):
    found = segments(built)
    assert len(found) == 8
    for spec in plan(2):
        with np.load(built / "in" / "truth" / f"{spec.video_id}.npz") as truth:
            poses = truth["smpl_poses"].astype(np.float64).reshape(-1, 3)
            rotations = Rotation.from_rotvec(poses).as_matrix().reshape(-1, 216)
            place = truth["smpl_trans"].astype(np.float64) / truth["smpl_scaling"]
        expected = np.concatenate([place, rotations], 1).astype(np.float32)
        motion = np.concatenate(
            [read_npy(found[f"{spec.video_id}_seg{i:04d}"]["motion.npy"]) for i in range(1, 5)]
        )
        np.testing.assert_array_equal(motion, expected)


@pytest.mark.long
def test_sound_is_the_songs_own_at_the_same_time(built):
    found = segments(built)
    for spec in plan(2):
        show = perform(spec)
        step = show.song.sample_rate_hz // 22050
        sound = show.audio.reshape(len(show.audio), -1).mean(1)[::step]
        for i in range(4):
            members = found[f"{spec.video_id}_seg{i + 1:04d}"]
            facts = json.loads(members["json"])
            assert facts["start_s"] == 2 * i
            assert (facts["genre"], facts["song"]) == (spec.genre, spec.song_id)
            got = read_wav(members["wav"]).astype(float)[200:-200]
            at = 44100 * i + 200
            lags = range(-3, 4)
            match = [np.corrcoef(got, sound[at + lag : at + lag + len(got)])[0, 1] for lag in lags]
            assert lags[int(np.argmax(match))] == 0
            assert max(match) > 0.95


@pytest.mark.long
def test_dataset_says_how_to_make_the_same_features_again(built):
    dataset = load_dataset(built / "out")
    assert dataset.build["motion"] == "smpl"
    assert dataset.fields["motion.npy"] == {
        "dtype": "float32",
        "shape": [120, 219],
        "kind": "smpl",
        "layout": "smpl-rotations",
        "fps": 60,
    }


def test_dry_run_writes_no_video(tmp_path, capsys):
    source = ["--source", tmp_path / "in", "--out", tmp_path / "out", "--visual", "none"]
    assert run("build", "--dataset", "synthetic", "--limit", 7, *source, "--dry-run") == 0
    assert "7" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_build_without_pictures_has_the_same_sound_and_motion(built, tmp_path):
    blind = {"dataset": "synthetic", "limit": 2, "no_video": True}
    done = build(options(tmp_path / "in", tmp_path / "out", **blind))
    assert done.notes == ["no pictures were drawn (--no-video): only sound and motion are data"]
    assert not (tmp_path / "in" / "videos").exists()
    drawn, blank = segments(built), segments(tmp_path)
    assert drawn.keys() == blank.keys()
    for key, members in drawn.items():
        assert members.keys() == blank[key].keys()
        assert members["wav"] == blank[key]["wav"]
        assert members["motion.npy"] == blank[key]["motion.npy"]


def test_videos_are_as_long_as_asked(tmp_path):
    longer = {"dataset": "synthetic", "limit": 1, "no_video": True, "duration_s": 4.5}
    build(options(tmp_path / "in", tmp_path / "out", **longer))
    assert len(segments(tmp_path)) == 2


def test_pictures_that_were_not_drawn_are_not_described(tmp_path, capsys):
    source = ["--source", tmp_path / "in", "--out", tmp_path / "out", "--no-video"]
    assert run("build", "--dataset", "synthetic", *source) == 2
    assert "--no-video draws no pictures, but the pictures are read for visual" in (
        capsys.readouterr().err
    )
    assert run("build", "--dataset", "synthetic", "--songs-per-genre", 5) == 2
    assert "--songs-per-genre 5: expected 6 or more" in capsys.readouterr().err
    assert run("build", "--dataset", "synthetic", "--duration-s", 30) == 2
    assert "--duration-s 30: expected 0.5 to 28" in capsys.readouterr().err
    assert run("build", "--dataset", "folder", "--source", tmp_path, "--no-video") == 2
    assert "--no-video goes with --dataset synthetic" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_dataset_says_which_sound_font_played(tmp_path):
    pytest.importorskip("tinysoundfont", reason="needs the extra `midi`")
    font = write_sound_font(tmp_path / "tiny.sf2")
    played = {"dataset": "synthetic", "limit": 1, "no_video": True, "instruments": font}
    done = build(options(tmp_path / "in", tmp_path / "out", **played))
    sha256 = hashlib.sha256(font.read_bytes()).hexdigest()
    assert done.notes[0] == f"songs played by tiny.sf2 (SHA-256 {sha256})"
    assert load_dataset(tmp_path / "out").fields["wav"]["instruments_sha256"] == sha256
    first = segments(tmp_path)
    write_sound_font(font, quieter_db=6)
    build(options(tmp_path / "in", tmp_path / "out", **played))
    again = load_dataset(tmp_path / "out").fields["wav"]["instruments_sha256"]
    assert again == hashlib.sha256(font.read_bytes()).hexdigest() != sha256
    assert segments(tmp_path).keys() == first.keys()
