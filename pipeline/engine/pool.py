"""The Ray actors of one stage, and the queue of items for them. The caller passes in Ray itself."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from model.contract.terminal import print_anything
from pipeline.engine.base import Stage, timed_call
from pipeline.engine.timing import StageTime

GRACE_S = 60.0
"""Seconds after an item's time limit until its worker is killed.

Before that, the worker can stop the item itself.
"""


@dataclass(eq=False)
class Worker:
    """An actor and its calls.

    The actor works on the first call; `since_s` is when it started that call.
    """

    actor: Any
    ready: Any  # Ray reference; available when the actor is set up
    calls: deque[Call]
    node_id: str | None  # the node that it was started for
    since_s: float = 0.0


@dataclass(eq=False)
class Call:
    """A call that is running or queued.

    `pairs` holds its items, each with the Ray reference that was passed to the actor. `results`
    holds the references to its results. `is_retry` is True for the second try of an item whose
    first call failed; such a call has only this item. `hung` is True if the worker was killed
    because this call took too long.
    """

    worker: Worker
    pairs: list[tuple[Any, Any]]
    ended: Any
    results: list[Any]
    is_retry: bool
    hung: bool = False


class Pool:
    """The actors of one stage, and the queue of items for them."""

    def __init__(self, ray: Any, stage: Stage, users: int) -> None:
        """`users` is the number of stages that want a GPU.

        Each of these stages gets an equal share of the GPUs. Otherwise the last pool would get
        none.
        """
        self._ray, self.stage = ray, stage
        resources = ray.cluster_resources()
        gpus = stage.gpus if resources.get("GPU", 0) else 0
        self._options = {
            # All pools share the cores. If each actor took a complete core, the last pool would get
            # none. A worker with a GPU asks for no core, so that no other worker can block it.
            "num_cpus": 0 if gpus else 0.25,
            "num_gpus": gpus / users,
            "max_restarts": -1,
            "max_task_retries": 2,
        }
        node_ids = [None] * max(1, int(resources["GPU"] / gpus)) if gpus else cores_of(ray)
        self.workers = [self._start_worker(node_id) for node_id in node_ids]
        self.free = deque(self.workers * 2)  # one call running and one queued per actor
        self.capacity = len(node_ids) * stage.batch
        self.waiting: deque[tuple[Any, Any]] = deque()  # (item, reference to its latest result)
        self.retries: deque[tuple[Any, Any]] = deque()  # the same, for a second try of one item
        self.running = 0
        self.retrying = False
        self.time = StageTime(stage.name, len(self.workers))

    def submit(self, wait_for_more: bool) -> Call | None:
        """Start a call and return it, or return None if there is nothing to start yet.

        A call gets a full batch. If `wait_for_more` is False, it gets whatever is in the queue.
        """
        if self.retries and not self.retrying:
            worker = next((worker for worker in self.free if self.free.count(worker) == 2), None)
            if worker is None:
                return None  # wait until one actor is completely free
            self.retrying = True  # one retry at a time, alone on its actor: it harms no other item
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
        """Make the actor free again; return why the call failed, or "" if it succeeded."""
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
                # If the node died, Ray may not know it yet. The new actor waits until Ray does.
                self._replace(worker)
            return last_words(error)
        return ""

    def _replace(self, worker: Worker) -> None:
        """Kill an actor and start another one in its place."""
        self._ray.kill(worker.actor)
        new = self._start_worker(worker.node_id)
        self.workers[self.workers.index(worker)] = new
        self.free = deque(other for other in self.free if other is not worker)
        self.free.extend([new] * 2)

    def kill_hung(self) -> None:
        """Kill and replace the workers that exceeded their item's time limit by GRACE_S."""
        if not self.stage.limit_s:
            return
        now_s = time.monotonic()
        for worker in list(self.workers):
            if worker.calls and not self._ray.wait([worker.ready], timeout=0)[0]:
                worker.since_s = now_s  # still waits for a free core or GPU, or loads a model
            limit_s = self.stage.limit_s * len(worker.calls[0].pairs) if worker.calls else 0.0
            if not worker.calls or now_s - worker.since_s < limit_s + GRACE_S:
                continue
            worker.calls[0].hung = True
            self._replace(worker)

    def close(self) -> None:
        if self._ray.is_initialized():  # False if Ray's node died
            for worker in self.workers:
                self._ray.kill(worker.actor)

    def _start_worker(self, node_id: str | None) -> Worker:
        """Start an actor on the given node, or on another node if that one died.

        If `node_id` is None, Ray chooses the node.
        """
        where = "DEFAULT"
        if node_id is not None:
            strategies = self._ray.util.scheduling_strategies
            where = strategies.NodeAffinitySchedulingStrategy(node_id, soft=True)
        options = self._options | {"scheduling_strategy": where}
        actor = self._ray.remote(Runner).options(**options).remote(self.stage)
        return Worker(actor, actor.ready.remote(), deque(), node_id)


class Runner:
    """The code inside an actor: it uses one thread, sets the stage up once, then handles calls."""

    def __init__(self, stage: Stage) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        print_anything()
        self._stage = stage
        self._setup_s = timed_call(stage.setup)[1]

    def ready(self) -> None:
        """Return when the worker is set up: an actor handles its calls in order."""

    def call(self, *items: Any) -> Any:
        """Return a small value that shows that the call succeeded, then the results.

        This value holds two times in seconds: of the set-up (0 after the first call), and of the
        work.
        """
        results, busy_s = timed_call(partial(self._stage, list(items)))
        if len(results) != len(items):
            raise RuntimeError(f"{self._stage.name} gave {len(results)} of {len(items)} items")
        setup_s, self._setup_s = self._setup_s, 0.0
        return ((setup_s, busy_s), *results)


def cores_of(ray: Any) -> list[str | None]:
    """Return the node id of each CPU core, taking the nodes in turn.

    Ray itself would put so many small actors on one node, and use the next node only when the first
    is half full.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    cores = [[node["NodeID"]] * int(node["Resources"].get("CPU", 0)) for node in nodes]
    return [node_id for turn in zip_longest(*cores) for node_id in turn if node_id] or [None]


def check_nodes(ray: Any, check: Callable[[bool], str]) -> None:
    """Call `check` on each node that works for stages; raise ValueError with what they lack.

    If any node has GPUs, these are the ones that run networks, and `check(True)` is called there
    while it holds a small part of a GPU; otherwise `check(False)` is called on all with cores.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if node["Resources"].get("GPU", 0)]
    working = with_gpu or [node for node in nodes if node["Resources"].get("CPU", 0)]
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    gpus = 0.01 if with_gpu else 0
    answers = [
        ray.remote(check)
        .options(num_cpus=0, num_gpus=gpus, scheduling_strategy=strategy(node["NodeID"], False))
        .remote(bool(with_gpu))
        for node in working
    ]
    if lacking := [answer for answer in ray.get(answers) if answer]:
        raise ValueError("; ".join(lacking))


def last_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
