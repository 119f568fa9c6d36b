"""The failure drills D3, D9 and D10: killed, without room, without right, and out of time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builds import (
    ENGINES,
    ENVIRONMENT,
    built,
    clip,
    options,
    run,
    shards,
)
from drills import all_whole, command, results, start, until
from places import ROOT
from training_runs import SMALL

from model.contract.shards import read_shard
from model.families.d2m_gan.config import load_config
from model.runtime.checkpoint import LAST, read_checkpoint, save_torch
from model.runtime.run_log import read_metrics
from model.training.loop import train
from pipeline.build import build
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.codes import Encode
from pipeline.features.extract import Extract
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Settings, Work
from pipeline.features.pose.stage import Collected, Pose
from pipeline.features.visual.base import Visual
from pipeline.features.visual.stage import Describe
from pipeline.output.verify import verify
from pipeline.report.report import Report
from pipeline.sources.manifest import Row

# --- D3: kill -9 ----------------------------------------------------------------------------------


@pytest.mark.long
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
    assert all_whole(out, before)
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


@pytest.mark.long
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
    assert all_whole(out, done)
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


@pytest.mark.long
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


@pytest.mark.long
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
    process = start(words, threads=torch.get_num_threads())
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


@pytest.mark.long
def test_d10_another_number_of_processes_is_refused_by_name(world, tmp_path):
    config = load_config("tiny", None, [*SMALL, "max_steps=1"])
    train(world, tmp_path, config)
    content = read_checkpoint(tmp_path / LAST)
    content["rng"]["peers"] = [dict(content["rng"])]  # as two processes leave it
    save_torch(tmp_path / LAST, {k: v for k, v in content.items() if k != "format"})
    with pytest.raises(
        ValueError, match=r"by 2 processes, but this is a run of 1.*--nproc-per-node 2"
    ):
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
