"""The failure drills, D1 to D10, on the real chain: what is done to a build, and what it does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builds import (
    ENGINES,
    ENVIRONMENT,
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
from hostile_parts import box
from places import ROOT
from training_runs import SMALL

import pipeline.build
import pipeline.features.extract
import pipeline.output.assemble
from model.codecs.base import load_codec
from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.weights import write_weights
from model.contract.dataset import load_dataset
from model.contract.segment import MOTION
from model.contract.shards import read_npy, read_shard
from model.data.source import Source
from model.data.stream import Position, TrainingStream
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import load_config
from model.runtime.checkpoint import LAST, read_checkpoint, save_torch
from model.runtime.run_log import read_metrics
from model.training.loop import train
from pipeline.build import build
from pipeline.engine.base import LocalEngine
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.codes import Encode, extract_codes
from pipeline.features.extract import Extract
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Settings, Work
from pipeline.features.pose.stage import Collected, Pose
from pipeline.features.visual.base import Visual
from pipeline.features.visual.stage import Describe
from pipeline.output.verify import verify
from pipeline.report.report import Report
from pipeline.sources.manifest import Row


@pytest.fixture(scope="module")
def clips_of(tmp_path_factory) -> Callable[[Path, int], Path]:
    """Return a function that fills a folder with clips of equal picture and different content."""
    one = clip(tmp_path_factory.mktemp("one") / "one.mp4", 2.1).read_bytes()

    def fill(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            (folder / f"v{k:03d}.mp4").write_bytes(one + box(b"free", bytes(k)))
        return folder

    return fill


@pytest.fixture(scope="module")
def codec_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("codec") / "small.safetensors"
    write_weights(path, random_codec().model, "small", "untrained, for tests")
    return path


def command(source: Path, out: Path, *more: object) -> list[str]:
    words = ["build", "--dataset", "folder", "--source", source, "--out", out, "--visual", "none"]
    return [sys.executable, "-m", "pipeline", *map(str, [*words, "--engine", "local", *more])]


def start(arguments: list[str], **more: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, cwd=ROOT, env=ENVIRONMENT, **pipes, **more)


def results(out: Path, stage: str = "*") -> dict[Path, tuple[int, int]]:
    """Return inode and time of every stored result: those of one that was made again differ."""
    paths = sorted((out / ".work" / "results").glob(f"{stage}/*/*.npz"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.005)


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


# --- D3: kill -9 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_d3_a_killed_build_goes_on_and_ends_with_the_same_bytes(clips_of, tmp_path, seed):
    source, out = clips_of(tmp_path / "in", 8), tmp_path / "out"
    build(options(source, tmp_path / "quiet"))
    rng = random.Random(seed)
    wanted = rng.randrange(1, 8)
    process = start(command(source, out))
    until(lambda: len(results(out)) >= wanted, process)
    time.sleep(rng.random() * 0.1)
    process.kill()
    process.communicate()
    quiet = shards(tmp_path / "quiet")
    assert shards(out).items() <= quiet.items()  # under its final name a shard is whole
    before = results(out)
    for path in before:
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].size for name in stored.files)
    report = build(options(source, out))
    assert report.counts == {"ok": 8}
    assert shards(out) == quiet
    assert results(out).items() >= before.items()  # only what was in flight is redone
    assert not list(out.rglob("*.part"))
    list(verify(out))


@pytest.mark.slow
def test_d3_ray_driver_worker_and_node_killed(tmp_path):
    script = ROOT / "benchmarks" / "chaos.py"
    counts = ["--drivers", "1", "--workers", "1", "--nodes", "1", "--videos", "4"]
    ended = subprocess.run(
        [sys.executable, script, *counts, "--folder", tmp_path], cwd=ROOT, env=ENVIRONMENT,
        capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for what in ("driver", "worker", "node"):
        assert f"| {what} | 1 | 1 |" in ended.stdout


def descendants(parent: int, words: str) -> list[int]:
    """Return the processes under `parent` whose command line holds `words`."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    found = [int(c) for c in children if words.encode() in Path(f"/proc/{c}/cmdline").read_bytes()]
    return found + [pid for child in children for pid in descendants(int(child), words)]


@pytest.mark.slow
def test_d3_a_build_whose_own_ray_node_is_killed_ends_and_goes_on(clips_of, tmp_path):
    source, out = clips_of(tmp_path / "in", 12), tmp_path / "out"
    build(options(source, tmp_path / "quiet"))
    words = [*command(source, out), "--engine", "ray"]
    process = start(words)
    until(lambda: results(out), process)
    (node,) = descendants(process.pid, "raylet/raylet")
    os.kill(node, signal.SIGKILL)
    said, errors = process.communicate()  # it neither hangs nor joins another Ray
    assert process.returncode in (1, 3), said + errors
    assert shards(out).items() <= shards(tmp_path / "quiet").items()
    before = results(out)
    again = start(words)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert shards(out) == shards(tmp_path / "quiet")
    assert results(out).items() >= before.items()


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
    assert "2 of 2 inputs are done already" in capsys.readouterr().out
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
        patch.setattr(pipeline.build, "make_engine", lambda name, address: Backwards())
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
    assert "50 of 70 inputs are done already" in capsys.readouterr().out
    assert results(out).items() >= before.items()
    assert Report.load(out).counts == {"ok": 28, "failed": 42}


NODES = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
out = Path(sys.argv[2])
def kill():
    while len(list(out.glob(".work/results/cut/*/*.npz"))) < 2:
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


# --- D8: damaged shards ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory, codec_file) -> Path:
    """Return two shards of four segments with their codes, and sound, motion and features."""
    root = tmp_path_factory.mktemp("world") / "shards"
    write_fake_dataset(
        root, load_codec(codec_file), str(codec_file), {"train": 2}, 4, segments_per_shard=4
    )
    return root


def lose_the_tail(root: Path, codes: Path) -> Path:
    path = root / "train-000001.tar"
    with tarfile.open(path) as tar:
        third = [info for info in tar if info.name.endswith(".json")][2]
    path.write_bytes(path.read_bytes()[: third.offset] + bytes(1024))  # whole, but shorter
    return path


def flip_a_byte(root: Path, codes: Path) -> Path:
    path = root / "train-000001.tar"
    with tarfile.open(path) as tar:
        sound = next(info for info in tar if info.name.endswith(".wav"))
    data = bytearray(path.read_bytes())
    data[sound.offset_data + sound.size // 2] ^= 4
    path.write_bytes(data)
    return path


def swap_the_names(root: Path, codes: Path) -> Path:
    one, two = root / "train-000000.tar", root / "train-000001.tar"
    one.rename(root / "x")
    two.rename(one)
    (root / "x").rename(two)
    return one


def lose_the_codes(root: Path, codes: Path) -> Path:
    (codes / "train-000001.tar").unlink()
    return codes / "train-000001.tar"


def flip_a_code(root: Path, codes: Path) -> Path:
    data = bytearray((codes / "train-000001.tar").read_bytes())
    data[512 + 200] ^= 1
    (codes / "train-000001.tar").write_bytes(data)
    return codes / "train-000001.tar"


DAMAGES = [lose_the_tail, flip_a_byte, swap_the_names, lose_the_codes, flip_a_code]


@pytest.mark.parametrize("damage", DAMAGES)
def test_d8_verify_and_trainer_name_the_damaged_shard(world, tmp_path, damage):
    root = Path(shutil.copytree(world, tmp_path / "shards"))
    (codec_id,) = load_dataset(root).codecs
    hurt = damage(root, root / "codes" / codec_id)
    with pytest.raises((ValueError, FileNotFoundError), match=hurt.name) as told:
        list(verify(root))
    assert "run the command that made it again" in str(told.value)
    config = load_config("tiny", None, [*SMALL, "max_steps=1"])
    with pytest.raises((ValueError, FileNotFoundError), match=hurt.name) as told:
        train(root, tmp_path / "run", config)
    assert str(hurt) in str(told.value) or damage is swap_the_names
    assert not (tmp_path / "run" / LAST).exists()


def test_d8_a_damaged_shard_is_made_again_by_the_same_command(clips_of, tmp_path, codec_file):
    source, out = clips_of(tmp_path / "in", 2), tmp_path / "out"
    build(options(source, out, codec=str(codec_file)))
    (codec_id,) = load_dataset(out).codecs
    files = {p: p.read_bytes() for p in [*out.glob("*.tar"), *out.glob("codes/*/*.tar")]}
    flip_a_byte_of = out / "train-000000.tar"
    flip_a_byte_of.write_bytes(flip_a_byte_of.read_bytes()[:-512])
    shutil.rmtree(out / "codes" / codec_id)
    build(options(source, out, codec=str(codec_file)))
    assert {p: p.read_bytes() for p in files} == files
    list(verify(out))


# --- D9: no room, no right to write, two writers --------------------------------------------------


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Return a file system of 512 kB, or skip where this user may mount none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("engine_name", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_d9_a_full_disk_stops_the_build_which_goes_on_when_there_is_room(
    clips_of, tmp_path, small_disk, engine_name
):
    source = clips_of(tmp_path / "in", 8)
    build(options(source, tmp_path / "quiet"))
    out = small_disk / "out"
    words = [*command(source, out), "--engine", engine_name]
    full = start(words)
    _, errors = full.communicate()
    assert full.returncode == 1
    assert "error: " in errors and "No space left on device" in errors
    assert "run the same command again" in errors and "Traceback" not in errors
    assert not list(out.glob("*.tar")) and not (out / "dataset.json").exists()
    done = results(out)
    assert 0 < len(done) < 8
    for path in done:
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].size for name in stored.files)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = start(words)
    assert again.wait() == 0, again.communicate()[1]
    assert shards(out) == shards(tmp_path / "quiet")
    assert results(out).items() >= done.items()


def test_d9_a_disk_that_fills_up_keeps_the_shards_that_were_there(clips_of, tmp_path, monkeypatch):
    source, out = clips_of(tmp_path / "in", 3), tmp_path / "out"
    build(options(source, out))
    before = shards(out)
    monkeypatch.setattr(os, "fsync", no_room_after(2))
    with pytest.raises(OSError, match=r"No space left.*run the same command again"):
        build(options(source, out, window_s="2.05"))
    monkeypatch.undo()
    assert shards(out) == before
    assert list(verify(out)) == ["train-000000.tar: 3 segments"]
    assert not list(out.rglob("*.part"))
    assert build(options(source, out, window_s="2.05")).counts == {"ok": 3}


def no_room_after(writes: int) -> Callable[[int], None]:
    real, left = os.fsync, [writes]

    def fsync(number: int) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        real(number)

    return fsync


def test_d9_read_only_output_is_refused_before_any_work(clips_of, tmp_path, small_disk):
    source = clips_of(tmp_path / "in", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = start(command(source, small_disk / "out"))
    _, errors = ended.communicate()
    assert ended.returncode == 1
    assert "out: cannot be written (Read-only file system); choose another folder" in errors


def test_d9_an_output_that_is_a_file_is_refused(clips_of, tmp_path, capsys):
    source = clips_of(tmp_path / "in", 1)
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    done = ["build", "--dataset", "folder", "--engine", "local", "--visual", "none"]
    assert run(*done, "--source", source, "--out", tmp_path / "out") == 1
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_d9_a_second_build_into_the_same_folder_refuses(clips_of, tmp_path):
    source, out = clips_of(tmp_path / "in", 12), tmp_path / "out"
    first = start(command(source, out))
    until(lambda: results(out), first)
    first.send_signal(signal.SIGSTOP)  # alive, in the middle, for as long as we look
    second = start(command(source, out))
    _, errors = second.communicate()
    assert second.returncode == 1
    assert "another command is writing there" in errors
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0, first.communicate()[1]
    assert Report.load(out).counts == {"ok": 12}
    list(verify(out))


# --- D10: the trainer -----------------------------------------------------------------------------


@pytest.mark.slow
def test_d10_a_killed_trainer_goes_on_bit_for_bit(world, tmp_path):
    settings = [*SMALL, "log_every=1", "checkpoint_every=3", "val_every=100", "sample_every=100"]
    config = load_config("tiny", None, settings)
    train(world, tmp_path / "whole", config)
    run_ = tmp_path / "killed"
    words = [sys.executable, "-m", "model", "train", "--shards", str(world), "--preset", "tiny"]
    words += ["--out", str(run_), *(w for s in settings for w in ("--set", s))]
    process = start(words)
    until(lambda: len(read_metrics(run_)) >= 5, process)  # past a checkpoint, within an epoch
    process.kill()
    process.communicate()
    saved = read_checkpoint(run_ / LAST)["step"]
    assert 0 < saved < 8
    train(world, run_, config, resume=True)

    def losses(folder: Path) -> dict[int, dict[str, float]]:
        return {
            row["step"]: {n: v for n, v in row.items() if n.startswith(("loss/", "codes/", "adv"))}
            for row in read_metrics(folder)
        }

    whole = losses(tmp_path / "whole")
    assert sorted(whole) == list(range(1, 9)) and all(len(row) >= 6 for row in whole.values())
    assert losses(run_) == whole
    one, two = (read_checkpoint(folder / LAST) for folder in (tmp_path / "whole", run_))
    assert all(np.array_equal(one["network"][n], two["network"][n]) for n in one["network"])


def test_d10_another_number_of_processes_is_refused_by_name(world, tmp_path):
    config = load_config("tiny", None, [*SMALL, "max_steps=1"])
    train(world, tmp_path, config)
    content = read_checkpoint(tmp_path / LAST)
    content["rng"]["peers"] = [dict(content["rng"])]  # as two processes leave it
    save_torch(tmp_path / LAST, {k: v for k, v in content.items() if k != "format"})
    with pytest.raises(ValueError, match=r"by 2 processes, these are 1.*--nproc-per-node 2"):
        train(world, tmp_path, replace(config, max_steps=2), resume=True)


# --- the time limit, and long videos --------------------------------------------------------------


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_an_input_that_takes_too_long_ends_as_timeout_and_is_tried_again(
    clips_of, tmp_path, chosen
):
    source, out = clips_of(tmp_path / "in", 2), tmp_path / "out"
    report = built(options(source, out, item_limit_s=0.001), chosen)
    for row in report.rows:
        assert (row["status"], row["stage"], row["code"]) == ("failed", "cut", "timeout")
        assert "longer than 0.001 s" in row["message"]
    assert built(options(source, out), chosen).counts == {"ok": 2}


def hangs(*words: object) -> np.ndarray:
    time.sleep(60)
    raise AssertionError("nobody ended it")


def test_a_network_that_hangs_ends_as_timeout():
    settings = Settings(Path("in"), Path("in"), Path("work"), item_limit_s=0.05)
    items = [Work(Row(name, f"{name}.mp4"), clips=np.zeros((1, 8, 1, 1, 3))) for name in "ab"]
    visual = Describe(replace(settings, features=(Visual(),)), 4)
    visual._net = hangs
    assert [work.outcome.code for work in visual(items)] == ["timeout", "timeout"]
    pose = Pose(replace(settings, features=(Motion("mmpose"),)))
    pose._net = hangs
    watch = SimpleNamespace(crops=lambda: np.zeros((1, 4, 4, 3)))
    pose._one = lambda work: Collected(watch, [], None, None, False)
    assert [work.outcome.code for work in pose(items)] == ["timeout", "timeout"]


def test_no_stage_is_killed_within_the_limits_of_its_items():
    """Under Ray a worker is killed after `limit_s` for each item of a call."""
    settings = Settings(Path("in"), Path("in"), Path("work"), item_limit_s=10.0)
    assert (Extract(settings).limit_s, Pose(settings).limit_s) == (30, 30)
    looking = replace(settings, features=(Visual(),))
    assert Describe(looking, 4).limit_s == 10 * 25  # a video of three hours, 222 clips in a part
    assert Describe(replace(looking, item_limit_s=0.0), 4).limit_s == 0
    assert Encode("demo", "", (), Path()).limit_s == ITEM_LIMIT_S


@pytest.mark.slow
def test_frames_of_a_long_video_are_described_part_by_part(tmp_path, monkeypatch):
    from pipeline.features.visual import stage as visual_stage

    clip(tmp_path / "in" / "a.mp4", 6.2)
    wanted = options(tmp_path / "in", tmp_path / "whole", visual="i3d_r50", weights="untrained")
    build(wanted)
    calls: list[int] = []
    net = visual_stage.Describe._part_by_part
    monkeypatch.setattr(visual_stage, "MAX_CLIPS_BYTES", 2 * 8 * 224 * 224 * 3)
    monkeypatch.setattr(
        visual_stage.Describe, "_part_by_part", lambda *words: calls.append(1) or net(*words)
    )
    build(replace(wanted, out=tmp_path / "parts"))
    assert calls == [1]
    assert shards(tmp_path / "parts") == shards(tmp_path / "whole")
    assert codes_less(tmp_path / "parts") == 3


def codes_less(out: Path) -> int:
    return sum(1 for _ in read_shard(out / "train-000000.tar"))


def test_codes_of_a_lost_segment_say_what_to_do(world, tmp_path, codec_file):
    """The codes' own stage refuses a damaged shard too, before it encodes anything."""
    root = Path(shutil.copytree(world, tmp_path / "shards"))
    hurt = flip_a_byte(root, root)
    with pytest.raises(ValueError, match=hurt.name):
        extract_codes(root, str(codec_file))
