"""Training runs, end to end at the smallest size: resume, signals, errors, generation.

One file, because nearly all of its tests take the same trained run, which costs many seconds.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import SMALL, command, dataset_and_codec, equal, settings

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.dataset import load_dataset, save_dataset
from model.contract.exit_codes import error_text
from model.contract.kinds import D2M_GAN
from model.contract.segment import MOTION, VISUAL
from model.data.pieces import Piece
from model.data.stream import Position, TrainingStream
from model.fake_dataset import tones, write_fake_dataset, write_tar
from model.families.d2m_gan.config import load_config
from model.families.d2m_gan.family import D2MGAN
from model.generation.generate import read_pieces
from model.generation.pipeline_process import find_video
from model.generation.run import load_run
from model.runtime.checkpoint import BEST, LAST, read_checkpoint, save_torch
from model.runtime.run_log import RunLog, read_metrics
from model.runtime.signals import Interrupted
from model.training.loop import train
from model.training.state import build, restore

CPU = torch.device("cpu")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Return a shard folder and the file of the codec that made its codes."""
    videos = {"train": 2, "val": 1, "test": 2}
    return dataset_and_codec(tmp_path_factory.mktemp("world"), videos)


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(world[0], folder, load_config("tiny", None, SMALL))
    return folder


@pytest.mark.long
def test_a_run_leaves_metrics_sounds_pictures_and_checkpoints(run):
    rows = read_metrics(run)
    assert [row["step"] for row in rows if "loss/total" in row] == [2, 4, 6, 8]
    assert [row["step"] for row in rows if "val/mel" in row] == [4, 8]
    names = {f"loss/{n}" for n in ("adversarial", "feature", "codebook", "wave", "mel", "total")}
    assert names | {"codes/accuracy", "adversary/hinge", "data/wait_s"} <= rows[0].keys()
    assert all(math.isfinite(v) for row in rows for v in row.values())
    folder = run / "samples" / "step-0000008"
    assert {p.name.split(".")[1] for p in folder.glob("*.wav")} == {
        "truth", "reconstruction", "generated",
    }  # fmt: skip
    assert (folder / "spectrograms.png").read_bytes().startswith(b"\x89PNG")
    assert list(run.glob("events.out.tfevents.*"))
    assert (run / "best.pt").is_file()
    assert not list(run.glob("*.part"))


@pytest.mark.long
def test_resume_gives_the_same_bits(run, world, tmp_path):
    config = load_config("tiny", None, SMALL)
    train(world[0], tmp_path, replace(config, max_steps=5))
    train(world[0], tmp_path, config, resume=True)
    equal(read_checkpoint(run / LAST), read_checkpoint(tmp_path / LAST))
    assert [r["step"] for r in read_metrics(tmp_path) if "loss/total" in r] == [2, 4, 5, 6, 8]


@pytest.mark.long
def test_resume_with_noise_inputs_and_another_worker_count(world, tmp_path):
    config = load_config("tiny", None, [*SMALL, "noise_channels=2", "max_steps=4"])
    train(world[0], tmp_path / "a", config)
    train(world[0], tmp_path / "b", replace(config, max_steps=3))
    train(world[0], tmp_path / "b", replace(config, workers=1), resume=True)
    a, b = (read_checkpoint(tmp_path / name / LAST) for name in "ab")
    equal(a["network"], b["network"])
    equal(a["rng"], b["rng"])


@pytest.mark.long
def test_a_run_is_not_overwritten_and_not_resumed_as_another(run, world):
    config = load_config("tiny", None, SMALL)
    with pytest.raises(ValueError, match="--resume"):
        train(world[0], run, config)
    with pytest.raises(
        ValueError, match=r"another configuration: channels was 16, is 32; give the same"
    ):
        train(world[0], run, replace(config, channels=32), resume=True)


@pytest.mark.long
def test_other_data_is_not_resumed(run, world, tmp_path):
    dataset = load_dataset(world[0])
    state = build(D2M_GAN, load_config("tiny", None, SMALL), dataset, load_codec(world[1]), CPU)
    content = read_checkpoint(run / LAST)
    restore(state, content, run)
    assert state.step == 8
    shard = dataset.splits["train"][0]
    dataset.splits["train"][0] = replace(shard, sha256="0" * 64)
    with pytest.raises(ValueError, match="other data: as many training segments, but different on"):
        restore(state, content, run)
    dataset.splits["train"][0] = replace(shard, segments=9)
    message = (
        r"other data: segments to train on was 6, is 9; .*--out or after deleting that folder$"
    )
    with pytest.raises(ValueError, match=message):
        restore(state, content, run)
    dataset.splits["train"][0], dataset.name = shard, "another"
    with pytest.raises(ValueError, match="name was 'fake', is 'another'"):
        restore(state, content, run)


@pytest.mark.long
def test_learning_rates_may_change_on_resume(run, world, tmp_path):
    shutil.copy(run / LAST, tmp_path)
    config = load_config("tiny", None, [*SMALL, "lr_generator=1e-5", "lr_discriminator=2e-6"])
    state = train(world[0], tmp_path, config, resume=True)
    assert [g["lr"] for g in state.model.optimiser.param_groups] == [1e-5]
    assert [g["lr"] for g in state.model.adversary.optimiser.param_groups] == [2e-6]


def test_resume_without_a_checkpoint_says_so(world, tmp_path):
    with pytest.raises(FileNotFoundError, match="not found, nothing to resume; leave out --resume"):
        train(world[0], tmp_path / "run", load_config("tiny", None, SMALL), resume=True)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_no_place_stops_before_the_shards_are_read(world, tmp_path, monkeypatch):
    monkeypatch.setattr("model.training.loop.check_shards", None)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FileExistsError):
        train(world[0], tmp_path / "file", load_config("tiny", None, SMALL))


@pytest.mark.long
def test_the_next_command_names_a_split_that_is_there(world, tmp_path, capsys):
    root, run = tmp_path / "shards", tmp_path / "run"
    codec = load_codec(world[1])
    write_fake_dataset(root, codec, str(world[1]), videos={"train": 1}, segments=2)
    more = ("--preset", "tiny", *settings("max_steps=1"))
    assert command("train", "--shards", root, "--out", run, *more) == 0
    following = f"model generate --run {run} --shards {root} --split train --out DIR"
    assert capsys.readouterr().out.endswith(f"next: {following}\n")
    out = tmp_path / "music"
    assert command("generate", "--run", run, "--shards", root, "--out", out) == 1
    assert capsys.readouterr().err.endswith("{'train': 2}; use --split train\n")
    assert command(*following.split()[1:-1], out) == 0


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGTERM, 1), (signal.SIGINT, 0)],
)
@pytest.mark.slow
def test_a_signal_to_all_processes_saves_and_exits_130(world, tmp_path, number, workers):
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "train", "--shards", str(world[0]), "--preset", "tiny",
         "--out", str(tmp_path / "run"),
         *settings("max_steps=100000", "log_every=1", f"workers={workers}")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step 1/"):
            break
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    content = read_checkpoint(tmp_path / "run" / LAST)
    assert content["step"] >= 1
    assert Position(**content["position"]) == Position(*divmod(content["step"], 3))


def test_nan_stops_naming_step_and_segments(world, tmp_path):
    with pytest.raises(ValueError, match=r"step [123]: a loss is not finite.*train\d_seg000\d"):
        train(world[0], tmp_path, load_config("tiny", None, [*SMALL, "lr_generator=1e38"]))
    assert not (tmp_path / LAST).exists()


def test_broken_weights_are_not_saved(world, tmp_path):
    """The step's losses are of before it: the first to break the weights still has finite ones."""
    config = load_config("tiny", None, [*SMALL, "lr_generator=.1e39", "checkpoint_every=1"])
    with pytest.raises(ValueError, match=r"step 1: network\..* is not finite; lower lr_generator"):
        train(world[0], tmp_path, config)
    assert not list(tmp_path.glob("*.pt*"))


@pytest.mark.long
def test_a_signal_does_not_cost_a_validation(world, tmp_path, monkeypatch):
    def asked(again: bool, step: int = 4):
        event = threading.Event()

        def stepped(model, batch):
            taken.append(batch)
            if len(taken) == step:
                event.set()
            return take(model, batch)

        taken, take = [], D2MGAN.step
        monkeypatch.setattr(D2MGAN, "step", stepped)
        return contextlib.nullcontext(event)

    monkeypatch.setattr("model.training.loop.stop_requested", asked)
    with pytest.raises(Interrupted, match="step 4"):
        train(world[0], tmp_path, load_config("tiny", None, SMALL))
    assert [row["step"] for row in read_metrics(tmp_path) if "val/mel" in row] == [4]
    best_mel = read_checkpoint(tmp_path / LAST)["best"]
    assert best_mel == read_checkpoint(tmp_path / BEST)["best"] < math.inf


@pytest.mark.long
@pytest.mark.parametrize("failing", ["validate", "sample"])
def test_a_validation_that_fails_costs_no_steps(run, world, tmp_path, monkeypatch, failing):
    def fails(*_):
        raise OSError("no room for what is heard")

    config = load_config("tiny", None, [*SMALL, "checkpoint_every=1000"])
    with monkeypatch.context() as broken:
        broken.setattr(f"model.training.loop.{failing}", fails)
        with pytest.raises(OSError, match="no room"):
            train(world[0], tmp_path, config)
        failed = 4 if failing == "validate" else 8
        assert read_checkpoint(tmp_path / LAST)["step"] == failed
    train(world[0], tmp_path, config, resume=True)
    if failed == 4:
        shutil.rmtree(tmp_path / "samples")
        with monkeypatch.context() as broken:  # nothing is left to do but to validate
            broken.setattr("model.training.loop.validate", fails)
            train(world[0], tmp_path, config, resume=True)
    for name in (LAST, BEST):
        whole, parts = (read_checkpoint(folder / name) for folder in (run, tmp_path))
        for content in (whole, parts):
            del content["config"]["checkpoint_every"]
        equal(whole, parts)
    whole, parts = (
        [{k: v for k, v in row.items() if k != "data/wait_s"} for row in read_metrics(folder)]
        for folder in (run, tmp_path)
    )
    assert parts == whole
    assert (tmp_path / "samples" / "step-0000008" / "spectrograms.png").is_file()


@pytest.mark.long
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_the_first_signal_is_heard_while_data_are_waited_for(
    run, world, tmp_path, monkeypatch, number, workers
):
    def part(stream, turn, turns):
        yield from itertools.islice(whole(stream, turn, turns), 3)
        threading.Event().wait(60)

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 3:
            threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        return take(model, batch)

    taken, take = [], D2MGAN.step

    whole, config = TrainingStream.part, load_config("tiny", None, SMALL)
    with monkeypatch.context() as slow:
        slow.setattr(TrainingStream, "part", part)
        slow.setattr(D2MGAN, "step", stepped)
        with pytest.raises(Interrupted, match="step 3"):
            train(world[0], tmp_path, replace(config, workers=workers))
    train(world[0], tmp_path, config, resume=True)
    equal(read_checkpoint(run / LAST), read_checkpoint(tmp_path / LAST))


@pytest.mark.long
def test_reports_fit_a_terminal_and_any_encoding(world, tmp_path, capsys):
    train(world[0], tmp_path, load_config("tiny", None, [*SMALL, "max_steps=4", "val_every=4"]))
    told = capsys.readouterr().out
    lines = told[told.index("step 2/4") :].splitlines()
    assert all(line.isascii() and len(line) <= 80 for line in lines)
    assert [line.split() for line in lines if line.startswith("  name")] == [
        ["name", "now", "mean", "of", "2"], ["name", "now", "mean", "of", "2"], ["name", "now"],
    ]  # fmt: skip
    rows = read_metrics(tmp_path)
    of_mean = dict(line.split()[::2] for line in lines if len(line.split()) == 3)
    for name, value in rows[1].items():
        if name != "step":
            assert of_mean[name] == f"{value:.4g}"
    assert {f"  {name:<38}{value:>16.4g}" for name, value in rows[2].items()} - set(lines) == {
        f"  {'step':<38}{4:>16.4g}"
    }


def test_a_run_begun_again_drops_the_curves_of_the_attempt_before(tmp_path):
    for steps in (4, 2):
        with RunLog(tmp_path, 0) as log:
            for step in range(1, steps + 1):
                log.scalars(step, {"loss/total": float(steps)})
    curves = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in curves.Scalars("loss/total")] == [(1, 2.0), (2, 2.0)]
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_several_codecs_ask_for_one(world, tmp_path):
    dataset = load_dataset(world[0])
    ours = next(iter(dataset.codecs.values()))
    dataset.codecs["other-00000000"] = replace(ours, source="jukebox-5b")
    save_dataset(tmp_path, dataset)
    with pytest.raises(ValueError, match=r"several codecs: .*jukebox-5b.*--codec"):
        train(tmp_path, tmp_path / "run", load_config("tiny", None, SMALL))


def test_no_inputs_left_is_an_error(world, tmp_path):
    config = load_config("tiny", None, [*SMALL, "use_motion=false", "use_visual=false"])
    with pytest.raises(ValueError, match="no input to generate from"):
        train(world[0], tmp_path, config)


@pytest.mark.long
def test_generate_from_shards_is_as_long_as_the_windows(run, world, tmp_path, capsys):
    arguments = ("--run", run, "--shards", world[0], "--out", tmp_path)
    assert command("generate", *arguments) == 0
    for video in ("test0", "test1"):
        with wave.open(str(tmp_path / f"{video}.wav")) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            assert form == (1, 2, 22050)
            assert file.getnframes() == 3 * 44100
    summary = json.loads((tmp_path / "generated.json").read_text(encoding="utf-8"))
    assert summary["labels"] == [
        "codec: random codec: untrained, for tests", "untrained: features: noise",
    ]  # fmt: skip
    assert [row["segments"] for row in summary["generated"]] == [[1, 3], [1, 3]]
    told = capsys.readouterr().out
    assert "note: untrained: features: noise" in told
    assert "wav only" in told
    before = (tmp_path / "test0.wav").read_bytes()
    assert command("generate", *arguments, "--checkpoint", "last") == 0
    assert (tmp_path / "test0.wav").read_bytes() == before


@pytest.mark.long
def test_a_gap_starts_a_new_piece(run, world):
    trained = load_run(run, LAST)
    dataset = load_dataset(world[0])
    pieces = list(read_pieces(world[0], trained, dataset, "test"))
    assert [(p.video_id, p.first, p.last) for p in pieces] == [("test0", 1, 3), ("test1", 1, 3)]
    assert pieces[0].inputs[MOTION].shape == (360, 219)
    assert pieces[0].inputs[VISUAL].shape == (3, 2048)

    from model.data.pieces import runs

    rows = [({"segment": i}, {}) for i in (1, 2, 4, 5, 6, 9)]
    found = [[meta["segment"] for meta, _ in part] for part in runs(rows)]
    assert found == [[1, 2], [4, 5, 6], [9]]


@pytest.mark.long
def test_videos_whose_segments_lie_apart_are_whole_pieces(run, world, tmp_path):
    shutil.copytree(world[0], tmp_path / "mixed")
    dataset = load_dataset(tmp_path / "mixed")
    path = tmp_path / "mixed" / dataset.splits["test"][0].name
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    members.sort(key=lambda m: (m[0].partition("_")[2].partition(".")[0], m[0]))
    write_tar(path, [m for m in members if not m[0].startswith("test1_seg0002")], 5)
    pieces = list(read_pieces(tmp_path / "mixed", load_run(run, LAST), dataset, "test"))
    found = [(p.video_id, p.first, p.last, p.alone) for p in pieces]
    assert found == [("test0", 1, 3, True), ("test1", 1, 1, False), ("test1", 3, 3, False)]
    (whole, *_) = read_pieces(world[0], load_run(run, LAST), load_dataset(world[0]), "test")
    assert np.array_equal(pieces[0].inputs[MOTION], whole.inputs[MOTION])


@pytest.mark.long
def test_a_failing_mp4_does_not_stop_the_others(run, world, tmp_path, monkeypatch, capsys):
    def failing(video, audio, start_s, out, *_):
        made.append(out.name)
        if out.stem == "test0":
            raise ValueError("pipeline mux ended with code 1: no picture")

    made: list[str] = []
    monkeypatch.setattr("model.generation.generate.mux", failing)
    monkeypatch.setattr("model.generation.generate.has_pipeline", lambda: True)
    monkeypatch.setattr("model.generation.generate.find_video", lambda *_: world[1])
    assert command("generate", "--run", run, "--shards", world[0], "--out", tmp_path) == 3
    assert made == ["test0.mp4", "test1.mp4"]
    told = capsys.readouterr()
    assert "test0.mp4: pipeline mux ended with code 1" in told.err
    assert "1 of 2 mp4 files failed" in told.err
    assert "test1.mp4" in told.out


@pytest.mark.long
def test_pieces_of_one_video_get_names_of_their_own(run, tmp_path):
    from model.generation.generate import write_pieces

    trained = load_run(run, LAST)
    pieces = [
        Piece("v", first, last, 0.0, "", {
            MOTION: np.zeros((120 * (last - first + 1), 219), np.float32),
            VISUAL: np.zeros((last - first + 1, 2048), np.float32)}, alone=False)
        for first, last in ((1, 2), (4, 4))
    ]  # fmt: skip
    written = write_pieces(trained, pieces, tmp_path, [])
    assert [p.name for _, p in written] == ["v_seg0001-0002.wav", "v_seg0004-0004.wav"]


@pytest.mark.long
def test_denoised_music_is_another_and_says_what_was_taken(run, world, tmp_path, capsys):
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: extra `denoise`")
    told = {}
    for name, options in (("plain", ()), ("clean", ("--denoise",))):
        out = tmp_path / name
        assert command("generate", "--run", run, "--shards", world[0], "--out", out, *options) == 0
        told[name] = json.loads((out / "generated.json").read_text(encoding="utf-8"))
        for row in told[name]["generated"]:
            assert (out / row["file"]).is_file()
    assert (told["plain"]["denoised"], told["clean"]["denoised"]) == (False, True)
    assert "denoising removed" in capsys.readouterr().out
    for row in told["clean"]["generated"]:
        assert 0 < row["denoising_removed_share"] < 1
        before, after = (tmp_path / name / row["file"] for name in ("plain", "clean"))
        assert before.read_bytes() != after.read_bytes()
        assert before.stat().st_size == after.stat().st_size


def test_denoising_without_its_package_stops_before_the_run_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    options = ("--shards", tmp_path, "--out", tmp_path / "out", "--denoise")
    assert command("generate", "--run", tmp_path / "none", *options) == 1
    assert "pip install 'dance2music[denoise]'" in capsys.readouterr().err


@pytest.mark.long
def test_features_of_another_kind_are_refused(run, world):
    trained = load_run(run, LAST)
    dataset = load_dataset(world[0])
    dataset.fields["motion.npy"]["shape"] = [60, 75]
    with pytest.raises(ValueError, match=r"motion.npy is .*trained on.*219"):
        list(read_pieces(world[0], trained, dataset, "test"))


@pytest.mark.long
def test_a_runs_checkpoint_is_no_codec(run):
    with pytest.raises(ValueError, match=r"last.pt: is the checkpoint of a run, not a codec; exp"):
        load_codec(run / LAST)


@pytest.mark.long
def test_another_codec_is_refused_by_generate(run, tmp_path):
    other = random_codec(seed=3)
    write_weights(tmp_path / "other.safetensors", other.model, "random", other.note)
    with pytest.raises(ValueError, match=other.id):
        load_run(run, LAST, str(tmp_path / "other.safetensors"))


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"format": 1, "config": Attack()}, tmp_path / LAST)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint") as caught:
        read_checkpoint(tmp_path / LAST)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.long
def test_a_damaged_checkpoint_is_a_named_error(run, tmp_path):
    whole = (run / LAST).read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, 30, len(whole) - 10, *rng.integers(0, len(whole), 40)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / LAST).write_bytes(damaged)
        try:
            content = read_checkpoint(tmp_path / LAST)
        except ValueError as error:
            assert str(tmp_path / LAST) in str(error)
        else:  # a byte that nothing reads, as in a date
            equal(content, read_checkpoint(run / LAST))
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / LAST)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("codec"), "codec is NoneType, expected dict"),
        (lambda c: c["codec"].pop("source"), "codec has no source"),
        (lambda c: c["network"].popitem(), "network does not fit .*Missing key"),
        (lambda c: c["network"].update({"last.conv.bias": torch.zeros(3)}), "last.conv.bias"),
    ],
)
def test_a_checkpoint_without_its_parts_says_which(run, world, tmp_path, change, message):
    content = read_checkpoint(run / LAST)
    change(content)
    save_torch(tmp_path / LAST, content)
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path, LAST)
    with pytest.raises(ValueError, match=message):
        train(world[0], tmp_path, load_config("tiny", None, SMALL), resume=True)


@pytest.mark.long
def test_a_run_without_validation_says_why_it_has_no_best(run, tmp_path, capsys):
    shutil.copy(run / LAST, tmp_path)
    assert command("info", "--run", tmp_path, "--checkpoint", "best") == 1
    assert "use --checkpoint last" in capsys.readouterr().err


def test_a_source_outside_its_folder_is_not_touched(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")
    (tmp_path / "secret.mp4").write_bytes(b"")
    assert find_video(str(tmp_path / "videos"), "a.mp4") == tmp_path / "videos" / "a.mp4"
    assert find_video(str(tmp_path / "videos"), "../secret.mp4") is None
    assert find_video(str(tmp_path / "videos"), "b.mp4") is None
    assert find_video("", "a.mp4") is None


@pytest.mark.long
def test_info_tells_data_codec_and_labels(run, capsys):
    assert command("info", "--run", run) == 0
    told = capsys.readouterr().out
    assert "step 8 of 8" in told
    assert "random-" in told
    assert "note: codec: random codec: untrained" in told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "give --shards DIR"),
        (["train", "--shards", "nowhere"], 1, "pipeline build"),
        (["train", "--shards", "nowhere", "--set", "max_step=3"], 2, "did you mean 'max_steps'"),
        (["train", "--shards", "nowhere", "--set", "max_steps=0"], 2, "expected at least 1"),
        (["train", "--shards", "nowhere", "--level", "low", "--set", "level=high"], 2, "one of"),
        (["train", "--shards", __file__], 1, f"dataset.json, not a file: --shards {HERE}"),
        (["train", "--shards", "nowhere/dataset.json"], 1, "file: --shards nowhere\n"),
        (["train", "--levl", "high"], 2, "unrecognized"),
        (["info", "--run", "nowhere"], 1, "train first"),
    ],
)
def test_user_errors_are_one_line_and_a_code(arguments, code, message, capsys):
    assert command(*arguments) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1 or errors.startswith("usage:")


def test_memory_that_runs_out_is_one_line_that_says_what_to_lower(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nand more")

    monkeypatch.setattr("model.generation.run.load_run", full)
    what = ("--run", tmp_path, "--shards", tmp_path, "--out", tmp_path)
    assert command("generate", *what) == 1
    assert capsys.readouterr().err == (
        "error: out of memory (CUDA out of memory. Tried to allocate 3 GiB.); "
        "use shorter videos, or --device cpu\n"
    )
    load_run = "model.generation.run.load_run"
    monkeypatch.setattr(load_run, lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError):  # a bug is not to look like full memory
        main(["generate", *map(str, what)])


def test_an_error_of_the_system_is_told_without_its_number(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for fails, words in (
        (lambda: (tmp_path / "file").mkdir(exist_ok=True), "file: is a file, expected a folder"),
        (lambda: (tmp_path / "file" / "a").mkdir(), "a: Not a directory; check the path, or"),
        (lambda: (tmp_path / "none").read_bytes(), "none: No such file or directory; check the"),
    ):
        with pytest.raises(OSError) as caught:
            fails()
        assert words in error_text(caught.value)
        assert "Errno" not in error_text(caught.value)
    assert error_text(OSError(28, "No space left on device")) == "No space left on device"
    assert error_text(OSError("address: HTTP 500")) == "address: HTTP 500"


@pytest.mark.slow
def test_eight_segments_are_learnt_by_heart(tmp_path):
    made = random_codec(levels=("high",))
    rng = np.random.default_rng(0)
    music = torch.stack([torch.from_numpy(tones(rng, 44100)).float() for _ in range(8)])
    rows = made.latents(music, "high").transpose(1, 2).reshape(-1, 64)
    made.codebook("high").copy_(rows[:: len(rows) // 64][:64])
    write_weights(tmp_path / "codec.safetensors", made.model, "random", made.note)
    codec = load_codec(tmp_path / "codec.safetensors", ("high",))
    dataset = write_fake_dataset(
        tmp_path / "shards", codec, str(tmp_path / "codec.safetensors"), {"train": 2}
    )
    assert dataset.segments("train") == 8
    config = load_config("tiny", None, ["max_steps=120", "sample_segments=1"])
    train(tmp_path / "shards", tmp_path / "run", config)
    accuracy = [row["codes/accuracy"] for row in read_metrics(tmp_path / "run")]
    assert accuracy[0] < 0.2
    assert accuracy[-1] > 0.4


def test_build_is_the_same_for_the_same_seed(world):
    dataset, config = load_dataset(world[0]), load_config("tiny", None, SMALL)
    codec = load_codec(world[1], ("high",))
    first, second = (build(D2M_GAN, config, dataset, codec, CPU) for _ in range(2))
    equal(first.model.network.state_dict(), second.model.network.state_dict())
    equal(first.model.adversary.state_dict(), second.model.adversary.state_dict())


@pytest.mark.long
def test_a_split_smaller_than_a_batch_is_one_batch(world, tmp_path, capsys):
    config = load_config("tiny", None, [*SMALL, "batch_size=500", "max_steps=2"])
    state = train(world[0], tmp_path, config)
    assert state.config.batch_size == 6
    assert state.position == Position(epoch=2, batch=0)
    assert "batches of 6, not 500" in capsys.readouterr().out
