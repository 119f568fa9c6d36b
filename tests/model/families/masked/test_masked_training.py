"""Runs of masked models, end to end at the smallest size: train, resume, generate, evaluate."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path

import pytest
import torch
from masked_models import SMALL
from places import ROOT
from training_runs import command, equal

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.kinds import FAMILIES
from model.fake_dataset import write_fake_dataset
from model.families.masked.config import Config, Options
from model.generation.generate import generate
from model.generation.run import load_run
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import load, read_yaml
from model.runtime.signals import Interrupted
from model.training.loop import train

FAMILY = "masked"
FAST = (*SMALL, "position_samples=1024")
"""Long positions: 43 for two seconds."""
CDCD = ("contrast=sample", "negatives=inter", "times=importance", "chain_steps=2")
"""With two steps of the chain, each is soon known."""
CHAIN = ("batch_size=4", "max_steps=20", "val_every=20", "sample_every=20")
FILES = sorted((ROOT / "configs").glob("cdcd-*.yaml"))


def config_of(*settings: str, file: Path | None = None) -> Config:
    kind = FAMILIES.get(FAMILY)
    return load(kind.Config(), [*FAST, *settings], file, "tiny", kind.PRESETS)


def arguments(*settings: str) -> list[str]:
    words = [part for setting in (*FAST, *settings) for part in ("--set", setting)]
    return ["--family", FAMILY, "--preset", "tiny", "--device", "cpu", *words]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    root, weights = folder / "shards", folder / "codec.safetensors"
    untrained = random_codec()
    write_weights(weights, untrained.model, "random", untrained.note)
    videos = {"train": 3, "val": 1, "test": 2}
    write_fake_dataset(root, load_codec(weights), str(weights), videos=videos, segments=2)
    return root, weights


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert command("train", "--shards", world[0], "--out", folder, *arguments()) == 0
    return folder


# --- training ------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_is_of_the_high_level_and_logs_its_bound(run):
    rows = read_metrics(run)
    trained = [row for row in rows if "loss/total" in row]
    assert [row["step"] for row in trained] == [2, 4, 6, 8]
    kinds = {"loss/bound/high", "loss/auxiliary/high", "loss/onset", "loss/genre", "rate"}
    assert kinds <= trained[0].keys() and "bits/low" not in trained[0]
    assert trained[0]["bits/high"] == pytest.approx(trained[0]["loss/bound/high"] / math.log(2))
    validated = [row for row in rows if "val/bits" in row]
    assert [row["step"] for row in validated] == [4, 8]
    tags = {f"val/{kind}/high" for kind in ("bits", "gain", "gain_others")}
    assert tags | {"val/mel", "val/wave"} <= validated[0].keys()
    assert 3 < validated[0]["val/bits"] < 8  # 64 codes: 6 bits if nothing is known
    content = read_checkpoint(run / LAST)
    assert content["family"] == FAMILY and content["progress"] == {"steps": 8}
    assert content["best"] == min(row["val/bits"] for row in validated)
    assert load_run(run).name == "Masked, high"


@pytest.mark.long
@pytest.mark.parametrize("settings", [(), CDCD], ids=["plain", "cdcd"])
def test_a_run_that_is_stopped_resumes_with_the_same_bits(world, tmp_path, monkeypatch, settings):
    kind, config = FAMILIES.get(FAMILY), config_of(*CHAIN, *settings)
    train(world[0], tmp_path / "whole", config, family=FAMILY)
    taken, step = [], kind.step

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 15:
            raise Interrupted("as killed after its last checkpoint")
        return step(model, batch)

    with monkeypatch.context() as broken:
        broken.setattr(kind, "step", stepped)
        with pytest.raises(Interrupted):
            train(world[0], tmp_path / "killed", config, family=FAMILY)
    assert read_checkpoint(tmp_path / "killed" / LAST)["step"] == 12
    train(world[0], tmp_path / "killed", config, resume=True, family=FAMILY)
    whole = read_checkpoint(tmp_path / "whole" / LAST)
    equal(whole, read_checkpoint(tmp_path / "killed" / LAST))
    counts = whole["times"]["counts"]
    assert (counts.min() > 10) == bool(settings) and counts.sum() == (80 if settings else 0)


@pytest.mark.long
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_of_cdcd_trains_as_it_says(world, tmp_path, file):
    few = ("max_steps=2", "val_every=2", "sample_every=2", "chain_steps=8")
    config = config_of(*few, file=file)
    train(world[0], tmp_path, config, family=FAMILY)
    row = next(row for row in read_metrics(tmp_path) if "loss/total" in row)
    contrasts = "loss/contrast/high" in row
    assert contrasts == (file.stem != "cdcd-vanilla") and "loss/onset" not in row
    named = read_yaml(file)
    assert named["chain_steps"] == 80 and named["condition"] == "vector"
    assert named["weights"] == {"auxiliary": 5e-4, "contrast": 5e-5}
    variant = (named["contrast"], named.get("negatives", "intra"))
    assert variant == {"cdcd-vanilla": ("none", "intra"), "cdcd-step-intra": ("step", "intra"),
                       "cdcd-sample-inter": ("sample", "inter")}[file.stem]  # fmt: skip


@pytest.mark.long
def test_the_average_of_the_weights_moves_every_so_many_steps(world, tmp_path):
    few = ("max_steps=3", "val_every=3", "sample_every=3", "average_every=2")
    state = train(world[0], tmp_path, config_of(*few), family=FAMILY)
    model = state.model
    assert model.steps == 3
    before = {name: x.clone() for name, x in model.network.state_dict().items()}
    model.steps = 4
    model.update_average()
    assert any(not torch.equal(x, before[name]) for name, x in model.network.state_dict().items())


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "level"), [(("level=both",), "low"), (("level=low",), "low"),
                            (("condition=vector", "use_genre=false"), "high")],
)  # fmt: skip
def test_other_levels_and_the_condition_of_the_reference_train(world, tmp_path, settings, level):
    few = arguments("max_steps=2", "val_every=2", "sample_every=2", *settings)
    assert command("train", "--shards", world[0], "--out", tmp_path / "run", *few) == 0
    assert load_run(tmp_path / "run").level == level
    more = ("--shards", world[0], "--out", tmp_path / "music", "--set", "steps=4")
    assert command("generate", "--run", tmp_path / "run", *more) == 0
    with wave.open(str(tmp_path / "music" / "test0.wav")) as file:
        assert file.getnframes() == 4 * 22_050


def test_a_run_without_any_dance_is_refused(world, tmp_path):
    with pytest.raises(ValueError, match="no dance to follow"):
        nothing = config_of("use_motion=false", "use_visual=false")
        train(world[0], tmp_path, nothing, family=FAMILY)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("contrast=both", "expected one of none, step, sample"),
        ("condition=blind", "expected one of aligned, vector"),
        ("chain_steps=1", "chain_steps is 1; expected at least 2"),
        ("negatives=others", "expected one of intra, inter"),
        ("heads=3", "width 16 is not a multiple of 2 x heads 3"),
        ("weights.contrst=1", "did you mean 'contrast'?"),
        ("widht=3", "did you mean 'width'?"),
    ],
)
def test_settings_that_do_not_fit_are_refused(world, tmp_path, capsys, setting, words):
    more = arguments(setting)
    assert command("train", "--shards", world[0], "--out", tmp_path / "run", *more) in (1, 2)
    assert words in capsys.readouterr().err


def test_music_of_other_songs_needs_more_than_one_segment_in_a_batch():
    with pytest.raises(ValueError, match="batch_size is 1; expected at least 2"):
        config_of("contrast=step", "negatives=inter", "batch_size=1")


# --- generation ----------------------------------------------------------------------------------


@pytest.mark.long
def test_music_of_a_run_is_generated_with_options_that_are_recorded(run, world, tmp_path):
    music = tmp_path / "music"
    more = ("--set", "guidance=3", "--set", "steps=5", "--set", "order=confident", "--seed", "4")
    assert command("generate", "--run", run, "--shards", world[0], "--out", music, *more) == 0
    summary = json.loads((music / "generated.json").read_bytes())
    expected = {"guidance": [3.0], "steps": [5], "order": "confident"}
    plain = {"temperature": list(Options().temperature), "top_p": list(Options().top_p)}
    assert summary["options"] == expected | plain and summary["level"] == "high"
    with wave.open(str(music / "test0.wav")) as file:
        assert file.getnframes() == 4 * 22_050  # two segments in one piece


@pytest.mark.long
def test_the_seed_decides_what_is_drawn_and_the_options_change_it(run, world, tmp_path):
    def music(name: str, steps: int = 4, **more) -> bytes:
        options = {"steps": [steps]}
        generate(load_run(run), tmp_path / name, shards=world[0], options=options, **more)
        return (tmp_path / name / "test0.wav").read_bytes()

    first = music("a")
    assert music("b") == first
    assert music("c", seed=1) != first
    assert music("d", steps=5) != first


@pytest.mark.long
@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("steps=0", "steps are [0]; expected at least 1"),
        ("steps=1000000", "steps is 1000000; expected at most 10000, such as 64"),
        ("order=best", "order is 'best'; expected one of random, confident"),
        ("temperature=0", "expected above 0, at most 10, such as 0.9"),
        ("top_p=1.5", "1 draws among all codes"),
        ("top_p=0", "expected above 0, at most 1"),
        ("guidance=-1", "guidance are [-1.0]; expected a finite number, at least 0"),
        ("step=5", "did you mean 'steps'?"),
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
def test_guidance_needs_a_run_that_knows_music_without_a_dance(world, tmp_path, capsys):
    few = ("max_steps=1", "val_every=9", "sample_every=9", "drop_all=0")
    train(world[0], tmp_path / "run", config_of(*few), family=FAMILY)
    given = ("--run", tmp_path / "run", "--shards", world[0], "--out", tmp_path / "music")
    assert command("generate", *given) == 1
    assert "generate with --set guidance=1" in capsys.readouterr().err
    assert command("generate", *given, "--set", "guidance=1", "--set", "steps=2") == 0


# --- evaluation ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_evaluation_has_the_bound_and_its_run_is_a_row_of_cdcds_table(run, world, capsys):
    options = ("--embedding", "none", "--alone", "--set", "steps=4")
    assert command("evaluate", "--run", run, "--shards", world[0], *options) == 0
    assert "bits/code, high" in capsys.readouterr().out
    found = json.loads((run / "evaluation" / "evaluation.json").read_bytes())
    each = found["rows"]["Masked, high"]["each"]
    assert len(each["bits_high"]) == 4 and all(3 < value < 8 for value in each["bits_high"])
    assert command("evaluate", "--all", run) == 0
    table = capsys.readouterr().out
    assert "**CDCD, AIST++**" in table and "step-wise, intra" in table and "93.9 / 90.7" in table
    (row,) = (line for line in table.splitlines() if line.startswith("| vanilla |"))
    assert row.count("[") == 2  # cover and hit with intervals; no genre without an embedding
