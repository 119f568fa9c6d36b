"""Several processes train one model: the same steps as one, the same end for all."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.dataset import load_dataset, save_dataset
from model.contract.kinds import D2M_GAN
from model.contract.shards import npy_bytes as npy
from model.data.source import Batch, Source
from model.data.stream import Position, TrainingStream
from model.fake_dataset import write_fake_dataset, write_tar
from model.families.d2m_gan.config import load_config
from model.runtime.checkpoint import LAST, read_checkpoint
from model.runtime.distributed import Team, own_device
from model.runtime.run_log import read_metrics
from model.training.loop import train
from model.training.state import build, measure_inputs

SMALL = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=3",
    "discriminators=1", "d_first_stride=16", "log_every=1", "checkpoint_every=1000",
    "sample_every=1000", "sample_segments=1", "max_steps=4", "shuffle_segments=4",
)  # fmt: skip
CPU = torch.device("cpu")
STARTED = multiprocessing.get_context("forkserver")
STARTED.set_forkserver_preload(
    ["model.training.loop", "torch._dynamo", "torch.utils.tensorboard",
     "matplotlib.backends.backend_agg", "matplotlib.figure"]
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Return a folder with a codec and shards of 8, 8 and 4 segments; none to validate on."""
    folder = tmp_path_factory.mktemp("world")
    untrained = random_codec(levels=("high",))
    weights = folder / "codec.safetensors"
    write_weights(weights, untrained.model, "random", untrained.note)
    codec = load_codec(weights, ("high",))
    write_fake_dataset(
        folder / "shards", codec, str(weights), {"train": 4}, segments=5, motion=(30, 75)
    )
    return folder


def source_of(world: Path) -> Source:
    dataset = load_dataset(world / "shards")
    (codec_id,) = dataset.codecs
    return Source(world / "shards", dataset, "train", codec_id, {"high": 2048})


def arguments(shards: Path, run: Path, *more: str) -> list[str]:
    settings = [part for setting in (*SMALL, *more) for part in ("--set", setting)]
    return ["train", "--shards", str(shards), "--preset", "tiny", "--out", str(run),
            "--device", "cpu", *settings]  # fmt: skip


def process(rank: int, size: int, port: int, folder: Path, argv: list[str]) -> None:
    """Be one of `size` processes that run a command of `model`; write its output to files."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT), number)
    main(argv)


def start(folder: Path, argv: list[str], size: int = 2) -> list:
    """Start processes as torchrun would, from one that has imported torch already."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        STARTED.Process(target=process, args=(rank, size, port, folder, argv))
        for rank in range(size)
    ]
    for one in started:
        one.start()
    return started


def codes_of(started: Sequence) -> list[int]:
    for one in started:
        one.join(180)
    return [one.exitcode for one in started]


def errors_of(folder: Path) -> list[str]:
    return [(folder / f"{rank}.err").read_text(encoding="utf-8") for rank in range(2)]


def interleaved(a: Batch, b: Batch) -> Batch:
    """Return the batch of twice the size: the first of each, the second of each, …"""

    def mixed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, y], 1).flatten(0, 1)

    keys = [key for pair in zip(a.keys, b.keys, strict=True) for key in pair]
    codes = {level: mixed(a.codes[level], b.codes[level]) for level in a.codes}
    inputs = {name: mixed(a.inputs[name], b.inputs[name]) for name in a.inputs}
    return Batch(keys, mixed(a.audio, b.audio), codes, inputs)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_the_doubled_batch(world, tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "model", *arguments(world / "shards", tmp_path / "two")],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, encoding="utf-8", errors="replace", timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "3 batches of 3 for each of 2 processes" in run.stdout
    assert run.stdout.count("step 4/4") == 1
    two = read_checkpoint(tmp_path / "two" / LAST)
    assert two["position"] == {"epoch": 1, "batch": 1}

    source, config = source_of(world), load_config("tiny", None, [*SMALL, "batch_size=6"])
    config = replace(config, audio_items=2)  # the tiny preset hears one of each process' batch
    codec = load_codec(world / "codec.safetensors", ("high",))
    state = build(D2M_GAN, config, source.dataset, codec, CPU)
    first = build(D2M_GAN, config, source.dataset, codec, CPU)
    measure_inputs(state, source)
    parts = [iter(TrainingStream(source, 3, 0, 4, Position(), rank, 2)) for rank in range(2)]
    totals = [
        state.model.step(interleaved(*map(next, parts)))["loss/total"].item() for _ in range(4)
    ]

    logged = [row["loss/total"] for row in read_metrics(tmp_path / "two")]
    assert logged == pytest.approx(totals, rel=1e-4)
    for before, one, other in (
        (first.model.network, state.model.network, two["network"]),
        (first.model.adversary.network, state.model.adversary.network, two["adversary"]["network"]),
    ):
        held, was = one.state_dict(), before.state_dict()
        learnt = [name for name in held if "standardise" not in name]
        moved = sum((held[name] - was[name]).abs().sum() for name in learnt)
        apart = sum((held[name] - other[name]).abs().sum() for name in held)
        # Adam turns rounding into whole steps where a gradient is almost nothing.
        assert 0 < apart < 2e-3 * moved


@pytest.mark.slow
def test_resume_of_two_processes_gives_the_same_bits(world, tmp_path):
    """Each has noise of its own, and goes on with it."""
    noisy = ("noise_channels=2",)
    for run, steps, more in (("whole", 4, []), ("cut", 2, []), ("cut", 4, ["--resume"])):
        argv = arguments(world / "shards", tmp_path / run, *noisy, f"max_steps={steps}")
        assert codes_of(start(tmp_path / f"{run}{steps}", [*argv, *more])) == [0, 0]
    whole, cut = (read_checkpoint(tmp_path / run / LAST) for run in ("whole", "cut"))
    assert whole["position"] == cut["position"]
    for part in ("network", "adversary"):
        ours, theirs = (c[part].get("network", c[part]) for c in (whole, cut))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for a, b in zip(*(c["rng"]["peers"] for c in (whole, cut)), strict=True):
        assert torch.equal(a["cpu"], b["cpu"])
    assert not torch.equal(whole["rng"]["cpu"], whole["rng"]["peers"][0]["cpu"])

    config = load_config("tiny", None, [*SMALL, *noisy])
    with pytest.raises(
        ValueError, match=r"by 2 processes, but this is a run of 1.*--nproc-per-node 2"
    ):
        train(world / "shards", tmp_path / "whole", config, resume=True)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step(world, tmp_path):
    run = tmp_path / "run"
    started = start(tmp_path, arguments(world / "shards", run, "max_steps=100000"))
    while not read_metrics(run) and all(one.is_alive() for one in started):
        time.sleep(0.1)
    for _ in range(2):  # torchrun passes on what its whole group was sent already
        os.kill(started[1].pid, signal.SIGTERM)
    assert codes_of(started) == [130, 130]
    errors = errors_of(tmp_path)
    assert "go on with --resume" in errors[0]
    assert errors[1] == ""
    content = read_checkpoint(run / LAST)
    assert content["step"] == read_metrics(run)[-1]["step"] >= 1
    assert Position(**content["position"]) == Position(*divmod(content["step"], 3))


def damage(world: Path, root: Path, suffix: str, data: bytes) -> str:
    """Write the shards again, one member replaced; return its key: process 1 meets it first."""
    dataset = write_fake_dataset(
        root, load_codec(world / "codec.safetensors", ("high",)),
        str(world / "codec.safetensors"), {"train": 4}, segments=5, motion=(30, 75),
    )  # fmt: skip
    source = replace(source_of(world), root=root, dataset=dataset)
    firsts = [next(iter(TrainingStream(source, 3, 0, 4, Position(), r, 2))) for r in range(2)]
    key = firsts[1].keys[2]
    shards = dataset.splits["train"]
    for i, shard in enumerate(shards):
        with tarfile.open(root / shard.name) as tar:
            members = [(info.name, tar.extractfile(info).read()) for info in tar]
        named = [(n, data if n == f"{key}.{suffix}" else d) for n, d in members]
        shards[i] = write_tar(root / shard.name, named, shard.segments)
    save_dataset(root, dataset)
    return key


@pytest.mark.long
@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [
        pytest.param("wav", b"RIFF", "not a PCM wav", marks=pytest.mark.slow),
        ("motion.npy", npy(np.full((60, 75), 3e38, np.float32)), "step 1: a loss is not finite"),
    ],
    ids=["damaged", "not finite"],
)
def test_what_is_wrong_in_one_process_stops_all_and_is_said_once(
    world, tmp_path, suffix, data, message
):
    key = damage(world, tmp_path / "shards", suffix, data)
    settings = ("normalise_inputs=false", "log_every=2")
    argv = arguments(tmp_path / "shards", tmp_path / "run", *settings)
    assert codes_of(start(tmp_path, argv)) == [1, 1]
    errors = errors_of(tmp_path)
    assert errors[0] == ""
    assert errors[1].startswith("error: ")
    assert message in errors[1]
    assert key in errors[1]
    assert errors[1].count("\n") == 1
    assert not (tmp_path / "run" / LAST).exists()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_parts_of_an_epoch_are_equal_and_share_no_segment(world, processes):
    source = source_of(world)
    found = []
    for rank in range(processes):
        stream = TrainingStream(source, 3, 0, 4, Position(), rank, processes)
        batches = [batch.keys for batch, _ in zip(stream, range(20 // processes // 3))]  # noqa: B905
        assert len(batches) == stream.batches_per_epoch
        found += [key for keys in batches for key in keys]
        assert stream.left_out == 20 - processes * 3 * stream.batches_per_epoch
    assert len(found) == len(set(found)) == processes * 3 * (20 // processes // 3)


def test_a_process_opens_only_the_shards_of_its_part(world):
    source, opened = source_of(world), []
    raw = Source.raw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "raw", lambda s, n, w: opened.append(n) or raw(s, n, w))
        for rank in range(2):
            stream = TrainingStream(source, 5, 0, 4, Position(), rank, 2)
            shards, _ = stream.passes[0].plan(0)
            batches = iter(stream)
            for _ in range(2):
                next(batches)
            opened.append("|")
    sizes = [source.dataset.splits["train"][shard].segments for shard in shards]
    assert sizes[0] in (4, 8)
    cut = opened.index("|")
    assert opened[:cut] == list(shards[: 2 if sizes[0] == 8 or sizes[1] == 8 else 3])
    assert opened[cut + 1 : -1] == list(shards[1:])


def test_more_processes_than_shards_are_refused_with_the_numbers(world):
    message = r"4 processes, but split train has 3 shards.*at most 3"
    with pytest.raises(ValueError, match=message):
        TrainingStream(source_of(world), 2, 0, 4, Position(), 0, 4)
    with pytest.raises(ValueError, match=r"20 segments, 6 for each of 3 .*--set batch_size=6"):
        TrainingStream(source_of(world), 7, 0, 4, Position(), 0, 3)


def test_one_process_is_a_team_that_changes_nothing():
    team = Team()
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 1.0)
    team.average_gradients(optimiser)
    before = torch.get_rng_state()
    team.seed_noise(0)
    assert torch.equal(before, torch.get_rng_state())
    assert not optimiser._optimizer_step_pre_hooks
    assert (team.any(True), team.any(False), team.min(3), team.gather("a")) == (
        True, False, 3, ["a"],
    )  # fmt: skip
    assert team.mean({"a": 1.0}) == {"a": 1.0}
    with pytest.raises(KeyError), team.all_or_none():
        raise KeyError


def test_a_process_without_a_gpu_is_told_how_many_there_are(monkeypatch):
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "3"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"process 3 .* finds 2 here.*--nproc-per-node 2"):
        own_device(torch.device("cuda"))
    assert own_device(CPU) == CPU
