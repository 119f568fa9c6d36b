"""What the documents say is run: the reader of shards/README.md, and the names of commands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from builds import clip, options
from places import ROOT

from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.weights import write_weights
from pipeline.build import build
from pipeline.features.codes import extract_codes


@pytest.mark.slow
def test_the_documented_reader_needs_webdataset_alone(tmp_path):
    text = (ROOT / "shards" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    clip(tmp_path / "in" / "a.mp4")
    build(options(tmp_path / "in", tmp_path / "o", visual="i3d_r50", weights="untrained"))
    write_weights(tmp_path / "c.safetensors", random_codec().model, "small", "for tests")
    codec_id = extract_codes(tmp_path / "o", str(tmp_path / "c.safetensors"))
    code += (
        "import sys\n"
        f"for key, facts, wav, visual, high, low in segments(r'{tmp_path}/o/train-000000.tar',"
        f" r'{tmp_path}/o/codes/{codec_id}/train-000000.tar'):\n"
        "    print(key, facts['segment'], visual.shape, high.shape, low.shape)\n"
        "assert not {'pipeline', 'model'} & set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        cwd=tmp_path,
    )
    assert run.stdout.splitlines() == [
        "a_seg0001 1 (1, 2048) (344,) (1378,)",
        "a_seg0002 2 (1, 2048) (344,) (1378,)",
    ]


def test_every_make_target_and_command_named_in_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(
        re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"(?:^ +|`)make (\w+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
    for program in ("pipeline", "model"):
        page = subprocess.run(
            [sys.executable, "-m", program, "--help"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        ).stdout
        commands = set(re.findall(rf"^ +{program} ([a-z][a-z-]+)", text, re.MULTILINE))
        assert commands
        assert all(command in page for command in commands), commands


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name in ("a", "b", "c"):
        clip(tmp_path / "my_videos" / f"{name}.mp4", 4.2)
    clip(tmp_path / "dance.mp4", 6.5)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(code.replace("max_steps=100", "max_steps=2"), found)
    assert (tmp_path / "music" / "dance.mp4").is_file()
    assert "D2M-GAN, high" in found["scores"]["rows"]
    assert "untrained: visual features" in capsys.readouterr().out
