"""What training and help import: not the packages of extras, which need not be installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from places import ROOT
from training_runs import dataset_and_codec, settings

EXTRAS = {"pretty_midi", "tinysoundfont", "basic_pitch", "onnxruntime", "tensorflow"}


@pytest.mark.long
def test_training_and_help_import_neither_midi_nor_transcription(tmp_path):
    root, _ = dataset_and_codec(tmp_path, {"train": 2})
    script = (
        "import sys\n"
        "from model import cli\n"
        "for words in (['--help'], ['train', '--help'], ['train', *sys.argv[1:]]):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as end: assert not end.code, words\n"
        "print('\\n', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    train = ["--shards", str(root), "--preset", "tiny", "--out", str(tmp_path / "run")]
    run = subprocess.run(
        [sys.executable, "-c", script, *train, *settings("max_steps=1")],
        capture_output=True, encoding="utf-8", errors="replace", cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "torch" in loaded and not loaded & EXTRAS
