"""Plugins of every kind, as docs/extend.md shows them, installed and used by the plain commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from builds import clip
from places import ROOT

PLUGINS = ROOT / "tests" / "plugins"
PAGE = ROOT / "docs" / "extend.md"
KINDS = ("sources features visual pose detectors codecs families baselines measures").split()


def points() -> dict[str, dict[str, str]]:
    text = (PLUGINS / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["entry-points"]


def test_the_page_shows_the_files_that_are_installed():
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    files = [path.read_text(encoding="utf-8") for path in PLUGINS.glob("*.py")]
    assert sorted(blocks) == sorted(files) and len(files) == len(KINDS)
    assert points().keys() == {f"dance2music.{kind}" for kind in KINDS}
    for group, entries in points().items():
        for name, place in entries.items():
            assert f'[project.entry-points."{group}"]\n    {name} = "{place}"' in page


def test_no_file_of_the_project_names_a_plugin_of_the_tests():
    modules = {place.partition(":")[0] for e in points().values() for place in e.values()}
    files = [path for package in ("pipeline", "model") for path in (ROOT / package).rglob("*.py")]
    named = {
        (str(path), module)
        for path in (*files, ROOT / "pyproject.toml")
        for module in modules
        if module in path.read_text(encoding="utf-8")
    }
    assert not named


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """Return the folder of a temporary environment's programs, the plugins installed in it."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "project.pth").write_text(f"{ROOT}\n{ours}\n", encoding="utf-8")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--python", python, "--no-deps", PLUGINS], check=True)
    return folder / "bin"


@pytest.mark.slow
def test_plugins_of_all_kinds_work_from_an_environment_of_their_own(programs, tmp_path):
    def run(*words: object) -> str:
        done = subprocess.run(
            [programs / "python", "-m", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    for name in ("a", "b", "c", "d"):
        clip(tmp_path / "videos" / f"{name}.mp4", 4.2)
    table = "file,split,song\na.mp4,train,s1\nb.mp4,train,s2\nc.mp4,test,s3\nd.mp4,test,s4\n"
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    for group, names in points().items():
        if group.endswith((".sources", ".features", ".visual", ".pose", ".detectors")):
            assert set(names) <= set(re.findall(r"[\w-]+", run("pipeline", "build", "--help")))
    run(
        *("pipeline", "build", "--dataset", "listed", "--listed-table", "table.csv"),
        *("--source", "videos", "--feature", "brightness", "--bright-looks", 2),
        *("--visual", "colours", "--motion", "centre", "--detector", "middle"),
        *("--codec", "steps", "--engine", "local"),
    )
    dataset = json.loads((tmp_path / "shards" / "listed" / "dataset.json").read_bytes())
    assert {"brightness.npy", "visual.npy", "motion.npy"} < dataset["fields"].keys()
    stream = {"hop": 32, "shape": [1378], "size": 256, "suffix": "mean.npy"}
    assert dataset["codecs"]["steps-1"]["streams"] == {"mean": stream}
    assert run("pipeline", "verify", "--shards", "shards/listed").endswith("complete and valid\n")

    data = ("--shards", "shards/listed")
    train = ("model", "train", *data, "--family", "classifier", "--preset", "tiny", "--out", "run")
    run(*train)
    run(*train, "--resume", "--set", "max_steps=6")
    assert "family     classifier" in run("model", "info", "--run", "run")
    run("model", "generate", "--run", "run", *data, "--out", "music")
    assert {path.name for path in (tmp_path / "music").glob("*.mp4")} == {"c.mp4", "d.mp4"}
    run("model", "generate", "--run", "run", "--video", "videos/a.mp4", "--out", "one")
    assert (tmp_path / "one" / "a.wav").is_file()
    said = run(
        *("model", "evaluate", "--run", "run", *data, "--embedding", "none"),
        *("--baseline", "first-second", "--measure", "loudness"),
    )
    assert "loudness, dB apart" in said and "| first second, looped |" in said
    assert "| Classifier, mean |" in said and "| ground truth |" in said
    assert "Classifier" in run("model", "evaluate", "--all", "run")
