"""Training that begins with the weights of another run: what is copied, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from token_models import SMALL
from training_runs import command, write_codec

from model.codecs.base import load_codec
from model.fake_dataset import write_fake_dataset
from model.runtime.checkpoint import LAST, read_checkpoint

VIDEOS = {"train": 2, "val": 1, "test": 1}
STEPS = ("max_steps=1", "val_every=9", "sample_every=9", "position_samples=1024")


def arguments(root: Path, out: Path, *more: object, family: str = "tokens") -> tuple[object, ...]:
    settings = (*SMALL, *STEPS) if family == "tokens" else ("max_steps=1", "batch_size=2")
    words = [part for setting in settings for part in ("--set", setting)]
    return (
        "train", "--family", family, "--preset", "tiny", "--device", "cpu", "--shards", root,
        "--out", out, *words, *more,
    )  # fmt: skip


def write(root: Path, codec: Path, **more: Any) -> None:
    write_fake_dataset(root, load_codec(codec), str(codec), videos=VIDEOS, segments=2, **more)


def contents(*runs: Path) -> list[dict[str, Any]]:
    return [read_checkpoint(run / LAST) for run in runs]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Return a folder: a codec, data sets of 219 and 75 features, and a run on the first."""
    folder = tmp_path_factory.mktemp("init")
    weights = write_codec(folder)
    for name, features in (("smpl", 219), ("poses", 75)):
        write(folder / name, weights, motion=(60, features))
    assert command(*arguments(folder / "smpl", folder / "first")) == 0
    return folder


@pytest.mark.long
def test_weights_that_fit_are_copied_and_the_others_are_begun_anew(world, tmp_path, capsys):
    begun = ("--init", world / "first", "--set", "lr=0")
    assert command(*arguments(world / "poses", tmp_path / "run", *begun)) == 0
    assert "anew: encoder.readers.motion" in capsys.readouterr().out
    before, after = contents(world / "first", tmp_path / "run")
    assert after["config"]["init"] == str(world / "first")
    for part in ("network", "trained"):
        same = {
            name: torch.equal(tensor, before["network"][name])
            for name, tensor in after[part].items()
            if tensor.shape == before["network"][name].shape and "standardise" not in name
        }
        assert len(same) > 20
        assert all(same.values())
    first = "encoder.readers.motion.first.weight"
    assert after["network"][first].shape != before["network"][first].shape


@pytest.mark.long
def test_the_inputs_are_measured_on_the_new_data(world, tmp_path):
    made = world / "other"
    write(made, world / "codec.safetensors", seed=5)
    assert command(*arguments(made, tmp_path / "run", "--init", world / "first")) == 0
    name = "encoder.readers.motion.standardise.mean"
    before, after = contents(world / "first", tmp_path / "run")
    assert not torch.equal(before["network"][name], after["network"][name])


@pytest.mark.long
def test_an_exported_run_serves_as_well(world, tmp_path):
    assert command("export", "--run", world / "first", "--out", tmp_path / "exported") == 0
    begun = ("--init", tmp_path / "exported", "--set", "lr=0")
    assert command(*arguments(world / "smpl", tmp_path / "run", *begun)) == 0
    before, after = contents(world / "first", tmp_path / "run")
    name = "levels.high.patches.weight"
    half = before["network"][name].half().float()
    assert torch.equal(half, after["network"][name])


@pytest.mark.long
def test_a_run_goes_on_with_the_same_command_and_needs_the_first_run_no_longer(world, tmp_path):
    gone = tmp_path / "gone"
    (world / "first").rename(gone)
    try:
        begun = ("--init", gone)
        assert command(*arguments(world / "smpl", tmp_path / "run", *begun)) == 0
    finally:
        gone.rename(world / "first")
    more = ("--resume", "--set", "max_steps=2")
    assert command(*arguments(world / "smpl", tmp_path / "run", *begun, *more)) == 0
    assert read_checkpoint(tmp_path / "run" / LAST)["step"] == 2


@pytest.mark.long
def test_a_run_of_another_family_is_refused(world, tmp_path, capsys):
    begun = ("--init", world / "first")
    asked = arguments(world / "smpl", tmp_path / "run", *begun, family="d2m-gan")
    assert command(*asked) == 1
    assert "is a run of family tokens, not d2m-gan" in capsys.readouterr().err
    assert not (tmp_path / "run" / LAST).exists()


@pytest.mark.long
def test_a_run_of_other_codes_is_refused(world, tmp_path, capsys):
    write(tmp_path / "shards", write_codec(tmp_path, seed=1))
    begun = ("--init", world / "first")
    assert command(*arguments(tmp_path / "shards", tmp_path / "run", *begun)) == 1
    assert "weights learnt from other codes are of no use" in capsys.readouterr().err


@pytest.mark.long
def test_a_missing_run_is_named(world, tmp_path, capsys):
    begun = ("--init", tmp_path / "none")
    assert command(*arguments(world / "smpl", tmp_path / "run", *begun)) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
