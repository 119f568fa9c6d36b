"""How `pipeline build` is called: exit codes, and words that say what to do."""

from __future__ import annotations

import json

import pytest
from builds import clip, options, run

from pipeline.build import build
from pipeline.features.base import recorded_weights


@pytest.mark.long
def test_exit_codes_and_messages(videos, tmp_path, capsys):
    build_it = ["build", "--dataset", "folder", "--engine", "local", "--visual", "none"]
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o") == 3
    said = capsys.readouterr()
    assert "failed" in said.out and "more than --max-failed 20.0%" in said.err
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o", "--dry-run") == 0
    clip(tmp_path / "short" / "a.mp4", 1.0)
    assert run(*build_it, "--source", tmp_path / "short", "--out", tmp_path / "q") == 3
    error = capsys.readouterr().err
    assert "no segment was made: a: too_short: a.mp4: got 1.00 s" in error
    assert f"see {tmp_path}/q/report.html" in error and (tmp_path / "q/report.html").is_file()
    words = ["--source", tmp_path / "short", "--out", tmp_path / "q", "--no-page"]
    assert run(*build_it, *words) == 3
    assert f"see {tmp_path}/q/report.json" in capsys.readouterr().err
    assert not (tmp_path / "q/report.html").exists()  # nor one from before
    assert run("curate", "--dataset", "tiktok", "--source", videos, "--out", tmp_path / "r",
               "--engine", "local", "--address", "auto") == 2  # fmt: skip
    assert "--address auto goes with --engine ray" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--out", tmp_path / "o", "--max-failed", 0.5) == 0
    assert run(*build_it, "--source", tmp_path / "none", "--out", tmp_path / "p") == 1
    assert "no such folder" in capsys.readouterr().err
    assert run(*build_it[:-2], "--source", videos, "--weights", tmp_path / "w") == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "w").write_text("no weights", encoding="utf-8")
    assert run(*build_it[:-2], "--source", videos, "--weights", tmp_path / "w") == 1
    assert "not the weights of i3d_r50" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--window-s", "1/0") == 2
    assert "not a number of seconds" in capsys.readouterr().err
    assert run(*build_it, "--source", videos, "--motion-dir", tmp_path / "none") == 1
    assert "no such folder" in capsys.readouterr().err
    assert run("verify", "--shards", tmp_path / "none") == 1
    assert "pipeline build" in capsys.readouterr().err
    assert run("build") == 2


def test_kinetics_weights_that_are_not_there_are_not_replaced(
    videos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    assert run("build", "--dataset", "folder", "--source", videos, "--out", tmp_path / "o") == 1
    assert "--weights untrained" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_dry_run_lists_and_writes_nothing(videos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))  # without any weights
    out = tmp_path / "o"
    arguments = ["--source", videos, "--out", out, "--codec", "jukebox-5b", "--dry-run"]
    assert run("build", "--dataset", "folder", *arguments) == 0
    said = capsys.readouterr().out
    assert "inputs                             7" in said
    assert {"a  a.mp4", "short  short.mp4"} <= set(said.splitlines())
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs --source DIR"),
        (["--source", ".", "--window-s", "1"], "a window has 2 to 20 s"),
        (["--source", ".", "--window-s", "2,5"], "not a number of seconds"),
        (["--source", ".", "--engine", "local", "--address", "auto"], "goes with --engine ray"),
        (["--source", ".", "--address", "nonsense"], "expected auto, HOST:PORT or ray://HOST:PORT"),
        (["--source", ".", "--published"], "--published goes with --dataset tiktok"),
        (["--source", "s3://b/x"], "s3://b/x: is an address"),
        (["--source", ".", "--out", "s3://b/x"], "pipeline publish --shards FOLDER --to s3://b/x"),
        (["--limit", "abc"], "abc: expected a whole number, 1 or more"),
        (["--limit", "0"], "0: expected a whole number, 1 or more"),
        (["--max-failed", "20%"], "20%: expected a share between 0 and 1"),
        (["--item-limit-s", "nan"], "nan: expected a number of seconds, 0 or more"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("build", "--dataset", "folder", *arguments) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract-codes", "--shards", "s3://b/x"], "s3://b/x: is an address"),
        (["publish", "--shards", "s3://b/x", "--to", "s3://b/y"], "s3://b/x: is an address"),
        (["report", "--shards", "s3://b/x"], "s3://b/x: is an address"),
        (["report", "--shards", "set/dataset.json"], "a file; name its folder: --shards set"),
        (["extract-codes", "--shards", "set", "--codec", "none"], "--codec none: no codes"),
        (["weights", "fetch", "nope"], "weights 'nope': no such name"),
        (["curate", "--dataset", "tiktok"], "needs --source DIR"),
    ],
)
def test_wrong_usage_of_the_other_commands(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").touch()
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aist"], "data/aist: no such folder; run pipeline fetch --dataset aist"),
        (["aist", "--source", "nowhere"], "nowhere: no such folder; run pipeline fetch"),
        (["folder", "--source", "nowhere"], "nowhere: no such folder"),
        (["folder", "--source", "."], "no video in it"),
    ],
)
def test_inputs_that_are_not_there_are_told_before_weights(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert run("build", "--dataset", *arguments) == 1
    assert words in capsys.readouterr().err


def test_an_error_of_the_system_says_what_to_do(tmp_path, capsys):
    (tmp_path / "file").touch()
    made = ["--limit", 1, "--visual", "none", "--engine", "local", "--out", tmp_path / "o"]
    assert run("build", "--dataset", "synthetic", "--source", tmp_path / "file", *made) == 1
    error = capsys.readouterr().err
    assert "file" in error and "Not a directory; check the path, or choose another" in error


def test_paths_of_weights_are_recorded_whole(videos, tmp_path, monkeypatch, capsys):
    (tmp_path / "net:1.pth").touch()
    (tmp_path / "kinetics").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("kinetics", "untrained", "hrnet_w32_coco", "fasterrcnn_mobilenet"):
        assert recorded_weights(name) == name
    assert recorded_weights("net:1.pth") == str(tmp_path / "net:1.pth")
    assert recorded_weights("c.py:net.pth") == f"{tmp_path}/c.py:{tmp_path}/net.pth"
    out = tmp_path / "o"
    build(options(videos, out, weights="net:1.pth", limit=1))
    written = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert written["build"]["weights"] == str(tmp_path / "net:1.pth")
    written["build"]["weights"] = "net:1.pth"  # as it was recorded before
    (out / "dataset.json").write_text(json.dumps(written), encoding="utf-8")
    capsys.readouterr()
    build(options(videos, out, weights="net:1.pth", limit=1))
    assert "--weights was" not in capsys.readouterr().out
