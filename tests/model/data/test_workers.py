"""Workers of the shard stream: the same batches, and words where one dies, hangs or leaves."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from streams import keys_of, members, rewrite, source_of, stream_of, tensors_of

from model.contract.segment import MOTION, VISUAL
from model.data.stream import Position, training_batches
from model.data.workers import in_turn


def test_workers_do_not_change_the_order(root, codec):
    source = source_of(root, codec)
    start = Position(0, 1)
    assert keys_of(stream_of(source, start), 5) == keys_of(stream_of(source, start), 5, workers=2)


def test_an_error_in_a_worker_arrives_as_itself(root, codec):
    path = root / "train-000001.tar"
    rewrite(path, [m for m in members(path) if m[0] != "train1_seg0004.wav"])
    with pytest.raises(ValueError, match=r"train1_seg0004.wav is missing") as caught:
        keys_of(stream_of(source_of(root, codec)), 6, workers=1)
    assert "\n" not in str(caught.value)


def test_batches_of_workers_take_no_shared_memory_and_can_be_written_to(root, codec):
    with closing(training_batches(stream_of(source_of(root, codec)), 1, False)) as batches:
        (ours, theirs) = next(iter(stream_of(source_of(root, codec)))), next(batches)
    assert theirs.keys == ours.keys
    assert ours.codes.keys() == theirs.codes.keys() and [*ours.inputs] == [MOTION, VISUAL]
    for tensor, other in zip(tensors_of(theirs), tensors_of(ours), strict=True):
        assert torch.equal(tensor, other) and tensor.dtype == other.dtype
        assert not tensor.is_shared()
        tensor.zero_()


@pytest.fixture
def quit_kills():
    """Let SIGQUIT end the workers: a shell's background job would ignore it."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGQUIT, before)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, r"worker 1 \(process \d+\), .* killed \(SIGKILL\), .* memory .* --resume"),
        (signal.SIGQUIT, r"worker 1 .* was ended by SIGQUIT; .* --set workers=0"),
    ],
)
def test_a_worker_that_dies_ends_the_run_with_words(root, codec, number, words, quit_kills):
    with closing(training_batches(stream_of(source_of(root, codec)), 2, False)) as batches:
        next(batches)
        (victim,) = (p for p in multiprocessing.active_children() if p.name == "worker 1")
        os.kill(victim.pid, number)
        with pytest.raises(OSError, match=words):
            for _ in batches:
                pass
    assert not multiprocessing.active_children()


def test_a_worker_that_hangs_ends_the_run_with_words(root, codec, monkeypatch):
    monkeypatch.setattr("model.data.workers.TICK_S", 0.1)
    stream = stream_of(source_of(root, codec))
    with closing(training_batches(stream, 1, False, timeout_s=1.0)) as batches:
        next(batches)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGSTOP)
        words = (
            rf"worker 0 \(process {worker.pid}\), .* no batch for 1 s and .* worker_timeout_s=600"
        )
        with pytest.raises(OSError, match=words):
            for _ in batches:
                pass
    assert not multiprocessing.active_children()


def labouring(turn: int, turns: int) -> Iterator[int]:
    while time.process_time() < 3.0:
        pass
    yield turn


@pytest.mark.long
def test_a_worker_that_is_slow_but_at_work_is_waited_for(monkeypatch):
    monkeypatch.setattr("model.data.workers.TICK_S", 0.1)
    with closing(in_turn(labouring, 1, 1.0)) as items:
        assert next(items) == 0


def leaving(turn: int, turns: int) -> Iterator[int]:
    yield turn
    os._exit(7)


def test_a_worker_that_just_leaves_is_told_by_its_code():
    items = in_turn(leaving, 2, 60.0)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(OSError, match=r"worker 0 .* ended with code 7; see its messages above"):
        next(items)


@pytest.mark.long
def test_workers_end_with_the_process_that_started_them():
    script = (
        "import itertools, multiprocessing, os, signal\n"
        "from model.data.workers import in_turn\n"
        "def make(turn, turns): return itertools.repeat(turn)\n"
        "items = in_turn(make, 2, 0)\n"
        "next(items)\n"
        "print(*[p.pid for p in multiprocessing.active_children()], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, encoding="utf-8"
    ) as run:
        # Its end is read only when the workers, which hold the pipe too, are gone.
        pids = run.stdout.read().split()
    assert len(pids) == 2
    assert run.returncode == -signal.SIGKILL
