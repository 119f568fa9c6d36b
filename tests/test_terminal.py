"""Commands print to terminals and logs of any encoding, and name files whose names are no text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import soundfile
from clips import as_listed, clicks, write
from places import ROOT

from pipeline.report.report import Report

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
SETTINGS = {
    "latin-1": {**UTF8, "PYTHONIOENCODING": "latin-1"},
    "ascii": {**UTF8, "PYTHONIOENCODING": "ascii"},
    "C": PLAIN,
    "utf-8": UTF8,
}

BUILD = ("-m", "pipeline", "build", "--dataset", "folder", "--visual", "none", "--engine", "local")


def run(setting: str, *words: str | bytes | Path) -> subprocess.CompletedProcess[bytes]:
    """Run Python under a setting of the environment."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    known |= {"PYTHONPATH": str(ROOT), **SETTINGS[setting]}
    return subprocess.run([sys.executable, *words], capture_output=True, env=known)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "good.mp4"
    write(path, Fraction(30), 70, clicks(110_000, [1000]), 44_100, "-c:a", "aac")
    return path


@pytest.mark.long
@pytest.mark.parametrize("setting", SETTINGS)
def test_names_of_any_kind_are_printed_and_written_in_any_setting(
    tmp_path: Path, clip: Path, setting: str
) -> None:
    source, out = tmp_path / "s", tmp_path / "out"
    source.mkdir()
    shutil.copy(clip, source / "good.mp4")
    for name in ("ダンス.mp4".encode(), "né.mp4".encode("latin-1")):  # the latter is no UTF-8
        shutil.copy(clip, os.fsencode(source) + b"/whole-" + name)
        with open(os.fsencode(source) + b"/cut-" + name, "wb") as file:
            file.write(clip.read_bytes()[:300])
    words = ("--source", source, "--out", out)
    done = run(setting, *BUILD, *words, "--max-failed", "1")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    codes = {row["path"]: row["code"] for row in Report.load(out).rows}
    # Where Python itself reads names as ASCII, no other is text.
    japanese = [("cut-ダンス.mp4", "undecodable"), ("whole-ダンス.mp4", "")]
    japanese = [] if setting == "C" else japanese
    assert codes.items() >= {("good.mp4", ""), ("whole-n\\xe9.mp4", "bad_name"), *japanese}
    assert len(codes) == 5 and (out / "report.html").is_file()
    printed = done.stdout.decode("latin-1" if setting == "latin-1" else "utf-8")
    assert printed.count("failed: cut-") == 2 and "cut-n\\xe9.mp4: a file name that" in printed
    for command in ("report", "verify"):
        assert run(setting, "-m", "pipeline", command, "--shards", out).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_video_of_any_name_gets_its_music_and_its_line(
    tmp_path: Path, clip: Path, setting: str
) -> None:
    code = (
        "import sys; from pathlib import Path; from model.contract.terminal import print_anything; "
        "print_anything(); from model.generation.pipeline_process import mux; "
        "out = Path(sys.argv[3]); "
        "mux(Path(sys.argv[1]), Path(sys.argv[2]), 0.0, out); print(out)"
    )
    wav = tmp_path / "music.wav"
    soundfile.write(wav, clicks(22_050, [500]), 22_050)
    for name in ("ダンス".encode(), "né".encode("latin-1")):
        video, out = os.fsencode(tmp_path / "in-") + name, os.fsencode(tmp_path / "out-") + name
        shutil.copy(clip, video + b".mp4")
        done = run(setting, "-c", code, video + b".mp4", wav, out + b".mp4")
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        assert os.path.getsize(out + b".mp4") and done.stdout.endswith(b".mp4\n")


@pytest.mark.parametrize("package", ["pipeline", "model"])
def test_help_is_printed_in_ascii(package: str) -> None:
    for words in ([], ["generate"] if package == "model" else ["publish"]):
        done = run("ascii", "-m", package, *words, "--help")
        assert done.returncode == 0 and done.stdout.isascii()


@pytest.mark.long
def test_dataset_json_does_not_depend_on_the_setting(tmp_path: Path, clip: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    shutil.copy(clip, source / as_listed("ダンス.mp4"))
    kept = []
    for setting in ("latin-1", "utf-8"):
        out = tmp_path / setting
        words = ("--source", source, "--out", out)
        assert run(setting, *BUILD, *words).returncode == 0
        kept.append(json.loads((out / "dataset.json").read_text(encoding="utf-8"))["splits"])
    assert kept[0] == kept[1]
