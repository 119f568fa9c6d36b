"""`pipeline build` on the real chain: small generated videos, both engines."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import NAME, clip, ends, options, refuse_work, shards
from drills import damage, stored

import pipeline.build
import pipeline.features.run
import pipeline.output.assemble
import pipeline.output.finished
import pipeline.report.report
from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from model.generation.video_features import build_features
from pipeline.build import build, locked
from pipeline.engine.base import LocalEngine
from pipeline.engine.ledger import Ledger
from pipeline.features.extract import Extract
from pipeline.output.verify import verify
from pipeline.report.report import Report


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
        patch.setattr(pipeline.build, "make_engine", lambda *_: engine)
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
    assert "7 of 7 inputs are already done" in capsys.readouterr().out
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
    first, *_ = stored(tmp_path, "cut")
    damage(first)
    (tmp_path / ".work" / "shards" / "train-000000.tar.json").write_text("{", encoding="utf-8")
    flip_a_byte(tmp_path)
    report = build(options(videos, tmp_path, limit=2))
    assert f"{first.path}: cut at byte {first.at}: damaged" in capsys.readouterr().err
    assert report.counts == {"ok": 2}
    assert shards(tmp_path) == before
    list(verify(tmp_path))


def test_a_build_that_stops_while_results_are_made_again_says_so(videos, tmp_path, monkeypatch):
    def fail(self, row, video):
        raise MemoryError("no room")

    monkeypatch.setattr(pipeline.output.assemble, "SEGMENTS_PER_SHARD", 1)
    build(options(videos, tmp_path, limit=2))
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    for result in stored(tmp_path, "cut"):
        damage(result)  # found as it is read whole
    monkeypatch.setattr(pipeline.features.run, "STOP_AFTER", 1)
    monkeypatch.setattr(Extract, "_cut", fail)
    report = build(options(videos, tmp_path, limit=2, max_failed=0.0))
    assert report.counts == {"failed": 1, "left": 1} and "1 were left" in report.stopped
    assert Report.load(tmp_path).counts == report.counts


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


def test_sound_is_normalised_and_the_gain_is_kept(videos, tmp_path):
    build(options(videos / "a.mp4", tmp_path))
    for _, members in read_shard(tmp_path / "train-000000.tar"):
        pcm, meta = read_wav(members["wav"]), json.loads(members["json"])
        assert pcm.shape == (44100,)
        assert np.abs(pcm).max() == round(0.95 * 32767)
        assert 0.95 / 32 <= 1 / meta["gain"] <= 2


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


@pytest.mark.long
def test_features_of_a_new_video_are_made_or_it_is_said_why_not(tmp_path):
    wanted = {"motion": "smpl", "visual": "none", "window_s": "5/2"}
    with pytest.raises(ValueError, match="needs motion from smpl annotations"):
        build_features(clip(tmp_path / "a.mp4"), wanted, tmp_path / "a")
    build_features(tmp_path / "a.mp4", wanted | {"motion": "none"}, tmp_path / "b")
    assert load_dataset(tmp_path / "b").seconds == 2.5
    with pytest.raises(ValueError, match=r"filtered: cut: short\.mp4: got 1\.20 s"):
        build_features(clip(tmp_path / "short.mp4", 1.2), wanted, tmp_path / "c")


# --- a build of many inputs -----------------------------------------------------------------------


@pytest.fixture
def large(monkeypatch):
    """Treat every build as one of more than 100,000 inputs."""
    for room in (pipeline.report.report, pipeline.output.finished):
        monkeypatch.setattr(room, "MAX_JSON_ROWS", 1)


def test_many_rows_are_in_a_table_beside_the_report(videos, tmp_path, monkeypatch):
    small = build(options(videos, tmp_path / "small"))
    for room in (pipeline.report.report, pipeline.output.finished):
        monkeypatch.setattr(room, "MAX_JSON_ROWS", 1)
    report = build(options(videos, tmp_path / "out"))
    saved = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    plain = json.loads((tmp_path / "small" / "report.json").read_text(encoding="utf-8"))
    assert saved.pop("rows_in") == "report.parquet" and "rows" not in saved
    del plain["rows"]
    for facts in (saved, plain):
        del facts["seconds"], facts["stages"]
    assert saved == plain
    read = Report.load(tmp_path / "out")
    assert read.table() == report.table() == small.table()
    expected = [{**row, "silent_segments": [], "dancers_seen": []} for row in small.rows]
    assert list(read.rows) == expected and read.rows[-1] == expected[-1]
    assert shards(tmp_path / "out") == shards(tmp_path / "small")


def test_a_large_finished_build_looks_no_result_up(videos, tmp_path, large, monkeypatch, capsys):
    first = build(options(videos, tmp_path))
    before = shards(tmp_path)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "facts", refuse_work)
            again = build(options(videos, tmp_path))
        assert "inputs are already done" in capsys.readouterr().out
        assert again.table() == first.table() and shards(tmp_path) == before
    assert build(options(videos, tmp_path, window_s="2.05")).segments != {}
    assert shards(tmp_path) != before
    build(options(videos, tmp_path))
    assert shards(tmp_path) == before


def test_a_large_build_with_a_changed_input_or_tar_is_not_finished(videos, tmp_path, large):
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(videos, source)
    build(options(source, out))
    before = shards(out)
    flip_a_byte(out)
    build(options(source, out))
    assert shards(out) == before
    clip(source / "zz.mp4", 2.1)
    report = build(options(source, out))
    assert len(report.rows) == len(list(source.iterdir())) and shards(out) != before
    list(verify(out))
