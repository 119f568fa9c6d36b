"""Runs of token models, end to end at the smallest size: train, resume, generate, evaluate."""

from __future__ import annotations

import json
import math
import wave
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from token_models import SMALL
from training_runs import command, equal

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.kinds import FAMILIES
from model.contract.segment import MOTION
from model.data.inputs import GENRE
from model.fake_dataset import write_fake_dataset
from model.families.tokens.config import Config, Options
from model.generation.generate import generate
from model.generation.run import load_run
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import load
from model.runtime.signals import Interrupted
from model.training.loop import train

FAMILY = "tokens"
FAST = (*SMALL, "position_samples=1024")
"""Long positions: 43 steps of the transformer for two seconds."""


def config_of(*settings: str) -> Config:
    kind = FAMILIES.get(FAMILY)
    return load(kind.Config(), [*FAST, *settings], None, "tiny", kind.PRESETS)


def arguments(*settings: str) -> list[str]:
    words = [part for setting in (*FAST, *settings) for part in ("--set", setting)]
    return ["--family", FAMILY, "--preset", "tiny", "--device", "cpu", *words]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    root, weights = folder / "shards", folder / "codec.safetensors"
    untrained = random_codec()
    write_weights(weights, untrained.model, "random", untrained.note)
    videos = {"train": 2, "val": 1, "test": 2}
    write_fake_dataset(root, load_codec(weights), str(weights), videos=videos, segments=2)
    return root, weights


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert command("train", "--shards", world[0], "--out", folder, *arguments()) == 0
    return folder


# --- training ------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_logs_bits_of_each_level_and_what_the_dance_is_worth(run):
    rows = read_metrics(run)
    trained = [row for row in rows if "loss/total" in row]
    assert [row["step"] for row in trained] == [2, 4, 6, 8]
    tags = {f"{kind}/{level}" for kind in ("bits", "loss") for level in ("high", "low")}
    assert tags | {"loss/onset", "loss/genre", "rate"} <= trained[0].keys()
    assert trained[0]["bits/high"] == pytest.approx(trained[0]["loss/high"] / math.log(2))
    validated = [row for row in rows if "val/bits" in row]
    assert [row["step"] for row in validated] == [4, 8]
    kinds = ("bits", "gain", "gain_others")
    tags = {f"val/{kind}/{level}" for kind in kinds for level in ("high", "low")}
    assert tags | {"val/mel", "val/wave"} <= validated[0].keys()
    # 64 codes: 6 bits if nothing is known.
    assert 3 < validated[0]["val/bits"] < 7
    assert all(math.isfinite(value) for row in rows for value in row.values())
    content = read_checkpoint(run / LAST)
    assert content["family"] == FAMILY and content["progress"] == {"steps": 8, "music": ""}
    assert content["best"] == min(row["val/bits"] for row in validated)
    assert (run / "samples" / "step-0000008" / "spectrograms.png").is_file()


@pytest.mark.long
def test_a_run_that_is_stopped_resumes_with_the_same_bits(run, world, tmp_path, monkeypatch):
    kind = FAMILIES.get(FAMILY)
    taken, step = [], kind.step

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 5:
            raise Interrupted("as killed after its last checkpoint")
        return step(model, batch)

    with monkeypatch.context() as broken:
        broken.setattr(kind, "step", stepped)
        with pytest.raises(Interrupted):
            train(world[0], tmp_path, config_of(), family=FAMILY)
    assert read_checkpoint(tmp_path / LAST)["step"] == 4
    train(world[0], tmp_path, config_of(), resume=True, family=FAMILY)
    equal(read_checkpoint(run / LAST), read_checkpoint(tmp_path / LAST))


@pytest.mark.long
def test_the_rate_rises_falls_and_may_change_on_resume(run, world, tmp_path):
    model = load_run(run).model
    model.config = replace(model.config, lr=1.0, warmup_steps=10, max_steps=1000)
    rates = [model.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(rates[9], rel=1e-3)
    assert rates[500] == pytest.approx(0.525) and rates[1000] == pytest.approx(0.05)
    (tmp_path / LAST).write_bytes((run / LAST).read_bytes())
    state = train(world[0], tmp_path, config_of("lr=1e-5"), resume=True, family=FAMILY)
    assert state.step == 8


@pytest.mark.long
def test_the_average_of_the_weights_is_what_generates(run):
    content = read_checkpoint(run / LAST)
    loaded = load_run(run)
    name = "levels.high.patches.weight"
    weight = loaded.model.network.state_dict()[name]
    assert torch.equal(weight, content["network"][name])
    assert not torch.equal(weight, content["trained"][name])


def test_weights_that_are_not_finite_are_not_saved_and_the_advice_names_the_rate(world, tmp_path):
    with pytest.raises(ValueError, match=r"not finite; .*lower lr, and --resume"):
        train(world[0], tmp_path, config_of("lr=1e38", "clip=1e30"), family=FAMILY)
    assert not (tmp_path / LAST).exists()


@pytest.mark.long
@pytest.mark.parametrize("level", ["high", "low"])
def test_a_level_can_be_trained_alone(world, tmp_path, level):
    folder = tmp_path / level
    more = arguments("max_steps=2", "val_every=2", "sample_every=2")
    assert command("train", "--shards", world[0], "--out", folder, "--level", level, *more) == 0
    loaded = load_run(folder)
    assert loaded.name == f"Tokens, {level}" and loaded.model.levels == (level,)
    assert {f"val/bits/{level}"} == {t for t in read_metrics(folder)[-1] if "val/bits/" in t}


@pytest.mark.long
def test_a_run_without_genre_or_without_motion_trains(world, tmp_path):
    few = ("max_steps=1", "val_every=1", "sample_every=1")
    train(world[0], tmp_path / "a", config_of("use_genre=false", *few), family=FAMILY)
    train(world[0], tmp_path / "b", config_of("use_motion=false", *few), family=FAMILY)
    nothing = config_of("use_motion=false", "use_visual=false", *few)
    with pytest.raises(ValueError, match="no dance to follow"):
        train(world[0], tmp_path / "c", nothing, family=FAMILY)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("width=16,16,16", "one value, or one for each of 2 levels"),
        ("heads=3", "width 16 is not a multiple of 2 x heads 3"),
        ("widht=3", "did you mean 'width'?"),
    ],
)
def test_settings_that_do_not_fit_are_refused(world, tmp_path, capsys, setting, words):
    more = arguments(setting)
    assert command("train", "--shards", world[0], "--out", tmp_path / "run", *more) in (1, 2)
    assert words in capsys.readouterr().err


# --- generation ----------------------------------------------------------------------------------


@pytest.mark.long
def test_music_of_a_run_is_generated_with_options_that_are_recorded(run, world, tmp_path):
    music = tmp_path / "music"
    more = ("--set", "guidance=3", "--set", "temperature=0.8,1.1", "--seed", "4")
    assert command("generate", "--run", run, "--shards", world[0], "--out", music, *more) == 0
    summary = json.loads((music / "generated.json").read_bytes())
    expected = {"guidance": [3.0], "temperature": [0.8, 1.1], "top_p": list(Options().top_p)}
    assert summary["options"] == {**expected, "style": ""} and summary["level"] == "low"
    with wave.open(str(music / "test0.wav")) as file:
        assert file.getnframes() == 4 * 22_050  # two segments in one piece


@pytest.mark.long
def test_the_seed_decides_what_is_drawn_and_the_options_change_it(run, world, tmp_path):
    def music(name: str, **more) -> bytes:
        generate(load_run(run), tmp_path / name, shards=world[0], **more)
        return (tmp_path / name / "test0.wav").read_bytes()

    first = music("a")
    assert music("b") == first
    assert music("c", seed=1) != first
    assert music("d", options={"guidance": [1.0]}) != first


@pytest.mark.long
@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("temperature=0", "expected above 0, at most 10, such as 0.9"),
        ("temperature=-1", "temperature are [-1.0]; expected a finite number, at least 0"),
        ("top_p=1.5", "1 draws among all codes"),
        ("top_p=0", "expected above 0, at most 1"),
        ("guidance=-1", "guidance are [-1.0]; expected a finite number, at least 0"),
        ("guidance=nan", "expected a finite number"),
        ("guidance=1,2,3", "one value, or one for each of 2 levels"),
        ("top_k=5", "did you mean 'top_p'?"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_with_a_hint(
    run, world, tmp_path, capsys, word, hint
):
    out = tmp_path / "music"
    given = ("--run", run, "--shards", world[0], "--out", out, "--set", word)
    assert command("generate", *given) in (1, 2)
    error = capsys.readouterr().err
    assert hint in error and "Traceback" not in error
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.long
@torch.no_grad()
def test_an_unknown_genre_is_no_obstacle_but_missing_motion_is(run):
    model = load_run(run).model
    steps = {"high": 8, "low": 32}
    inputs = {
        name: torch.zeros(1, spec.vectors, spec.features)
        for name, spec in model.inputs.specs.items()
        if name != GENRE
    }
    assert GENRE in model.inputs.specs
    found = model.generate(inputs, steps)
    assert found["high"].shape == (1, 8) and found["low"].shape == (1, 32)
    del inputs[MOTION]
    with pytest.raises(ValueError, match="motion, which is missing"):
        model.generate(inputs, steps)


# --- evaluation ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_evaluation_has_bits_per_code_and_the_gain_of_the_dance(run, world, capsys):
    options = ("--embedding", "none", "--set", "guidance=1")
    assert command("evaluate", "--run", run, "--shards", world[0], *options) == 0
    table = capsys.readouterr().out
    assert "bits/code, high" in table and "gain of others' dances, bits, low" in table
    found = json.loads((run / "evaluation" / "evaluation.json").read_bytes())
    assert found["generation"]["guidance"] == [1.0]
    each = found["rows"]["Tokens, low"]["each"]
    names = {
        f"{kind}_{level}" for kind in ("bits", "gain", "gain_others") for level in ("high", "low")
    }
    assert names <= each.keys()
    assert len(each["bits_low"]) == 4 and all(3 < value < 8 for value in each["bits_low"])
    assert "bits_low" not in found["rows"]["ground truth"]["each"]
    assert command("evaluate", "--run", run, "--against", run) == 0
    assert "| bits/code, high (lower is better) | +0.000" in capsys.readouterr().out


@pytest.mark.long
def test_a_codec_with_one_level_of_any_name_can_be_modelled(tmp_path):
    codec = load_codec("demo", ("high",))
    root = tmp_path / "shards"
    write_fake_dataset(root, codec, videos={"train": 1}, segments=2, visual_windows=None)
    few = ("max_steps=1", "val_every=1", "sample_every=1", "level=high")
    state = train(root, tmp_path / "run", config_of(*few), family=FAMILY)
    assert state.model.network.levels.keys() == {"high"}
    with pytest.raises(ValueError, match="has codes of levels high, not 'low'"):
        train(root, tmp_path / "other", config_of("max_steps=1"), family=FAMILY)
