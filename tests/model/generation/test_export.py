"""Exported runs: they generate what the run generates, load by name, and say what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from token_models import SMALL
from training_runs import command

import model
from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE, same_kind
from model.fake_dataset import write_fake_dataset
from model.generation.generate import generate
from model.generation.run import Run, load_run
from model.generation.video_features import new_to_networks, options_for
from model.runtime import exported
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.exported import FACTS, WEIGHTS, located, read_exported, write_exported

NOTE = "a model of nothing, untrained"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Shards, a run of both levels on a codec that is a file, and what was exported from it."""
    folder = tmp_path_factory.mktemp("world")
    shards, run, out, weights = (folder / name for name in ("shards", "run", "out", "codec.st"))
    weights = weights.with_suffix(".safetensors")
    untrained = random_codec()
    write_weights(weights, untrained.model, "random", untrained.note)
    videos = {"train": 2, "val": 1, "test": 2}
    write_fake_dataset(shards, load_codec(weights), str(weights), videos=videos, segments=2)
    words = [part for each in (*SMALL, "position_samples=1024") for part in ("--set", each)]
    asked = ["--family", "tokens", "--preset", "tiny", "--device", "cpu", *words]
    assert command("train", "--shards", shards, "--out", run, *asked) == 0
    assert command("export", "--run", run, "--out", out, "--note", NOTE) == 0
    return shards, run, out


def rounded(run: Run) -> Run:
    """Round the parameters of a run as float16 does."""
    for parameter in run.model.network.parameters():
        parameter.data = parameter.data.half().float()
    return run


def inputs_of(run: Run, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        name: torch.randint(10, (2,), generator=rng) if name == GENRE
        else torch.randn(2, spec.vectors, spec.features, generator=rng)
        for name, spec in run.model.inputs.specs.items()
    }  # fmt: skip


@pytest.mark.long
@torch.no_grad()
def test_an_exported_run_predicts_what_the_run_predicts_within_float16(world):
    _, run, out = world
    whole, small = load_run(run), load_run(out)
    assert small.model.levels == ("high", "low")
    steps = {n: whole.codec.steps(whole.model.inputs.samples, n) for n in whole.model.levels}
    codes = {name: torch.randint(64, (2, count)) for name, count in steps.items()}
    found, expected = (r.model.bits(inputs_of(r), codes) for r in (small, whole))
    for name in steps:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=2e-3)
    torch.manual_seed(3)
    drawn = small.model.generate(inputs_of(small), steps)
    torch.manual_seed(3)
    same = rounded(whole).model.generate(inputs_of(whole), steps)
    for name in steps:
        assert torch.equal(drawn[name], same[name])


@pytest.mark.long
def test_statistics_of_the_inputs_are_exact_and_weights_are_halved(world):
    from safetensors.torch import load_file

    _, run, out = world
    content, state = read_checkpoint(run / LAST), load_file(out / WEIGHTS)
    kinds = {name: tensor.dtype for name, tensor in state.items()}
    statistics = [name for name in state if "standardise" in name]
    assert statistics
    for name in statistics:
        assert torch.equal(state[name], content["network"][name])
    assert sum(kind == torch.float16 for kind in kinds.values()) > len(kinds) / 2
    assert (out / WEIGHTS).stat().st_size < 0.6 * sum(
        4 * tensor.numel() for tensor in content["network"].values()
    )


@pytest.mark.long
def test_generation_writes_the_note_and_says_it(world, tmp_path, capsys):
    shards, _, out = world
    made = generate(load_run(out), tmp_path, shards=shards, split="test")
    assert len(made) == 2
    assert all(piece.wav.is_file() for piece in made)
    assert (
        json.loads((tmp_path / "generated.json").read_text(encoding="utf-8"))["labels"][0] == NOTE
    )
    assert f"note: {NOTE}" in capsys.readouterr().out


@pytest.mark.long
def test_the_folder_is_complete_elsewhere_and_names_no_place_of_its_maker(world, tmp_path):
    shards, run, out = world
    moved = shutil.copytree(out, tmp_path / "moved")
    texts = [(moved / name).read_text(encoding="utf-8") for name in (FACTS, "README.md")]
    assert all(str(part) not in text for text in texts for part in (shards.parent, run))
    assert NOTE in texts[1]
    codec = Path(read_exported(moved)["codec"]["source"])
    assert codec.parent == moved and codec.is_file()
    assert load_run(moved).model.levels == ("high", "low")


@pytest.mark.long
def test_info_and_evaluate_read_it(world, capsys, tmp_path):
    shards, _, out = world
    moved = shutil.copytree(out, tmp_path / "moved")
    assert command("info", "--run", moved) == 0
    assert f"note: {NOTE}" in capsys.readouterr().out
    asked = ["--embedding", "mel-statistics", "--split", "test", "--device", "cpu"]
    assert command("evaluate", "--run", moved, "--shards", shards, *asked) == 0
    assert (moved / "evaluation" / "index.html").is_file()


@pytest.mark.long
def test_an_exported_run_can_be_exported_again(world, tmp_path):
    assert command("export", "--run", world[2], "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (world[2] / WEIGHTS).read_bytes()


@pytest.mark.long
def test_what_is_missing_or_damaged_is_named(world, tmp_path, capsys):
    def broken(name: str) -> Path:
        return shutil.copytree(world[2], tmp_path / name)

    gone = broken("gone")
    (gone / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"weights of this run are missing.*copy"):
        load_run(gone)
    cut = broken("cut")
    (cut / WEIGHTS).write_bytes((cut / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged: its hash is not that in"):
        load_run(cut)
    for name, text, message in (
        ("text", "{", "cannot be read"),
        ("list", "[]", "not an exported run of format 1"),
        ("old", '{"format": 1, "family": "tokens"}', "config is NoneType, expected dict"),
    ):
        (broken(name) / FACTS).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_run(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no checkpoint; train first"):
        load_run(tmp_path / "nowhere")
    assert command("export", "--run", world[1], "--out", world[1]) == 1
    assert "holds a run in training" in capsys.readouterr().err


@pytest.mark.long
def test_weights_beyond_float16_are_refused(world, tmp_path):
    run = load_run(world[1])
    content = read_checkpoint(world[1] / LAST)
    next(run.model.network.parameters()).data.fill_(1e6)
    with pytest.raises(ValueError, match="beyond float16"):
        write_exported(tmp_path / "out", content, run.model.network, "")
    assert not (tmp_path / "out" / FACTS).exists()


@pytest.mark.long
def test_demo_is_the_shipped_run_unless_a_folder_of_that_name_holds_one(
    world, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(exported.SHIPPED, "demo", world[2])
    (tmp_path / "demo").mkdir()
    assert located(Path("demo")) == world[2], "music in a folder of that name is no run"
    assert load_run("demo").note == NOTE
    assert capsys.readouterr().out.startswith("run: the demo model that is part of this package")
    shutil.copytree(world[2], tmp_path / "demo", dirs_exist_ok=True)
    assert located(Path("demo")) == Path("demo")
    monkeypatch.setitem(exported.SHIPPED, "demo", tmp_path / "none")
    shutil.rmtree(tmp_path / "demo")
    with pytest.raises(FileNotFoundError, match="this demo model is not part of this installation"):
        load_run("demo")


def test_the_shipped_run_is_small_says_what_it_is_and_follows_poses():
    held = Path(model.__file__).parent / "demo"
    if not (held / FACTS).is_file():
        pytest.skip("the demo model is not trained yet")
    run = load_run("demo")
    assert sum(path.stat().st_size for path in held.iterdir()) < 10e6
    assert run.model.levels == ("high", "low")
    assert MOTION in run.model.inputs.names and VISUAL not in run.model.inputs.names
    assert "synthetic" in run.note
    assert options_for(run)["motion"] == "blazepose"


def test_the_shipped_run_that_plays_notes_is_small_and_follows_poses():
    held = exported.SHIPPED["demo-notes"]
    if not (held / FACTS).is_file():
        pytest.skip("the demo model that plays notes is not trained yet")
    run = load_run("demo-notes")
    assert sum(path.stat().st_size for path in held.iterdir()) < 4e6
    assert run.family == "cmt" and run.model.inputs.names == (MOTION,)
    assert "synthetic" in run.note
    assert options_for(run)["motion"] == "blazepose"


@pytest.mark.long
def test_simulated_poses_may_be_those_of_the_estimator_they_imitate(world):
    spec = {"dtype": "float32", "shape": [60, 75], "layout": "body25", "fps": 30}
    simulated = {**spec, "kind": "simulated-keypoints2d", "imitates": "blazepose"}
    found = {**spec, "kind": "blazepose", "weights": "1", "detector": "2", "precision": "float32"}
    assert same_kind(simulated, found)
    assert same_kind(simulated, simulated)
    assert not same_kind(simulated, {**found, "kind": "openpose"})
    assert not same_kind(simulated, {**found, "fps": 60})
    assert not same_kind(simulated, None)
    assert not same_kind(found, simulated), "a run of real poses is not driven by made ones"
    run = load_run(world[2])
    assert not new_to_networks(run)
    fields = {**run.dataset.fields, MOTION: run.dataset.fields[MOTION] | simulated}
    build = {"motion": "simulated-keypoints2d", "visual": "none"}
    run.dataset = replace(run.dataset, fields=fields, build=build)
    assert new_to_networks(run)
    assert options_for(run)["motion"] == "blazepose"
