"""Distributed training: several processes train one model, each on batches of its own.

Started by `torchrun … -m model train …`. All processes hold the same weights. Right before an
optimiser step, its gradients are averaged over the processes by one all-reduce. The step is then
equal to that of a single process on all their batches together. DistributedDataParallel is not
used: it would overlap this with the backward pass, but it must wrap every forward pass, and here
the discriminators run twice in a step, once with frozen weights. The networks are small.

Gradients are exchanged by nccl between GPUs. What the processes agree on (whether to stop, whether
one failed, what to log) is exchanged by gloo between their hosts, and never waits for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT_S = 3600
"""How long processes wait for one that validates or saves alone, in seconds."""


class PeerFailed(Exception):
    """Another process of the run failed. That process reports why; a message here is optional."""


@contextmanager
def _meeting() -> Iterator[None]:
    """Raise PeerFailed if the other processes cannot be reached: one that failed has exited."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise PeerFailed(f"another process of the run cannot be reached ({reason:.200})") from None


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees it. Process 0 reports, validates and saves.

    Every process must call the methods in the same order; otherwise they wait for each other.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Exit the block on every process, or raise PeerFailed on every one."""
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            others_failed = self.any(not succeeded)
        if others_failed:
            raise PeerFailed

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any process."""
        return self.min(0 if flag else 1) == 0

    def min(self, value: int) -> int:
        """Return the minimum of the processes' values."""
        if self.size == 1:
            return value
        held = torch.tensor(value)
        with _meeting():
            dist.all_reduce(held, dist.ReduceOp.MIN)
        return int(held)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return each value's mean over the processes; all processes give the same names."""
        if self.size == 1:
            return dict(values)
        held = torch.tensor(list(values.values()), dtype=torch.float64)
        with _meeting():
            dist.all_reduce(held)
        return dict(zip(values, (held / self.size).tolist(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """Return the processes' values (any that can be pickled), in the order of their ranks."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        with _meeting():
            dist.all_gather_object(values, value)
        return values

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Copy the values of process 0 into the tensors of all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average_gradients(self, optimiser: torch.optim.Optimizer) -> None:
        """Make every step of `optimiser` first average its gradients over the processes.

        This comes before what was registered earlier, such as the clipping of the gradient.
        """
        if self.size == 1:
            return

        def average(stepping: torch.optim.Optimizer, *_: Any) -> None:
            held = [p for group in stepping.param_groups for p in group["params"]]
            held = [p for p in held if p.grad is not None]
            flat = torch.cat([p.grad.flatten() for p in held])
            with _meeting():
                dist.all_reduce(flat)
            flat /= self.size
            for p, part in zip(held, flat.split([p.numel() for p in held]), strict=True):
                p.grad = part.view_as(p)

        hook = optimiser.register_step_pre_hook(average)
        hooks = optimiser._optimizer_step_pre_hooks
        hooks.move_to_end(hook.id, last=False)  # type: ignore[attr-defined]  # an OrderedDict

    def seed_noise(self, seed: int) -> None:
        """Seed each process differently; process 0 keeps the seed of a single-process run."""
        if not self.is_main:
            state = np.random.SeedSequence((seed, self.rank)).generate_state(1, np.uint64)
            torch.manual_seed(int(state[0]))


@contextmanager
def team_of(device: torch.device) -> Iterator[Team]:
    """Join the processes that torchrun started; without it, the team is this process alone."""
    if not launched():
        yield Team()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT_S))
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def launched() -> bool:
    """Return whether torchrun's environment variables say that there are several processes."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: for "cuda", the GPU with the process's local rank."""
    if device.type != "cuda" or device.index is not None or not launched():
        return device
    number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= count:
        raise ValueError(
            f"process {number} of this machine has no GPU: torch finds {count} here; start at most "
            f"that many: torchrun --nproc-per-node {count} -m model train …"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
