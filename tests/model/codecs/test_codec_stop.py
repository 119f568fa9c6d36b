"""Training a codec is stopped by a signal without loss, and saves no weight that is not finite."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from model.cli import main
from model.codecs.jukebox.command import train
from model.codecs.jukebox.config import CodecConfig
from model.codecs.jukebox.train import CHECKPOINT, CODEC, build, restore, save, train_step
from model.codecs.training.corpus import read_folder
from model.runtime.signals import Stop

QUICK = CodecConfig(
    levels=("high",), width=8, depth=1, l_bins=16, batch=2, crop_samples=2048, steps=4,
    save_every=100, warmup_steps=2, revival_threshold=0.1, parallel=False, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    import soundfile

    folder = tmp_path_factory.mktemp("music")
    time = np.arange(2 * 22050) / 22050
    for i in range(2):
        audio = 0.5 * np.sin(2 * np.pi * (150 + 60 * i) * time)
        soundfile.write(folder / f"{i}.wav", audio, 22050, subtype="PCM_16")
    return folder


def command(music, out, *more: str) -> int:
    words = ("steps", "width", "depth", "l_bins", "batch", "crop_samples", "save_every", "device",
             "warmup_steps", "revival_threshold")  # fmt: skip
    settings = [f"--set={name}={getattr(QUICK, name)}" for name in words]
    with pytest.raises(SystemExit) as stopped:
        main(["train-codec", "--audio", str(music), "--out", str(out), "--levels", "high",
              *settings, *more])  # fmt: skip
    return stopped.value.code


@pytest.mark.long
def test_a_signal_saves_and_the_resumed_codec_is_the_same(music, tmp_path, monkeypatch, capsys):
    def interrupted(state, config, audio):
        metrics = train_step(state, config, audio)
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    train(QUICK, music, None, tmp_path / "whole")
    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr("model.codecs.jukebox.train.train_step", interrupted)
        assert command(music, cut) == 130
    assert f"{cut}: stopped at step 2; go on with --resume" in capsys.readouterr().err
    assert command(music, cut, "--resume") == 0
    first, second = (
        torch.load(tmp_path / name / "high" / CHECKPOINT, weights_only=True)
        for name in ("whole", "cut")
    )
    assert first.keys() == second.keys() and first["step"] == second["step"] == 4
    for part in ("model", "average"):
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])
    assert torch.equal(first["k_sum"], second["k_sum"])


@pytest.mark.long
def test_a_signal_before_the_first_step_leaves_no_checkpoint(music, tmp_path, monkeypatch, capsys):
    class Set(Stop):
        def __enter__(self):
            self.set()
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("model.codecs.jukebox.train.stop_requested", Set)
    assert command(music, tmp_path) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert not list(tmp_path.rglob(CHECKPOINT)) and not list(tmp_path.rglob(CODEC))


@pytest.mark.long
def test_weights_that_are_not_finite_are_not_saved(music, tmp_path):
    corpus = read_folder(music, QUICK.crop_samples)
    state = build(QUICK, 2, corpus)
    train_step(state, QUICK, torch.from_numpy(corpus.batch(0, 0, 2, QUICK.crop_samples)))
    save(state, QUICK, tmp_path)
    name, average = next(iter(state.average.items()))
    average.view(-1)[0] = float("nan")
    with pytest.raises(ValueError, match=rf"step 1: average\.{name} is not finite; lower lr"):
        save(state, QUICK, tmp_path / "broken")
    assert not list(tmp_path.glob("broken/*"))
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save({**content, "k_sum": [1.0]}, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="k_sum is list, expected Tensor"):
        restore(build(QUICK, 2, corpus), QUICK, tmp_path / CHECKPOINT)
