"""Every preset and every file of configs/ trains; the table in configs/README.md names them all."""

import re
from pathlib import Path

import pytest
from places import ROOT

from model.cli import main
from model.codecs.jukebox import random_codec, write_weights
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import PRESETS, Config, load_config
from model.runtime.run_log import read_metrics
from model.runtime.settings import to_dict

FOLDER = ROOT / "configs"
CDCD = {"cdcd-vanilla", "cdcd-step-intra", "cdcd-sample-inter"}
"""Files for the family masked, which its own tests train."""
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in CDCD)
FAST = ("d_first_stride=64", "channels=16", "min_channels=8", "batch_size=2", "val_segments=1")
SINGLE = ("batch_size=1", "val_segments=1", "sample_segments=1")
NARROW = {"high": (), "low": ("channels=64", "min_channels=16", "motion_channels=32")}
"""The high level at each preset's own size; the low one would take minutes."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Return shards by window length in seconds."""
    root = tmp_path_factory.mktemp("configs")
    codec = random_codec()
    path = root / "codec.safetensors"
    write_weights(path, codec.model, "random", "random codec: untrained")
    for window_s in ("2", "3", "4"):
        shape = {"videos": {"train": 1, "val": 1}, "segments": 3, "window_s": window_s}
        write_fake_dataset(root / window_s, codec, str(path), **shape)
    return root


def two_steps(root: Path, run: Path, level: str, more: list[str], settings: tuple[str, ...]):
    command = ["train", "--shards", str(root), "--out", str(run), "--level", level, *more]
    for setting in (*settings, "max_steps=2", "sample_every=2"):
        command += ["--set", setting]
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 0
    assert read_metrics(run)[-1]["step"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_trains_and_changes_what_it_names(file, shards, tmp_path):
    config = load_config("paper", file)
    window = f"{config.window_s or 2:g}"
    two_steps(shards / window, tmp_path, "high", ["--preset", "tiny", "--config", str(file)], FAST)
    before, after = to_dict(Config()), to_dict(config)
    changed = {key for key in before if before[key] != after[key]}
    assert len(changed) == 1 or file.stem in ("no-finetuning", "unseen")


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("level", ["high", "low"])
def test_each_preset_trains(preset, level, shards, tmp_path):
    two_steps(shards / "2", tmp_path, level, ["--preset", preset], (*SINGLE, *NARROW[level]))


def test_another_window_is_refused(shards, tmp_path, capsys):
    file = FOLDER / "window-3s.yaml"
    command = ["train", "--shards", str(shards / "2"), "--config", str(file)]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--out", str(tmp_path)])
    assert stop.value.code == 1
    assert "pipeline build --window-s 3" in capsys.readouterr().err


def test_the_table_names_every_file():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9-]+)`", text))
    assert {file.stem for file in FILES} | CDCD <= named
