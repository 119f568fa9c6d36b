"""CMT by the commands: trained on notes of unknown steps, exported, and played."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from note_runs import small_font
from note_shards import add_toy_notes
from training_runs import command, dataset_and_codec

from model.generation.run import load_run

SMALL = ("max_steps=3", "batch_size=2", "val_every=3", "checkpoint_every=3", "sample_every=9",
         "val_segments=2", "sample_segments=1", "log_every=1", "shuffle_segments=4",
         "embeddings=8,8,8,8,8,8,8", "p_beat_width=8", "width=16", "layers=1", "heads=2",
         "wide=32", "words=48")  # fmt: skip


@pytest.mark.long
def test_a_run_is_trained_exported_and_played(tmp_path, monkeypatch, capsys):
    small_font(tmp_path, monkeypatch)
    shards, _ = dataset_and_codec(tmp_path, {"train": 2, "val": 1, "test": 1})
    add_toy_notes(shards)
    run, small, music = tmp_path / "run", tmp_path / "small", tmp_path / "music"
    given = [part for setting in SMALL for part in ("--set", setting)]
    assert command("train", "--family", "cmt", "--preset", "tiny", "--shards", shards,
                   "--out", run, *given) == 0  # fmt: skip
    assert command("export", "--run", run, "--out", small, "--note", "toy") == 0
    whole, exported = load_run(run).model, load_run(small).model
    for name, values in whole.network.statistics.named_buffers():
        assert torch.equal(values, getattr(exported.network.statistics, name)), name
    # Toy notes have four families: drums, strings of programs 8 and 16, and guitars.
    assert whole.statistics.who_plays("song", np.random.default_rng(0))[0]
    capsys.readouterr()
    assert command("generate", "--run", small, "--shards", shards, "--out", music,
                   "--set", "instruments=one") == 0  # fmt: skip
    assert "CMT: an implementation, not a reproduction; 3 steps" in capsys.readouterr().out
    rows = json.loads((music / "generated.json").read_text(encoding="utf-8"))["generated"]
    assert rows and all(row["notes"] > 0 for row in rows)
