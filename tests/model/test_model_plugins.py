"""What another installed package adds to `model`: a codec, a family, a baseline and a measure."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packages import forgotten, write_package
from places import ROOT
from training_runs import command

from model.codecs.base import load_codec
from model.contract.kinds import CODECS, FAMILIES
from model.fake_dataset import write_fake_dataset
from model.generation.run import load_run
from model.runtime.checkpoint import LAST, read_checkpoint

PLUGINS = ROOT / "tests" / "plugins"
MODULES = ("steps_codec", "classifier_family", "loop_baseline", "loudness_measure")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that puts a package with entry points on the path, as an installer does."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))

    def put(name: str, points: str) -> None:
        write_package(tmp_path / "packages", name, points)

    with forgotten(MODULES):
        yield put


@pytest.fixture
def shards(install, tmp_path) -> Path:
    text = (PLUGINS / "pyproject.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
        for group, entries in groups.items()
    )
    install("plugins", points)
    root = tmp_path / "shards"
    videos = {"train": 2, "val": 1, "test": 2}
    write_fake_dataset(root, load_codec("steps"), "steps", videos, 2, visual_windows=None)
    return root


@pytest.mark.long
def test_a_family_a_codec_a_baseline_and_a_measure_do_their_parts(shards, tmp_path, capsys):
    run, data = tmp_path / "run", ("--shards", shards)
    train = ("train", *data, "--out", run, "--preset", "tiny", "--device", "cpu")
    assert command(*train, "--family", "classifier") == 0
    content = read_checkpoint(run / LAST)
    assert (content["family"], content["codec"]["id"]) == ("classifier", "steps-1")

    assert command(*train, "--resume", "--set", "max_steps=6") == 0  # the run's own family
    assert read_checkpoint(run / LAST)["step"] == 6
    assert command(*train, "--resume", "--family", "d2m-gan") == 1
    error = capsys.readouterr().err
    assert "steps" in error and "Traceback" not in error

    loaded = load_run(run)
    assert (loaded.name, loaded.model.levels) == ("Classifier, mean", ("mean",))
    assert command("generate", "--run", run, *data, "--out", tmp_path / "music") == 0
    assert {path.name for path in (tmp_path / "music").glob("*.wav")} == {"test0.wav", "test1.wav"}
    named = ("--baseline", "first-second", "--measure", "loudness", "--embedding", "none")
    assert command("evaluate", "--run", run, *data, *named) == 0
    table = capsys.readouterr().out
    assert "loudness, dB apart" in table and "| first second, looped |" in table
    assert "| Classifier, mean |" in table and "| reconstruction, mean |" in table
    assert command("evaluate", "--run", run, "--against", run) == 0
    assert "| loudness, dB apart (lower is better) | +0.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--family", "d2m-gna"], "family 'd2m-gna'; there are: d2m-gan, tokens, masked"),
        (["evaluate", "--baseline", "metronom"], "did you mean 'metronome'?"),
        (["evaluate", "--measure", "loud"], "unknown measure 'loud'; there are: "),
    ],
)
def test_an_unknown_name_is_wrong_usage_and_lists_what_there_is(arguments, words, capsys):
    assert command(*arguments) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_codec_lists_the_known_ones_with_a_guess():
    listed = "there are: demo, jukebox-5b, encodec-32khz, encodec; did you mean 'demo'"
    with pytest.raises(FileNotFoundError, match=listed):
        load_codec("dmo")


def test_a_package_that_cannot_be_imported_is_named_and_disturbs_nothing_else(install, capsys):
    install("bad", "[dance2music.families]\nbad=no_such:Bad\n[dance2music.codecs]\nbad=no_such:b")
    assert command("--help") == 0 and command("train", "--help") == 0
    names = ", ".join([*FAMILIES.own, "bad"])
    assert names in " ".join(capsys.readouterr().out.split())
    assert FAMILIES.get("d2m-gan").title == "D2M-GAN" and load_codec("demo").levels
    with pytest.raises(ValueError, match="family 'bad' of the package bad cannot be imported"):
        FAMILIES.get("bad")
    with pytest.raises(ValueError, match="codec 'bad' of the package bad cannot be imported"):
        CODECS.get("bad")
