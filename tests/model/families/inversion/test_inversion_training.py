"""Runs of textual inversion, end to end at the smallest size: train, resume, generate, evaluate."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from music_models import write_musicgen
from training_runs import command, equal

from model.codecs.base import load_codec
from model.contract.kinds import INVERSION
from model.contract.segment import MOTION
from model.data.inputs import GENRE
from model.evaluation.evaluate import NAME, folder_of
from model.fake_dataset import write_fake_dataset
from model.families.inversion.config import Config
from model.families.inversion.family import Inversion, window_starts
from model.generation.generate import generate
from model.generation.run import load_run
from model.generation.video_features import new_to_networks, options_for
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import load
from model.runtime.signals import Interrupted
from model.training.loop import train

FAST = (
    "width=32", "batch_size=2", "log_every=2", "val_every=4", "checkpoint_every=4",
    "sample_every=8", "val_segments=2", "val_sound_segments=1", "sample_segments=1", "max_steps=8",
    "shuffle_segments=4", "warmup_steps=2",
)  # fmt: skip


def config_of(base: Path, *settings: str) -> Config:
    return load(Config(), [f"base={base}", *FAST, *settings], None, "tiny", Inversion.PRESETS)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, Path]:
    """Return shards whose codes are of a small MusicGen's codec, and that model's folder."""
    folder = tmp_path_factory.mktemp("world")
    base = write_musicgen(folder / "small")
    source = f"encodec:{base}"
    videos = {"train": 2, "val": 1, "test": 2}
    write_fake_dataset(
        folder / "shards", load_codec(source), source, videos, segments=2, motion=(60, 75),
        visual_windows=None,
    )  # fmt: skip
    return folder / "shards", base


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    words = [part for setting in FAST for part in ("--set", setting)]
    arguments = ("--family", INVERSION, "--preset", "tiny", "--device", "cpu", *words)
    root, base = world
    assert command("train", "--shards", root, "--out", folder, "--base", base, *arguments) == 0
    return folder


@pytest.mark.long
def test_a_run_trains_two_encoders_and_records_its_model(run, world):
    content = read_checkpoint(run / LAST)
    assert content["family"] == INVERSION and content["config"]["base"] == str(world[1].resolve())
    assert len(content["config"]["base_id"]) == 12
    assert all(name.startswith(("rhythm.", "genre.")) for name in content["network"])
    rows = read_metrics(run)
    trained = [row for row in rows if "loss/total" in row]
    assert [row["step"] for row in trained] == [2, 4, 6, 8]
    assert trained[0]["bits/encodec"] == pytest.approx(trained[0]["loss/total"] / math.log(2))
    validated = [row for row in rows if "val/bits" in row]
    assert [row["step"] for row in validated] == [4, 8]
    assert {"val/gain/encodec", "val/gain_others/encodec", "val/mel"} <= validated[0].keys()
    # 32 codes: 5 bits if nothing is known.
    assert 4 < validated[0]["val/bits"] < 6
    assert (run / "samples" / "step-0000008" / "spectrograms.png").is_file()


@pytest.mark.long
def test_without_an_average_the_trained_weights_generate(run):
    content = read_checkpoint(run / LAST)
    equal(content["network"], content["trained"])


@pytest.mark.long
def test_a_run_that_is_stopped_resumes_with_the_same_bits(run, world, tmp_path, monkeypatch):
    taken, step = [], Inversion.step

    def stepped(model, batch):
        taken.append(batch)
        if len(taken) == 5:
            raise Interrupted("as killed after its last checkpoint")
        return step(model, batch)

    root, base = world
    with monkeypatch.context() as broken:
        broken.setattr(Inversion, "step", stepped)
        with pytest.raises(Interrupted):
            train(root, tmp_path, config_of(base), family=INVERSION)
    assert read_checkpoint(tmp_path / LAST)["step"] == 4
    train(root, tmp_path, config_of(base), resume=True, family=INVERSION)
    equal(read_checkpoint(run / LAST), read_checkpoint(tmp_path / LAST))


@pytest.mark.long
def test_gradients_reach_the_encoders_alone_and_the_rate_falls_to_zero(run, world):
    model = load_run(run).model
    assert isinstance(model, Inversion)
    model.start_training()
    rhythm = model.rhythm_word(model.trained, torch.randn(2, 120, 75))
    prompt = model.prompt(model.config.prompt)
    words = model.words(model.trained, prompt, rhythm, torch.tensor([0, 3]))
    codes = torch.randint(32, (2, 4, model.window))
    model.base.nats(words, torch.ones(2, dtype=torch.bool), codes).mean().backward()
    sizes = {
        name: 0.0 if p.grad is None else p.grad.abs().max().item()
        for name, p in model.trained.named_parameters()
    }
    for name, size in sizes.items():
        # One word attends to itself alone, so queries and keys are of no consequence.
        constant = "to_q" in name or "to_k" in name
        assert (size > 1e-3 * max(sizes.values())) != constant, (name, size)
    assert all(p.grad is None for p in model.base.model.parameters())
    assert model.rate(model.config.max_steps) == pytest.approx(0)


@pytest.mark.long
def test_music_for_a_split_has_its_length_and_is_the_same_again(run, world, tmp_path):
    for name in ("one", "two"):
        generate(load_run(run), tmp_path / name, shards=world[0], seed=3)
    facts = json.loads((tmp_path / "one" / "generated.json").read_text(encoding="utf-8"))
    assert len(facts["generated"]) == 2
    for wav in sorted((tmp_path / "one").glob("*.wav")):
        content = wav.read_bytes()
        assert content == (tmp_path / "two" / wav.name).read_bytes()
        # Two segments of 2 s, PCM16.
        assert len(content) - 44 == 2 * 2 * 44_100


@pytest.mark.long
def test_a_run_plays_for_motion_of_any_layout_and_for_videos_by_estimated_poses(
    run, world, tmp_path
):
    source, loaded = f"encodec:{world[1]}", load_run(run)
    write_fake_dataset(
        tmp_path / "smpl", load_codec(source), source, {"test": 1}, segments=2, motion=(120, 72),
        visual_windows=None,
    )  # fmt: skip
    (made,) = generate(loaded, tmp_path / "out", shards=tmp_path / "smpl")
    assert made.wav.stat().st_size - 44 == 2 * 2 * 44_100
    assert new_to_networks(loaded) and options_for(loaded)["motion"] == "auto"
    found = loaded.dataset.fields[MOTION] | {"kind": "movenet", "detector": "1"}
    loaded.dataset = replace(
        loaded.dataset, fields={**loaded.dataset.fields, MOTION: found}, build={"motion": "movenet"}
    )
    assert not new_to_networks(loaded) and options_for(loaded)["motion"] == "movenet"


@pytest.mark.long
def test_words_are_the_users_and_change_the_music(run, world, tmp_path):
    made = {}
    for prompt in ("", "funky music with * as the rhythm", "slow music"):
        folder = tmp_path / f"prompt{len(made)}"
        more = ["--prompt", prompt] if prompt else []
        arguments = ("--run", run, "--shards", world[0], "--out", folder, "--device", "cpu", *more)
        assert command("generate", *arguments) == 0
        made[prompt] = b"".join(wav.read_bytes() for wav in sorted(folder.glob("*.wav")))
    assert len(set(made.values())) == 3


@pytest.mark.long
def test_a_long_piece_is_continued_from_its_last_codes_with_the_rhythm_of_each_window(run):
    model = load_run(run).model
    torch.manual_seed(0)
    inputs = {MOTION: torch.randn(1, 360, 75), GENRE: torch.tensor([0])}
    length = 3 * model.window - 7
    torch.manual_seed(1)
    whole = model.generate(inputs, {"encodec": length})["encodec"]
    assert whole.shape == (1, 4, length)
    torch.manual_seed(1)
    first = model.generate({**inputs, MOTION: inputs[MOTION][:, :120]}, {"encodec": model.window})
    assert torch.equal(whole[..., : model.window], first["encodec"])
    assert window_starts(293, 100, 0.5) == [0, 50, 100, 150, 193]
    assert window_starts(100, 100, 0.5) == [0] and window_starts(60, 100, 0.5) == [0]
    assert window_starts(300, 100, 0.0) == [0, 100, 200]


@pytest.mark.long
def test_the_genres_placeholder_wants_a_genre(run, world):
    model = load_run(run).model
    motion = {MOTION: torch.randn(1, 120, 75)}
    plain = model.generate(motion, {"encodec": 20})["encodec"]
    assert plain.shape == (1, 4, 20), "without a genre, the prompt of training leaves it out"
    options = model.Options(prompt="a @ music with * as the rhythm")
    with pytest.raises(ValueError, match=r"has '@', the dance's genre, .* give --genre"):
        model.generate(motion, {"encodec": 20}, options)


@pytest.mark.slow
def test_a_run_is_evaluated_with_the_bits_of_its_codes(run, world):
    arguments = ("--run", run, "--shards", world[0], "--embedding", "mel-statistics")
    assert command("evaluate", *arguments) == 0
    found = json.loads((folder_of(run) / NAME).read_text(encoding="utf-8"))
    scores = found["rows"][found["row"]]["scores"]
    assert 4 < scores["bits_encodec"]["value"] < 6 and "gain_encodec" in scores


@pytest.mark.long
def test_another_model_another_codec_and_a_missing_model_are_told_apart(run, world, tmp_path):
    root, base = world
    other = write_musicgen(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"makes codes of encodec-.* extract-codes --shards DIR"):
        train(root, tmp_path / "a", config_of(other), family=INVERSION)
    with pytest.raises(FileNotFoundError, match="base model 'nowhere/at-all'"):
        train(root, tmp_path / "b", config_of(Path("nowhere/at-all")), family=INVERSION)
    kept = base.with_name("kept")
    shutil.move(base, kept)
    try:
        with pytest.raises(FileNotFoundError, match="no such folder"):
            load_run(run)
    finally:
        shutil.move(kept, base)
    changed = read_checkpoint(run / LAST)
    changed["config"]["base_id"] = "0" * 12
    (tmp_path / "c").mkdir()
    torch.save(changed, tmp_path / "c" / LAST)
    with pytest.raises(ValueError, match="words were learnt for another text-to-music model"):
        load_run(tmp_path / "c")


@pytest.mark.long
def test_base_and_prompt_are_for_this_family_only(world, capsys):
    assert command("train", "--shards", world[0], "--base", "x", "--family", "tokens") == 2
    assert "family tokens has no text-to-music model" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("temperature=0", "temperature is 0.0; expected above 0"),
        ("guidance=-1", "guidance is -1"),
        ("top_k=-3", "top_k is -3"),
        ("overlap=1", "overlap is 1"),
    ],
)
def test_options_out_of_range_are_refused(run, world, tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        generate(load_run(run), tmp_path, shards=world[0], options=[option])
