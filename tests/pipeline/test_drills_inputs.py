"""The failure drills on inputs, D1, D2 and D4 to D7: what is done to a build, and what it does."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from builds import (
    ENGINES,
    built,
    clip,
    ends,
    motion_file,
    options,
    refuse_work,
    run,
    shards,
)
from clips import clicks, ffmpeg, write
from drills import results, start

import pipeline.build
import pipeline.features.extract
import pipeline.output.assemble
from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.segment import MOTION
from model.contract.shards import read_npy, read_shard
from model.data.source import Source
from model.data.stream import Position, TrainingStream
from pipeline.build import build
from pipeline.engine.base import LocalEngine
from pipeline.output.verify import verify
from pipeline.report.report import Report

# --- D1: files that cannot be used ---------------------------------------------------------------


def patched(path: Path, name: bytes, offset: int) -> None:
    """Write four zero bytes into the picture's box of that name of an mp4."""
    data = bytearray(path.read_bytes())
    at = data.index(name)
    data[at + offset : at + offset + 4] = bytes(4)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def unusable(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unusable")
    whole = clip(folder / "good.mp4", 2.2).read_bytes()
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50, encoding="utf-8")
    for name, at in (("no_rate", (b"mdhd", 16)), ("no_time", (b"stts", 16))):
        (folder / f"{name}.mp4").write_bytes(whole)
        patched(folder / f"{name}.mp4", *at)
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    clip(folder / "silent.mp4", sound=False)
    ffmpeg("-i", folder / "good.mp4", "-vn", "-c:a", "copy", folder / "blind.mp4")
    return folder


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_d1_what_cannot_be_used_fails_by_name_and_harms_nobody(unusable, tmp_path, chosen):
    report = built(options(unusable, tmp_path / "out"), chosen)
    found = ends(report)
    assert found.pop("good.mp4") == "ok"
    assert found == {
        "noise.mp4": "undecodable",
        "zero.mp4": "empty",
        "text.mp4": "undecodable",
        "no_rate.mp4": "undecodable",
        "no_time.mp4": "undecodable",
        "cut.mp4": "undecodable",
        "silent.mp4": "no_audio",
        "blind.mp4": "no_video",
    }
    for row in report.rows:
        if row["status"] == "failed":
            assert row["stage"] == "cut" and row["path"] in row["message"]
    words = {row["path"]: row["message"] for row in report.rows}
    assert "Invalid data found when processing input" in words["text.mp4"]  # the decoder's own
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(unusable / "good.mp4", alone)
    build(options(alone, tmp_path / "quiet"))
    assert shards(tmp_path / "out") == shards(tmp_path / "quiet")


# --- D2: too short, or of two lengths -------------------------------------------------------------


def two_lengths(path: Path, picture_s: float, sound_s: float) -> Path:
    sound = clicks(round(sound_s * 22050), [500])
    write(path, Fraction(30), round(picture_s * 30), sound, 22050, "-c:a", "pcm_s16le")
    for extra in (path.with_suffix(".rgb"), path.with_suffix(".source.wav")):
        extra.unlink()
    return path


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_d2_the_part_that_both_streams_cover_is_used(tmp_path, chosen):
    source = tmp_path / "in"
    source.mkdir()
    two_lengths(source / "short.mkv", 1.6, 4.0)
    two_lengths(source / "sound_ends.mkv", 4.2, 3.2)
    two_lengths(source / "picture_freezes.mkv", 2.5, 5.0)
    two_lengths(source / "both.mkv", 4.2, 4.2)
    report = built(options(source, tmp_path / "out"), chosen)
    rows = {row["path"].removesuffix(".mkv"): row for row in report.rows}
    assert (rows["short"]["status"], rows["short"]["code"]) == ("filtered", "too_short")
    assert rows["short"]["message"] == "short.mkv: got 1.60 s, window 2.00 s"
    segments = {name: row["segments"] for name, row in rows.items()}
    assert segments == {"short": 0, "sound_ends": 1, "picture_freezes": 1, "both": 2}
    assert rows["sound_ends"]["dropped_s"] == pytest.approx(1.2, abs=0.04)
    assert rows["picture_freezes"]["dropped_s"] == pytest.approx(0.5, abs=0.04)


# --- D4: one changed setting ----------------------------------------------------------------------


def test_d4_only_what_a_setting_touches_is_made_again_and_it_is_named(tmp_path, capsys):
    source = tmp_path / "in" / "videos"
    for name in ("a", "b"):
        clip(source / f"{name}.mp4")
        motion_file(tmp_path / "in" / "motions" / f"{name}.pkl", 256)
    out, plain = tmp_path / "out", options(source, tmp_path / "out", motion="none")
    build(plain)
    cut = results(out, "cut")
    assert len(cut) == 2 and "was" not in capsys.readouterr().out

    build(options(source, out, motion="smpl"))
    assert "--motion was none, is smpl" in capsys.readouterr().out
    assert results(out, "cut") == cut and len(results(out, "motion")) == 2
    motion = results(out, "motion")

    build(options(source, out, motion="smpl", window_s="4"))
    assert "--window-s was 2, is 4" in capsys.readouterr().out
    assert results(out, "cut").items() >= cut.items() and len(results(out, "cut")) == 4
    assert results(out, "motion").items() >= motion.items() and len(results(out, "motion")) == 4
    assert load_dataset(out).fields["wav"]["shape"] == [88200]

    with pytest.MonkeyPatch.context() as patch:  # back again: all of it is still there
        patch.setattr(pipeline.features.extract, "Extract", refuse_work)
        report = build(options(source, out, motion="smpl"))
    assert report.segments == {"train": 4}
    assert "2 of 2 inputs are already done" in capsys.readouterr().out
    motion_file(tmp_path / "in" / "motions" / "a.pkl", 300)  # one annotation: one result
    build(options(source, out, motion="smpl"))
    assert len(results(out, "motion")) == 5 and len(results(out, "cut")) == 4


@pytest.mark.slow
def test_d4_other_features_leave_sound_and_motion_alone(tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    clip(source / "a.mp4")
    plain = options(source, out, visual="i3d_r50", weights="untrained")
    build(plain)
    cut = results(out, "cut")
    build(options(source, out, visual="i3d_r50", weights="untrained", visual_windows=2))
    assert "--visual-windows was 1, is 2" in capsys.readouterr().out
    assert results(out, "cut") == cut and len(results(out, "visual")) == 2


# --- D5: more inputs, another order, two roots ----------------------------------------------------


class Backwards(LocalEngine):
    """Works on the last input first."""

    def run(self, stages, items, lost) -> Iterator[object]:
        return super().run(stages, list(items)[::-1], lost)


def test_d5_order_and_additions_change_no_sample(clips_of, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.output.assemble, "SEGMENTS_PER_SHARD", 2)
    source = clips_of(tmp_path / "in", 4)
    build(options(source, tmp_path / "out"))
    first = shards(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.build, "make_engine", lambda *_: Backwards())
        build(options(source, tmp_path / "backwards"))
    assert shards(tmp_path / "backwards") == first
    clips_of(tmp_path / "in", 5)  # v004 comes last: it is appended
    build(options(source, tmp_path / "out"))
    assert first.items() <= shards(tmp_path / "out").items()
    assert len(shards(tmp_path / "out")) == 3


def test_d5_two_roots_lose_nothing_and_share_no_id(clips_of, tmp_path):
    for name in ("one", "two"):
        clips_of(tmp_path / name, 3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").symlink_to(tmp_path / "one")
    build(options(tmp_path / "in", tmp_path / "out"))
    before = dict(read_shard(tmp_path / "out" / "train-000000.tar"))
    (tmp_path / "in" / "two").symlink_to(tmp_path / "two")
    report = build(options(tmp_path / "in", tmp_path / "out"))
    after = dict(read_shard(tmp_path / "out" / "train-000000.tar"))
    assert report.counts == {"ok": 6} and len(after) == 6
    assert len({row["video_id"] for row in report.rows}) == 6
    assert before.items() <= after.items()


# --- D6: one field of one sample ------------------------------------------------------------------


@pytest.mark.long
def test_d6_a_sample_that_lacks_one_field_is_withheld_whole(tmp_path, codec_file):
    source = tmp_path / "in" / "videos"
    for name in ("a", "b", "c"):
        clip(source / f"{name}.mp4")
        frames = 200 if name == "b" else 256  # b's second window has no motion
        motion_file(tmp_path / "in" / "motions" / f"{name}.pkl", frames)
    out = tmp_path / "out"
    report = build(options(source, out, motion="smpl", codec=str(codec_file)))
    assert ends(report) == {"a.mp4": "ok", "b.mp4": "bad_motion", "c.mp4": "ok"}
    dataset = load_dataset(out)
    (codec_id,) = dataset.codecs
    keys = [key for key, _ in read_shard(out / "train-000000.tar")]
    assert keys == ["a_seg0001", "a_seg0002", "c_seg0001", "c_seg0002"]
    assert [k for k, _ in read_shard(out / "codes" / codec_id / "train-000000.tar")] == keys
    assert len(list(verify(out))) == 2
    codec = load_codec(codec_file)
    stream = TrainingStream(
        Source(out, dataset, "train", codec_id, {"high": codec.level("high").size}),
        4,
        0,
        4,
        Position(),
    )
    batch = next(iter(stream))
    truth = {key: read_npy(m["motion.npy"]) for key, m in read_shard(out / "train-000000.tar")}
    for key, motion in zip(batch.keys, batch.inputs[MOTION], strict=True):
        assert np.array_equal(truth[key], motion.numpy())


# --- D7: bad inputs, a dying node -----------------------------------------------------------------


@pytest.mark.long
def test_d7_a_few_bad_inputs_are_reported_and_the_build_ends_well(clips_of, tmp_path, capsys):
    source = clips_of(tmp_path / "in", 100)
    (source / "v050.mp4").write_text("no video", encoding="utf-8")
    done = ["build", "--dataset", "folder", "--engine", "local", "--visual", "none"]
    assert run(*done, "--source", source, "--out", tmp_path / "out") == 0
    assert "failed: v050" in capsys.readouterr().out
    report = Report.load(tmp_path / "out")
    assert report.counts == {"ok": 99, "failed": 1} and report.segments == {"train": 99}


def test_d7_too_many_bad_inputs_stop_the_build_early(clips_of, tmp_path, capsys):
    source, out = clips_of(tmp_path / "in", 70), tmp_path / "out"
    for k in range(70):
        if k % 5 < 3:
            (source / f"v{k:03d}.mp4").write_text(f"no video {k}", encoding="utf-8")
    done = ["build", "--dataset", "folder", "--engine", "local", "--visual", "none"]
    assert run(*done, "--source", source, "--out", out) == 3
    table = capsys.readouterr().out
    assert "STOPPED more than 20% of the inputs failed (--max-failed); 20 were left" in table
    saved = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert saved["counts"] == {"failed": 30, "left": 20, "ok": 20}
    assert saved["inputs"] == sum(saved["counts"].values()) == 70
    assert not list(out.glob("*.tar")) and not (out / "dataset.json").exists()
    assert run("report", "--shards", out) == 0
    assert "STOPPED" in capsys.readouterr().out
    # What was done is done: with leave to go on, the rest is all there is to do.
    before = results(out)
    assert run(*done, "--source", source, "--out", out, "--max-failed", 0.7) == 0
    assert "50 of 70 inputs are already done" in capsys.readouterr().out
    assert results(out).items() >= before.items()
    assert Report.load(out).counts == {"ok": 28, "failed": 42}


NODES = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from pipeline.engine.ledger import Ledger
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
out = Path(sys.argv[2])
def kill():
    while len(list(Ledger(out / ".work" / "results").stored())) < 2:
        time.sleep(0.01)
    cluster.remove_node(other, allow_graceful=False)
    print("killed", flush=True)
threading.Thread(target=kill).start()
from pipeline.cli import main
words = ["build", "--dataset", "folder", "--source", sys.argv[1], "--out", sys.argv[2]]
main([*words, "--visual", "none", "--engine", "ray", "--address", cluster.address])
"""


@pytest.mark.slow
def test_d7_a_dying_node_costs_no_input(clips_of, tmp_path):
    source, out = clips_of(tmp_path / "in", 24), tmp_path / "out"
    build(options(source, tmp_path / "quiet"))
    ended = start([sys.executable, "-c", NODES, str(source), str(out)])
    said, errors = ended.communicate()
    assert ended.returncode == 0 and "killed" in said, said + errors
    assert Report.load(out).counts == {"ok": 24}
    assert shards(out) == shards(tmp_path / "quiet")
