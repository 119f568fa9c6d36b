"""Training on several data sets: resumed bit for bit, refused with others, told at the start."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from training_runs import SMALL, command, equal, settings, write_codec

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset, save_dataset
from model.contract.segment import MOTION
from model.contract.weighted import Weighted
from model.data.reader import read_tar
from model.data.several import Several
from model.data.source import Source
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import load_config
from model.families.notes.clips import read_note_clips
from model.runtime.checkpoint import LAST, read_checkpoint
from model.training.loop import train
from model.training.state import SETS

CONFIG = load_config(
    "tiny", None, [*SMALL, "max_steps=4", "val_every=4", "checkpoint_every=4", "sample_every=4"]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Return a folder of two data sets with different songs, a and b."""
    folder = tmp_path_factory.mktemp("world")
    codec = load_codec(write_codec(folder, levels=("high",)), ("high",))
    for seed, name in enumerate("ab"):
        write_fake_dataset(
            folder / name, codec, str(folder / "codec.safetensors"), {"train": 2, "val": 1}, 2,
            "2", (60, 75), segments_per_shard=2, seed=seed, prefix=name,
        )  # fmt: skip
    return folder


def given(world: Path, weight: int = 2) -> list[Weighted]:
    return [Weighted(world / "a"), Weighted(world / "b", Fraction(weight))]


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(given(world), folder, CONFIG)
    return folder


@pytest.mark.long
def test_a_run_on_several_data_sets_is_resumed_bit_for_bit(run, world, tmp_path):
    train(given(world), tmp_path, replace(CONFIG, max_steps=3))
    train(given(world), tmp_path, CONFIG, resume=True)
    equal(read_checkpoint(run / LAST), read_checkpoint(tmp_path / LAST))


@pytest.mark.long
def test_a_checkpoint_has_the_data_sets_and_their_weights(run, world, capsys):
    content = read_checkpoint(run / LAST)
    assert [(each["name"], each["weight"]) for each in content["data"][SETS]] == [
        ("fake", "1"), ("fake", "2"),
    ]  # fmt: skip
    assert content["dataset"]["name"] == "fake+fake"
    assert command("info", "--run", run) == 0
    assert "fake+fake" in (told := capsys.readouterr().out)
    assert "           fake, weight 2\n" in told


@pytest.mark.long
def test_samples_are_named_by_their_data_set(run):
    folder = run / "samples" / "step-0000004"
    assert (folder / "a:aval0_seg0001.truth.wav").is_file()


@pytest.mark.long
def test_a_run_on_several_data_sets_is_not_resumed_with_others(run, world, tmp_path):
    was = r"cannot resume with other data: data sets was 'fake \(weight 1\), fake \(weight 2\)'"
    with pytest.raises(ValueError, match=was + r", is '.*\(weight 3\)'; give the same --shards"):
        train(given(world, 3), run, CONFIG, resume=True)
    with pytest.raises(ValueError, match=was + r", is 'fake \(weight 1\)'; give the same"):
        train(world / "a", run, CONFIG, resume=True)


@pytest.mark.long
def test_the_command_tells_the_data_sets_and_the_songs_they_share(world, tmp_path, capsys):
    write_fake_dataset(
        tmp_path / "c=2", load_codec(world / "codec.safetensors", ("high",)),
        str(world / "codec.safetensors"), {"train": 2, "val": 1}, 2, "2", (60, 75), prefix="a",
    )  # fmt: skip
    more = settings("max_steps=1", "val_every=9", "sample_every=9")
    out = tmp_path / "run"
    shards = ("--shards", world / "a", f"{world / 'b'}=0.5", tmp_path / "c=2")
    assert command("train", *shards, "--preset", "tiny", "--out", out, *more) == 0
    told = capsys.readouterr().out
    assert "fake+fake+fake: 12 segments of 2 s, 5 batches of 2 per epoch, 6 for val" in told
    assert f"  {world / 'b'}=0.5: 4 segments, 2 of an epoch's 10\n" in told
    a, c = world / "a", tmp_path / "c=2"
    assert f"note: 3 songs are (atrain0-song, atrain1-song, aval0-song) in both {a} and {c}" in told
    assert f"next: model generate --run {out} --shards {a} " in told


def test_a_weight_that_is_none_is_a_usage_error(world, capsys):
    assert command("train", "--shards", f"{world / 'a'}=0") == 2
    assert "a: a weight of 0; expected one above 0" in capsys.readouterr().err


def test_data_sets_with_other_features_are_refused_before_anything_is_written(world, tmp_path):
    dataset = load_dataset(world / "b")
    dataset.fields[MOTION] = {**dataset.fields[MOTION], "kind": "smpl"}
    for name in ("codes", "train-000000.tar", "train-000001.tar", "val-000000.tar"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / name).symlink_to(world / "b" / name)
    save_dataset(tmp_path / "other", dataset)
    with pytest.raises(ValueError, match=r"a and .*other cannot be trained on together: motion"):
        train([world / "a", tmp_path / "other"], tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_dances_of_two_data_sets_are_found_by_their_own_keys(world):
    """Families of notes hold whole clips: two data sets may have videos of the same name."""
    sources = [
        Source(world / name, load_dataset(world / name), "train", "", {}, label=f"{label}:")
        for name, label in (("a", "x"), ("a", "y"), ("b", "z"))
    ]
    clips = read_note_clips(Several(sources, [Fraction(1)] * 3), None)
    key = next(read_tar(world / "a" / "train-000000.tar"))["__key__"]
    assert clips.at(f"x:{key}").name.startswith("x:a")
    assert clips.at(f"y:{key}").name.startswith("y:a")
    assert len({clip.name for clip in clips.clips}) == len(clips.clips) == 6
