"""Losses and codebook learning are JukeBox's; training resumes exactly and learns."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.jukebox import TINY, random_codec, write_weights
from model.codecs.jukebox.command import how, train
from model.codecs.jukebox.config import CodecConfig
from model.codecs.jukebox.train import CHECKPOINT, CODEC, build, pick_device, train_step
from model.codecs.training.corpus import Corpus, read_folder, read_shards
from model.codecs.training.ema import CodebookEMA, draw
from model.codecs.training.losses import (
    SPECTRAL,
    commitment,
    log_spectral,
    magnitude,
    measure_bandwidth,
    reconstruction,
    spectral,
    straight_through,
)
from model.contract.storage import to_location
from model.fake_dataset import write_fake_dataset
from model.runtime.settings import load as load_settings

DATA = Path(os.environ.get("D2M_TEST_DATA", "absent")) / "jukebox_conformance"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="D2M_TEST_DATA has no conformance data")

QUICK = CodecConfig(
    levels=("high",), width=8, depth=1, l_bins=16, batch=2, crop_samples=2048, steps=6,
    save_every=3, log_every=3, lr=1e-3, warmup_steps=2, revival_threshold=0.1, parallel=False,
    device="cpu", note="test codec",
)  # fmt: skip


def load(name: str) -> torch.Tensor:
    return torch.from_numpy(np.load(DATA / name))


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    import soundfile

    folder = tmp_path_factory.mktemp("music")
    time = np.arange(2 * 22050 + 300) / 22050
    for i in range(3):
        beat = np.exp(-((time * (2 + i)) % 1) * 8)
        audio = 0.5 * beat * np.sin(2 * np.pi * (150 + 60 * i) * time)
        soundfile.write(folder / f"{i}.wav", audio, 22050, subtype="PCM_16")
    return folder


@pytest.mark.long
@needs_data
def test_losses_are_the_originals():
    reference = json.loads((DATA / "losses.json").read_text(encoding="utf-8"))
    two, six = load("audio_22k_2s.npy"), load("audio_22k_6s.npy")
    bandwidth = measure_bandwidth([torch.stack([two[:44032], six[:44032]])])
    for name, value in reference["bandwidth"].items():
        assert getattr(bandwidth, name) == pytest.approx(value, rel=1e-4)
    codec = load_codec(DATA / "vqvae_random_5b.pth.tar", levels=("bottom", "low", "high"))
    audio, total, commit = torch.stack([two[:44032], six[44032:88064]]), 0.0, 0.0
    for number, level in enumerate(("bottom", "low", "high"), start=1):
        latents = codec.latents(audio, level)
        quantised = codec.embed(codec.quantise(latents, level), level)
        output = codec.decode_latents(quantised, level)
        loss, terms = reconstruction(audio, output, bandwidth, CodecConfig())
        total, commit = total + loss.item(), commit + commitment(latents, quantised).item()
        expected = reference["per_term"]
        for name in ("l1", "l2", "linf", "lmix"):
            assert terms[name].item() == pytest.approx(expected[f"{name}_l{number}"], rel=1e-4)
        metrics = reference["metrics"]
        spec = spectral(audio, output)
        multi = metrics[f"multispectral_loss_l{number}"]
        assert terms["multispectral"].item() == pytest.approx(multi, rel=1e-4)
        assert spec.tolist() == pytest.approx(
            expected[f"spectral_per_item_unnormalised_l{number}"], rel=1e-4
        )
    assert commit == pytest.approx(metrics["commit_loss"], rel=1e-4)
    assert total + 0.02 * commit == pytest.approx(reference["total_loss"], rel=1e-4)


@needs_data
@pytest.mark.parametrize("threshold", [0, 1])
def test_codebook_update_is_the_originals(threshold):
    with np.load(DATA / "ema_update_level2.npz") as file:
        prefix = f"thr{threshold}_"
        expected = {k.removeprefix(prefix): file[k] for k in file if k.startswith(prefix)}
    codec = load_codec(DATA / "vqvae_random_5b.pth.tar", levels=["high"])
    latents, k = load("latents_level2_6s.npy"), codec.codebook("high")
    codes = codec.quantise(latents, "high")
    assert np.array_equal(codes.numpy(), expected["codes"])
    quantised = codec.embed(codes, "high")
    assert commitment(latents, quantised).item() == pytest.approx(float(expected["commit_loss"]))
    x_out = torch.from_numpy(expected["x_out"])
    assert (straight_through(latents, quantised) - x_out).abs().max() <= 1e-5 * x_out.std()
    book = CodebookEMA.restore(k, tokens=2048, threshold=float(threshold))
    rows = latents.transpose(1, 2).reshape(-1, 64)
    generator = torch.Generator().manual_seed(0)
    new, kept, metrics = book.update(k, rows, codes.flatten(), generator)
    assert np.array_equal(kept.numpy(), expected["kept"])
    for ours, name in ((book.k_sum, "k_sum"), (new[kept], "k_after"), (book.k_elem, "k_elem")):
        theirs = torch.from_numpy(expected[name])
        theirs = theirs[kept] if name == "k_after" else theirs
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.std()
    for name in {"fit", "pn", "entropy", "used_curr", "usage"} | (
        {"dk"} if not threshold else set()
    ):
        assert metrics[name] == pytest.approx(float(expected[f"metric_{name}"]), rel=1e-5)


def test_unused_entries_restart_as_latents_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    rows, k = torch.randn(40, 8), torch.randn(16, 8)
    book = CodebookEMA.restore(k, tokens=0, threshold=1.0)
    new, kept, _ = book.update(k, rows, torch.zeros(40, dtype=torch.int64), generator)
    assert not kept.any()
    assert (new[:, None] == rows).all(2).any(1).all()
    few = draw(rows[:3], 16, generator)
    distance = (few[:, None] - rows[:3]).norm(dim=2).min(1).values
    assert few.shape == (16, 8) and len(few.unique(dim=0)) == 16 and distance.max() < 0.1


def test_magnitude_of_silence_has_a_finite_gradient():
    audio = torch.zeros(1, 4096, requires_grad=True)
    magnitude(audio, SPECTRAL).sum().backward()
    assert torch.isfinite(audio.grad).all()


def test_log_spectral_loss_hears_loud_and_quiet_alike():
    noise = torch.randn(2, 8192, generator=torch.Generator().manual_seed(0))
    target = [magnitude(noise * torch.tensor([[1.0], [0.1]]), SPECTRAL)]
    output = [magnitude(noise * torch.tensor([[0.5], [0.05]]), SPECTRAL)]
    assert log_spectral(target, target).tolist() == [0, 0]
    assert log_spectral(target, output).tolist() == pytest.approx([np.log(2)] * 2, rel=0.1)


def test_gradient_passes_the_quantiser_unchanged():
    latents = torch.randn(1, 4, 5, requires_grad=True)
    straight_through(latents, torch.zeros(1, 4, 5)).sum().backward()
    assert torch.equal(latents.grad, torch.ones(1, 4, 5))


@pytest.mark.slow
def test_a_level_that_had_not_begun_begins_where_the_other_goes_on(music, tmp_path):
    both = replace(QUICK, levels=("high", "low"), steps=1, parallel=False)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(both, music, None, tmp_path, resume=True)
    train(replace(both, levels=("high",)), music, None, tmp_path)
    train(both, music, None, tmp_path, resume=True)
    assert load_codec(tmp_path / CODEC, ["low"])
    (tmp_path / "low" / CHECKPOINT).write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        train(both, music, None, tmp_path, resume=True)


@pytest.mark.slow
def test_interrupted_training_goes_on_exactly(music, tmp_path):
    train(QUICK, music, None, tmp_path / "whole")
    train(replace(QUICK, steps=3), music, None, tmp_path / "cut")
    train(QUICK, music, None, tmp_path / "cut", resume=True)
    whole, cut = (
        torch.load(tmp_path / name / "high" / CHECKPOINT, weights_only=True)
        for name in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 6
    for part in ("model", "average"):
        assert all(torch.equal(whole[part][key], cut[part][key]) for key in whole[part])
    assert torch.equal(whole["k_sum"], cut["k_sum"])
    ours, theirs = (load_codec(tmp_path / name / CODEC, ["high"]) for name in ("whole", "cut"))
    assert ours.id == theirs.id and ours.note == "test codec"
    for name in ("0_original.wav", "0_decoded.wav", "spectrograms.png"):
        assert (tmp_path / "whole" / "high" / "samples" / name).stat().st_size > 1000
    with pytest.raises(FileExistsError, match="--resume"):
        train(QUICK, music, None, tmp_path / "whole")


@pytest.mark.long
def test_a_validation_that_fails_costs_no_steps(music, tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise OSError("no room for what is heard")

    monkeypatch.setattr("model.codecs.jukebox.train.validate", fails)
    config = replace(QUICK, steps=2, log_every=1)
    with pytest.raises(OSError, match="no room"):
        train(config, music, None, tmp_path)
    saved = torch.load(tmp_path / "high" / CHECKPOINT, weights_only=True)
    assert saved["step"] == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "high step 1" and lines[1].split() == ["name", "now", "mean", "of", "1"]
    assert all(line.isascii() and len(line) <= 80 for line in lines)


def test_how_a_level_ended_is_told_in_words():
    assert how(-9).startswith("(killed by SIGKILL), probably by the system because memory ran out")
    assert how(-11) == "(ended by SIGSEGV); see its messages above"
    assert how(1) == "(exit code 1); see its messages above"


@pytest.mark.long
def test_training_lowers_the_loss_and_uses_the_codebook(music):
    corpus = read_folder(music, QUICK.crop_samples)
    config = replace(QUICK, steps=80, lr=3e-3)
    state = build(config, 2, corpus)
    losses, usage = [], 0.0
    for step in range(config.steps):
        crops = corpus.batch(0, step, config.batch, config.crop_samples)
        metrics = train_step(state, config, torch.from_numpy(crops))
        losses.append(metrics["loss/lmix"] + metrics["loss/multispectral"])
        usage = metrics["codebook/usage"]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert usage >= 8


@pytest.mark.long
def test_fine_tuning_starts_from_a_codec(music, tmp_path):
    codec = random_codec()
    path = tmp_path / "start.safetensors"
    write_weights(path, codec.model, "random", "")
    config = replace(QUICK, init=str(path), init_tokens=640, lr=0.0)
    state = build(config, 1, read_folder(music, config.crop_samples))
    assert state.model.hparams == TINY
    assert torch.equal(state.codebook.k_elem, torch.full((64,), 10.0))
    assert torch.equal(state.codebook.k_sum, 10 * codec.codebook("low"))
    with pytest.raises(ValueError, match="no level 'bottom'"):
        build(config, 0, read_folder(music, config.crop_samples))


@pytest.mark.slow
def test_command_trains_two_levels_into_one_codec(music, tmp_path, capsys):
    settings = [
        f"--set={key}={getattr(QUICK, key)}"
        for key in ("width", "depth", "l_bins", "batch", "crop_samples", "device")
    ]
    settings += ["--set=steps=1", "--set=parallel=false"]
    arguments = ["--audio", str(music), "--out", str(tmp_path / "run"), *settings]
    assert command(*arguments) == 0
    codec = load_codec(tmp_path / "run" / CODEC)
    assert codec.levels == ("high", "low") and codec.level("low").size == 16
    assert command(*arguments, "--set=stps=1") == 2
    assert "did you mean 'steps'" in capsys.readouterr().err
    assert command(*arguments, "--levels", "low", "--set=levels=high") == 2
    assert "give one" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    arguments[1], arguments[3] = str(tmp_path / "empty"), str(tmp_path / "other")
    assert command(*arguments) == 1
    assert "expected at least 2" in capsys.readouterr().err


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["train-codec", *map(str, arguments)])
    return stopped.value.code


def test_a_folder_that_is_not_there_is_told_once_before_any_level_begins(tmp_path, capsys):
    assert command("--audio", tmp_path / "none", "--out", tmp_path / "run") == 1
    errors = capsys.readouterr().err
    assert f"{tmp_path / 'none'}: no such folder" in errors and errors.count("\n") == 1
    assert command("--shards", "file:///nowhere/shards", "--out", tmp_path / "run") == 1
    errors = capsys.readouterr().err
    assert "file:///nowhere/shards/dataset.json: not found" in errors and errors.count("\n") == 1


@pytest.mark.long
def test_a_dataset_of_a_train_split_alone_holds_out_each_twentieth_video(tmp_path, capsys):
    write_fake_dataset(tmp_path / "s", random_codec(), videos={"train": 20}, segments=2)
    corpus = read_shards(to_location(f"file://{tmp_path}/s"), 2048)
    assert (len(corpus.train), len(corpus.held_out)) == (38, 2)
    whole = {item.tobytes() for item in corpus.train}
    assert not whole & {item.tobytes() for item in corpus.held_out}
    more = [f"--set={name}={getattr(QUICK, name)}" for name in ("width", "depth", "l_bins")]
    more += ["--set=crop_samples=2048", "--set=steps=1", "--set=batch=1", "--set=device=cpu"]
    shards = f"file://{tmp_path}/s"
    run = tmp_path / "run"
    assert command("--shards", shards, "--levels", "high", "--out", run, *more) == 0
    assert "every 20th video of train is held out" in capsys.readouterr().out
    write_fake_dataset(tmp_path / "one", random_codec(), videos={"train": 1}, segments=2)
    with pytest.raises(ValueError, match=r"one video in split 'train'.*expected at least 2"):
        read_shards(tmp_path / "one", 2048)


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device(replace(QUICK, device="cuda:1"), 2) == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device cuda:2: torch finds 2 GPUs on this machine"):
        pick_device(replace(QUICK, device="cuda:2"), 2)


@pytest.mark.slow
def test_levels_train_together_and_fail_together(music, tmp_path):
    config = replace(QUICK, levels=("high", "low"), parallel=True, steps=1, threads=1)
    out = tmp_path / "run"
    assert load_codec(train(config, music, None, out)).levels == ("high", "low")
    with pytest.raises(ValueError, match=r"level (high|low) stopped \(exit code 1\)"):
        train(config, music, None, out)


@pytest.mark.long
def test_bfloat16_steps_agree_with_float32(music):
    corpus = read_folder(music, QUICK.crop_samples)
    crops = torch.from_numpy(corpus.batch(0, 0, 2, QUICK.crop_samples))
    losses = []
    for precision in ("float32", "bf16"):
        config = replace(QUICK, precision=precision)
        losses.append(train_step(build(config, 2, corpus), config, crops)["loss/total"])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("crop_samples=1000", "crop_samples is 1000"),
        ("bf16=perhaps", "true or false"),
        ("precision=half", "precision is 'half'; expected one of auto, float32, bf16"),
        ("steps=many", "expected int"),
        ("levels=top", "unknown level 'top'"),
        ("steps", "key=value"),
        ("zzz=1", "unknown key; known: steps, batch, crop_samples, "),
        ("device=gpu", "device is 'gpu'; expected auto, cpu, cuda"),
        ("threads=-2", "threads is -2; expected at least 0"),
        ("lr=nan", "lr is nan; expected a finite number"),
        ("seed=-1", "seed is -1"),
        ("seed=99999999999", "seed is 99999999999; expected less"),
        ("clip=-1", "clip is -1.0"),
        ("clip=0", "clip is 0"),
        ("l_mu=7", "l_mu is 7.0"),
        ("width=0", "width is 0; expected at least 1"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        load_settings(CodecConfig(), [setting])


def test_learning_rate_warms_up_and_decays():
    config = CodecConfig(steps=1000, lr=1.0, warmup_steps=100, decay_steps=200)
    assert [config.lr_at(s) for s in (0, 99, 500, 900)] == pytest.approx([0.01, 1, 1, 0.5])


def test_shards_give_their_music(tmp_path):
    import soundfile

    from model.contract.dataset import Dataset, Shard, save_dataset

    splits = {}
    for split in ("train", "test"):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.full(4410, 0.25), 22050, format="WAV", subtype="PCM_16")
        with tarfile.open(tmp_path / f"{split}-000000.tar", "w") as tar:
            for suffix, data in (("wav", buffer.getvalue()), ("json", b"{}")):
                info = tarfile.TarInfo(f"a_seg0001.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        splits[split] = [Shard(f"{split}-000000.tar", 1, 0, "")]
    save_dataset(tmp_path, Dataset("tiny", "2", {}, {}, splits))
    corpus = read_shards(tmp_path, 2048)
    assert len(corpus.train) == len(corpus.held_out) == 1
    assert np.array_equal(corpus.train[0], np.full(4410, 8192, dtype=np.int16))
    with pytest.raises(ValueError, match=r"a_seg0001\.wav: 4410 samples; expected at least"):
        read_shards(tmp_path, 8192)


def test_crops_depend_on_seed_and_step_alone():
    item = (np.sin(np.arange(50000) / 9) * 9000).astype(np.int16)
    corpus = Corpus([item, item[:44100]], [item])
    first, again, other = (corpus.batch(3, step, 4, 2048) for step in (7, 7, 8))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    peaks = np.abs(first).max(1)
    assert first.dtype == np.float32 and (peaks <= 0.95).all() and (peaks >= 0.95 * 0.29).all()
