"""Training an EnCodec learns, resumes exactly, and writes a codec that loads as any other."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.encodec import train as trainer
from model.codecs.encodec.codec import EncodecCodec
from model.codecs.encodec.config import PRESETS, EncodecTrainingConfig
from model.codecs.encodec.train import CHECKPOINT, CODEC, build, new_model, quantise, train
from model.codecs.training.corpus import read_folder
from model.runtime.settings import load

pytest.importorskip("transformers")

QUICK = load(
    EncodecTrainingConfig(),
    ["steps=4", "save_every=2", "log_every=2", "device=cpu", "note=test codec", "warmup_steps=2"],
    preset="tiny",
    presets=PRESETS,
)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    import soundfile

    folder = tmp_path_factory.mktemp("music")
    time_s = np.arange(3 * 22_050) / 22_050
    for i in range(3):
        beat = np.exp(-((time_s * (2 + i)) % 1) * 8)
        audio = 0.5 * beat * np.sin(2 * np.pi * (150 + 60 * i) * time_s)
        soundfile.write(folder / f"{i}.wav", audio, 22_050, subtype="PCM_16")
    return folder


def command(music: Path, out: Path, *more: str) -> int:
    settings = [f"--set={name}={getattr(QUICK, name)}"
                for name in ("steps", "save_every", "device", "warmup_steps", "note")]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(["train-codec", "--arch", "encodec", "--preset", "tiny", "--audio", str(music),
              "--out", str(out), *settings, *more])  # fmt: skip
    return end.value.code


def same(first: Path, second: Path) -> bool:
    whole, cut = (torch.load(path / CHECKPOINT, weights_only=True) for path in (first, second))
    assert whole.keys() == cut.keys() and whole["step"] == cut["step"] == QUICK.steps
    for part in ("model", "average"):
        assert len(whole[part]) > 20
        assert all(torch.equal(whole[part][key], cut[part][key]) for key in whole[part])
    return torch.equal(whole["k_sum"], cut["k_sum"])


@pytest.mark.long
def test_a_killed_training_goes_on_exactly_and_its_codec_loads(
    music, tmp_path, monkeypatch, capsys
):
    train(QUICK, music, None, tmp_path / "whole")
    step = trainer.train_step

    def interrupted(state, config, audio):
        metrics = step(state, config, audio)
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_step", interrupted)
        assert command(music, tmp_path / "cut") == 130
    assert f"{tmp_path}/cut: stopped at step 3; go on with --resume" in capsys.readouterr().err
    assert command(music, tmp_path / "cut") == 1  # without --resume
    assert "go on with --resume" in capsys.readouterr().err
    assert command(music, tmp_path / "cut", "--resume") == 0
    folder = tmp_path / "cut" / CODEC
    assert f"--codec encodec:{folder}" in capsys.readouterr().out
    assert same(tmp_path / "whole", tmp_path / "cut")
    codec = load_codec(f"encodec:{folder}")
    assert codec.id == load_codec(f"encodec:{tmp_path}/whole/{CODEC}").id
    assert (codec.note, codec.sample_rate_hz) == ("test codec", 22_050)
    level = codec.level("encodec")
    assert (level.hop, level.codebooks, level.size) == (441, 2, 16)
    pictures = tmp_path / "whole" / "samples"
    for name in ("0_original.wav", "0_decoded.wav", "spectrograms.png"):
        assert (pictures / name).stat().st_size > 1000


@pytest.mark.long
def test_training_lowers_the_loss_and_uses_every_codebook(music):
    config = replace(QUICK, lr=3e-3, filters=4)
    corpus = read_folder(music, config.crop_samples)
    state = build(config, corpus)
    losses, usage = [], {}
    for step in range(60):
        crops = corpus.batch(0, step, config.batch, config.crop_samples)
        usage = trainer.train_step(state, config, torch.from_numpy(crops))
        losses.append(usage["loss/lmix"] + usage["loss/multispectral"])
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert usage["codebook0/usage"] >= 8 and usage["codebook1/usage"] >= 8


@pytest.mark.long
def test_each_codebook_learns_what_those_before_it_left(music):
    state = build(QUICK, read_folder(music, QUICK.crop_samples))
    rows = torch.randn(40, QUICK.width, requires_grad=True)
    sums, commit, stages = quantise(state, QUICK, rows, torch.Generator().manual_seed(0))
    left = rows.detach()
    for entries, (found, codes) in zip(state.entries, stages, strict=True):
        assert torch.equal(found, left)
        assert torch.equal(codes, torch.cdist(left, entries).argmin(1))
        left = left - entries[codes]
    assert torch.allclose(sums, rows.detach() - left)
    commit.backward()
    assert rows.grad.abs().sum() > 0 and not sums.requires_grad
    codec = EncodecCodec.from_module(state.model)
    assert torch.equal(
        codec._quantise(rows.detach().T[None])[0], torch.stack([c for _, c in stages])
    )


def test_the_small_preset_has_musicgens_steps_and_fits_3_megabytes():
    config = load(EncodecTrainingConfig(), preset="small", presets=PRESETS)
    model = new_model(config)
    assert sum(value.nbytes for value in model.state_dict().values()) < 3e6
    codec = EncodecCodec.from_module(model)
    assert codec.codebooks == 4 and codec.steps(112_896) == 256 and codec.steps(44_100) == 100
    published = load(EncodecTrainingConfig(), preset="musicgen", presets=PRESETS)
    assert published.hop == 640 and published.rate_hz / published.hop == 50


@pytest.mark.long
def test_a_codec_of_another_rate_is_trained_on_the_same_music(music, tmp_path):
    config = replace(QUICK, rate_hz=32_000, ratios=(8, 5, 4, 4), steps=1, entries=8, codebooks=1)
    codec = load_codec(f"encodec:{train(config, music, None, tmp_path)}")
    assert codec.sample_rate_hz == 32_000 and codec.steps(44_100, "encodec") == 100


@pytest.mark.long
def test_settings_and_options_that_do_not_fit_are_refused_with_what_does(music, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"expected .* whole number of hops \(441 at 22050 Hz\)"):
        replace(QUICK, crop_samples=5000)
    with pytest.raises(ValueError, match="entries is 100; expected a power of 2"):
        replace(QUICK, entries=100)
    assert command(music, tmp_path, "--levels", "high") == 2
    assert "--levels high: is for --arch jukebox" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["train-codec", "--audio", str(music), "--preset", "tiny", "--out", str(tmp_path)])
    assert end.value.code == 2 and "is for --arch encodec" in capsys.readouterr().err
    assert command(music, tmp_path, "--preset", "huge") == 1
    assert "unknown preset 'huge'; expected one of small, tiny, musicgen" in capsys.readouterr().err
    train(replace(QUICK, steps=1), music, None, tmp_path)
    with pytest.raises(ValueError, match="does not fit the run's configuration"):
        train(replace(QUICK, filters=3), music, None, tmp_path, resume=True)
