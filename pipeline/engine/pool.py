"""The Ray actors of one stage, and the items that wait for them. Ray itself is handed in."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from model.contract.terminal import print_anything
from pipeline.engine.base import Stage, timed_call
from pipeline.engine.timing import StageTime

GRACE_S = 60.0
"""A worker stops an item by itself when its time is over; so much later it is killed."""


@dataclass(eq=False)
class Worker:
    """An actor with its calls, the one it works on first, and since when it has been on that."""

    actor: Any
    ready: Any  # the ref that says it is set up
    calls: deque[Call]
    node_id: str | None  # the node it was meant for
    since_s: float = 0.0


@dataclass(eq=False)
class Call:
    """One call under way: its items with the refs it was given, and the refs of what it gives.

    `is_retry` says that its one item was in a call that failed before, `hung` that its worker was
    killed for it.
    """

    worker: Worker
    pairs: list[tuple[Any, Any]]
    ended: Any
    results: list[Any]
    is_retry: bool
    hung: bool = False


class Pool:
    """The actors of one stage, and the items that wait for them."""

    def __init__(self, ray: Any, stage: Stage, users: int) -> None:
        """`users` stages want a GPU: each gets its part of all, or the last pool would get none."""
        self._ray, self.stage = ray, stage
        resources = ray.cluster_resources()
        gpus = stage.gpus if resources.get("GPU", 0) else 0
        self._options = {
            # Pools share the cores: whole ones for each would leave the last pool without any.
            # A worker with a GPU asks for nothing else, so that no other keeps it out.
            "num_cpus": 0 if gpus else 0.25,
            "num_gpus": gpus / users,
            "max_restarts": -1,
            "max_task_retries": 2,
        }
        node_ids = [None] * max(1, int(resources["GPU"] / gpus)) if gpus else cores_of(ray)
        self.workers = [self._start_worker(node_id) for node_id in node_ids]
        self.free = deque(self.workers * 2)  # one call running and one queued per actor
        self.capacity = len(node_ids) * stage.batch
        self.waiting: deque[tuple[Any, Any]] = deque()  # item as it came in, its latest ref
        self.retries: deque[tuple[Any, Any]] = deque()  # the same, for a second chance alone
        self.running = 0
        self.retrying = False
        self.time = StageTime(stage.name, len(self.workers))

    def submit(self, wait_for_more: bool) -> Call | None:
        """Start a call on a full batch, or on what there is if no more will come."""
        if self.retries and not self.retrying:
            worker = next((worker for worker in self.free if self.free.count(worker) == 2), None)
            if worker is None:
                return None  # one actor becomes free first
            self.retrying = True  # one at a time, on an actor of its own: none pays for another
            self.free.remove(worker)
            pairs, is_retry = [self.retries.popleft()], True
        elif not self.waiting or (wait_for_more and len(self.waiting) < self.stage.batch):
            return None
        else:
            count = min(self.stage.batch, len(self.waiting))
            pairs, is_retry = [self.waiting.popleft() for _ in range(count)], False
            worker = self.free[0]
        self.free.remove(worker)
        given = [latest for _, latest in pairs]
        ended, *results = worker.actor.call.options(num_returns=1 + len(given)).remote(*given)
        self.running += 1
        call = Call(worker, pairs, ended, results, is_retry)
        if not worker.calls:
            worker.since_s = time.monotonic()
        worker.calls.append(call)
        return call

    def finish(self, call: Call) -> str:
        """Take the actor back; return why the call failed, "" if it did not."""
        worker = call.worker
        worker.calls.remove(call)
        worker.since_s = time.monotonic()
        if worker in self.workers:
            self.free.extend([worker] * (2 if call.is_retry else 1))
        self.running -= 1
        self.retrying = self.retrying and not call.is_retry
        try:
            self.time.add(len(call.pairs), *self._ray.get(call.ended))
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayActorError) and worker in self.workers:
                # Where its node has died Ray may not know yet; a new actor waits until it does.
                self._replace(worker)
            return last_words(error)
        return ""

    def _replace(self, worker: Worker) -> None:
        """Kill an actor and start another in its place."""
        self._ray.kill(worker.actor)
        new = self._start_worker(worker.node_id)
        self.workers[self.workers.index(worker)] = new
        self.free = deque(s for s in self.free if s is not worker)
        self.free.extend([new] * 2)

    def kill_hung(self) -> None:
        """Kill, and replace, the workers that are long past their item's limit."""
        if not self.stage.limit_s:
            return
        now_s = time.monotonic()
        for worker in list(self.workers):
            if worker.calls and not self._ray.wait([worker.ready], timeout=0)[0]:
                worker.since_s = now_s  # it waits for a place in the cluster, or loads a model
            limit_s = self.stage.limit_s * len(worker.calls[0].pairs) if worker.calls else 0.0
            if not worker.calls or now_s - worker.since_s < limit_s + GRACE_S:
                continue
            worker.calls[0].hung = True
            self._replace(worker)

    def close(self) -> None:
        if self._ray.is_initialized():  # not where its node has died
            for worker in self.workers:
                self._ray.kill(worker.actor)

    def _start_worker(self, node_id: str | None) -> Worker:
        """Start an actor on a node, on another where that one has died; None: wherever fits."""
        where = "DEFAULT"
        if node_id is not None:
            strategies = self._ray.util.scheduling_strategies
            where = strategies.NodeAffinitySchedulingStrategy(node_id, soft=True)
        options = self._options | {"scheduling_strategy": where}
        actor = self._ray.remote(Runner).options(**options).remote(self.stage)
        return Worker(actor, actor.ready.remote(), deque(), node_id)


class Runner:
    """An actor's body: one thread per worker, one set-up, then calls."""

    def __init__(self, stage: Stage) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        print_anything()
        self._stage = stage
        self._setup_s = timed_call(stage.setup)[1]

    def ready(self) -> None:
        """Return once the worker is set up."""

    def call(self, *items: Any) -> Any:
        """Return a mark that the call ended well, small enough to look at, and the results.

        The mark is what the call took: seconds of set-up (in the first call), and of work.
        """
        results, busy_s = timed_call(partial(self._stage, list(items)))
        if len(results) != len(items):
            raise RuntimeError(f"{self._stage.name} gave {len(results)} of {len(items)} items")
        setup_s, self._setup_s = self._setup_s, 0.0
        return ((setup_s, busy_s), *results)


def cores_of(ray: Any) -> list[str | None]:
    """Return the node of each core, node by node in turn.

    So many small actors Ray would all put on one node, and start with the next at its half.
    """
    ends = [node for node in ray.nodes() if node["Alive"]]
    cores = [[node["NodeID"]] * int(node["Resources"].get("CPU", 0)) for node in ends]
    return [node_id for turn in zip_longest(*cores) for node_id in turn if node_id] or [None]


def last_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
