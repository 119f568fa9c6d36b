"""Several processes train one token model by the same steps as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT
from token_models import SMALL
from training_runs import write_codec

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.kinds import FAMILIES
from model.data.inputs import GENRE
from model.data.source import Batch, open_source
from model.data.stream import Position, TrainingStream
from model.fake_dataset import write_fake_dataset
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.run_log import read_metrics
from model.runtime.settings import load
from model.training.state import build, measure_inputs

FEW = (*SMALL, "level=high", "position_samples=1024", "max_steps=4", "log_every=1", "clip=0.1")
CERTAIN = ("dropout=0", "drop_all=0", "drop_each=0", "drop_style=0", "wrong_codes=0")
"""Without random numbers: each process draws its own."""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    weights = write_codec(folder, levels=("high",))
    codec = load_codec(weights, ("high",))
    write_fake_dataset(folder / "shards", codec, str(weights), {"train": 4}, segments=5)
    return folder


def run(world: Path, out: Path, *more: str) -> None:
    words = [part for setting in (*FEW, *more) for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "model", "train", "--family", "tokens", "--preset", "tiny", "--device", "cpu",
         "--shards", str(world / "shards"), "--out", str(out), *words],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, encoding="utf-8", errors="replace", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def joined(a: Batch, b: Batch) -> Batch:
    codes = {level: torch.cat([a.codes[level], b.codes[level]]) for level in a.codes}
    inputs = {name: torch.cat([a.inputs[name], b.inputs[name]]) for name in a.inputs}
    return Batch([*a.keys, *b.keys], torch.cat([a.audio, b.audio]), codes, inputs)


@pytest.mark.slow
def test_two_processes_take_the_clipped_steps_of_one_with_the_doubled_batch(world, tmp_path):
    run(world, tmp_path, *CERTAIN)
    two = read_checkpoint(tmp_path / LAST)
    kind, root = FAMILIES.get("tokens"), world / "shards"
    config = load(kind.Config(), [*FEW, *CERTAIN], None, "tiny", kind.PRESETS)
    dataset, codec = load_dataset(root), load_codec(world / "codec.safetensors", ("high",))
    source = open_source(root, dataset, "train", codec, ("high",))
    source = open_source(root, dataset, "train", codec, ("high",), [*source.suffixes, GENRE])
    state = build("tokens", config, dataset, codec, torch.device("cpu"))
    first = build("tokens", config, dataset, codec, torch.device("cpu"))
    measure_inputs(state, source)
    parts = [iter(TrainingStream(source, 2, 0, 4, Position(), rank, 2)) for rank in range(2)]
    logs = [state.model.step(joined(*map(next, parts))) for _ in range(4)]
    assert all(log["gradient/network"] > config.clip for log in logs)
    logged = [row["loss/total"] for row in read_metrics(tmp_path)]
    assert logged == pytest.approx([log["loss/total"].item() for log in logs], rel=1e-4)
    one, was = state.model.trained.state_dict(), first.model.trained.state_dict()
    learnt = [name for name in one if "standardise" not in name]
    moved = sum((one[name] - was[name]).abs().sum() for name in learnt)
    apart = sum((one[name] - two["trained"][name]).abs().sum() for name in one)
    assert apart < 5e-3 * moved
