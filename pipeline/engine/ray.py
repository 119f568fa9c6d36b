"""Run stages over items, in this process or on Ray. The one file that knows Ray.

A stage is a callable on a list of items that returns as many, with `setup()` called once per
worker, and four attributes: `name`, `batch` (items per call), `gpus` (wanted per worker where there
are any) and `limit_s` (seconds for one item, after which its worker is taken for hung; 0: never).
Items flow through the stages one way, in no promised order; nothing here depends on what they are.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from model.contract.exit_codes import UsageError
from model.contract.terminal import print_anything
from pipeline.engine.base import LocalEngine, Lost, Stage, _seconds
from pipeline.engine.outcome import attempt, timeout_words
from pipeline.engine.timing import StageTime, timed

GRACE_S = 60.0
"""A worker stops an item by itself when its time is over; so much later it is killed."""
CHECK_S = 5.0
SOCKET = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest name of a socket in Ray's folder: a path has room for about 100 bytes."""
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Short ones, for a folder of Ray's in place of one that cannot hold its sockets."""
ADDRESS = re.compile(r"auto|local|(ray://)?[^/\s]+:\d+")


class RayEngine:
    """Every stage as a pool of Ray actors, one load of its model per actor.

    Results of one stage stay in Ray's object store until the next takes them; a stage does not
    start work that the next has no room for, so memory is bounded by what is in flight. A worker
    that dies is started again and its call repeated; when that fails too, each item of the call has
    a last try alone, and one that kills its worker again ends as lost. A worker long past the limit
    of its item is killed: that item ends as lost, those that waited behind it go to another.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address, self._ray, self._owned = address, None, False
        self._folder: str | None = None  # made for Ray's sockets, and to be removed
        self.times: list[StageTime] = []  # of the runs so far

    def _connect(self) -> Any:
        """Return Ray, started or joined at the first work there is."""
        if self._ray is None:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            # Where its node has died, Ray would join whatever other Ray it finds on the machine.
            os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
            import ray

            self._ray, self._owned = ray, not ray.is_initialized()
            if self._owned:
                self._start()
        return self._ray

    def _start(self) -> None:
        """Start or join Ray; raise OSError where that fails: Ray itself raises anything."""
        local = self._address is None
        if local:
            # Else Ray keeps its password in the home folder: it may be full, read-only, or not be.
            if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            self._folder = _folder_for_sockets()

        def start() -> None:
            self._ray.init(
                address=self._address or "local",
                include_dashboard=False if local else None,
                logging_level="ERROR",
                runtime_env=None if local else _environment(),
                _temp_dir=self._folder,
            )

        failed = attempt("ray", start)
        if failed is not None:
            self._ray, self._owned = None, False
            self._remove_folder()
            how = "run the same command again, or use --engine local"
            raise OSError(f"Ray did not {'start' if local else 'answer'}: {failed.message}; {how}")

    def run(self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost) -> Iterator[Any]:
        """Yield, as it is ready, what the last stage gives for each item, or `lost` of the item.

        Raises OSError where Ray does not start or answer, or its node dies.
        """
        source = iter(items)
        first = list(islice(source, 1))
        if not first:
            return
        users = max(1, sum(stage.gpus > 0 for stage in stages))
        pools = [_Pool(self._connect(), stage, users) for stage in stages]
        times = [pool.time for pool in pools]
        self.times += times
        try:
            with timed(times):
                yield from self._flow(pools, chain(first, source), lost)
        finally:
            for pool in pools:
                pool.close()

    def _flow(self, pools: list[_Pool], source: Iterator[Any], lost: Lost) -> Iterator[Any]:
        ray = self._ray
        running: dict[Any, tuple[_Pool, _Call]] = {}  # by the ref that says a call has ended
        exhausted, checked_s = False, time.monotonic()
        while True:
            for i in reversed(range(len(pools))):
                pool = pools[i]
                room = i + 1 == len(pools) or len(pools[i + 1].waiting) < 2 * pools[i + 1].capacity
                while room and pool.free:
                    while i == 0 and not exhausted and len(pool.waiting) < pool.stage.batch:
                        item = next(source, source)
                        if item is source:
                            exhausted = True
                        else:
                            pool.waiting.append((item, item))
                    before = pools[:i]
                    more = (i > 0 and not exhausted) or any(
                        p.waiting or p.retries or p.running for p in before
                    )
                    call = pool.submit(wait_for_more=more)
                    if call is None:
                        break
                    running[call.ended] = (pool, call)
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1, timeout=CHECK_S, fetch_local=False)
            if time.monotonic() - checked_s > CHECK_S:
                checked_s = time.monotonic()
                if not any(node["Alive"] for node in ray.nodes()):
                    raise OSError("Ray's node has died; run the same command again")
                for pool in pools:
                    pool.kill_hung()
            if not done:
                continue
            pool, call = running.pop(done[0])
            words = pool.finish(call)
            if words and call.hung and len(call.pairs) == 1:
                message = timeout_words(pool.stage.limit_s)
                yield lost(call.pairs[0][0], pool.stage.name, "timeout", message)
                continue
            if words and not call.is_retry:
                pool.retries.extend(call.pairs)  # a neighbour may be to blame: each alone, once
                continue
            if words:
                yield lost(call.pairs[0][0], pool.stage.name, "worker_lost", words)
                continue
            following = pools[pools.index(pool) + 1 :]
            results = zip(call.pairs, call.results, strict=True)
            if following:
                following[0].waiting.extend((item, ref) for (item, _), ref in results)
                continue
            for (item, _), ref in results:
                try:
                    yield ray.get(ref)
                except ray.exceptions.RayError as error:
                    yield lost(item, pool.stage.name, "worker_lost", _last_words(error))

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
            self._ray, self._owned = None, False
            self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


@dataclass(eq=False)
class _Runner:
    """An actor with its calls, the one it works on first, and since when it has been on that."""

    actor: Any
    ready: Any  # the ref that says it is set up
    calls: deque[_Call]
    node_id: str | None  # the node it was meant for
    since_s: float = 0.0


@dataclass(eq=False)
class _Call:
    """One call under way: its items with the refs it was given, and the refs of what it gives.

    `is_retry` says that its one item was in a call that failed before, `hung` that its worker was
    killed for it.
    """

    worker: _Runner
    pairs: list[tuple[Any, Any]]
    ended: Any
    results: list[Any]
    is_retry: bool
    hung: bool = False


class _Pool:
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
        node_ids = [None] * max(1, int(resources["GPU"] / gpus)) if gpus else _cores(ray)
        self.workers = [self._start_worker(node_id) for node_id in node_ids]
        self.free = deque(self.workers * 2)  # one call running and one queued per actor
        self.capacity = len(node_ids) * stage.batch
        self.waiting: deque[tuple[Any, Any]] = deque()  # item as it came in, its latest ref
        self.retries: deque[tuple[Any, Any]] = deque()  # the same, for a second chance alone
        self.running = 0
        self.retrying = False
        self.time = StageTime(stage.name, len(self.workers))

    def submit(self, wait_for_more: bool) -> _Call | None:
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
        call = _Call(worker, pairs, ended, results, is_retry)
        if not worker.calls:
            worker.since_s = time.monotonic()
        worker.calls.append(call)
        return call

    def finish(self, call: _Call) -> str:
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
            return _last_words(error)
        return ""

    def _replace(self, worker: _Runner) -> None:
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

    def _start_worker(self, node_id: str | None) -> _Runner:
        """Start an actor on a node, on another where that one has died; None: wherever fits."""
        where = "DEFAULT"
        if node_id is not None:
            strategies = self._ray.util.scheduling_strategies
            where = strategies.NodeAffinitySchedulingStrategy(node_id, soft=True)
        options = self._options | {"scheduling_strategy": where}
        actor = self._ray.remote(_Runner).options(**options).remote(self.stage)
        return _Runner(actor, actor.ready.remote(), deque(), node_id)


def _folder_for_sockets() -> str | None:
    """Return a new, private folder where Ray's own cannot hold its sockets, None where it can.

    Ray puts them where RAY_TMPDIR or TMPDIR says: too long a path on some clusters, not there or
    not writable on others, or on a disk without sockets.

    Raises OSError, saying what to do, where no folder can hold them.
    """
    usual = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    if os.path.isabs(usual) and _holds_sockets(os.path.join(usual, "ray")):
        return None
    for place in FOLDERS:
        try:
            made = tempfile.mkdtemp(prefix="d2m-ray-", dir=place)
        except OSError:
            continue
        if _holds_sockets(made):
            return made
        os.rmdir(made)
    raise OSError(
        f"Ray did not start: neither TMPDIR ({usual}) nor {', '.join(FOLDERS)} can hold its "
        "sockets; set TMPDIR to a folder with a short path (30 letters) on a disk of this machine "
        "that you can write to, or use --engine local"
    )


def _holds_sockets(folder: str) -> bool:
    """Return whether Ray, with this as its folder, which may not be there yet, has its sockets."""
    there = folder if os.path.isdir(folder) else os.path.dirname(folder)
    try:
        with (
            tempfile.TemporaryDirectory(dir=there) as made,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            longer = len(os.fsencode(os.path.join(folder, SOCKET))) - len(os.fsencode(made)) - 1
            probe.bind(os.path.join(made, "s" * longer))
            return True
    except OSError:
        return False


def _cores(ray: Any) -> list[str | None]:
    """Return the node of each core, node by node in turn.

    So many small actors Ray would all put on one node, and start with the next at its half.
    """
    ends = [node for node in ray.nodes() if node["Alive"]]
    cores = [[node["NodeID"]] * int(node["Resources"].get("CPU", 0)) for node in ends]
    return [node_id for turn in zip_longest(*cores) for node_id in turn if node_id] or [None]


def _environment() -> dict[str, Any]:
    """Return what a joined cluster's workers get from here: this code, and where weights lie.

    What the code imports must be installed there; a copy of the code that is there is not used.
    """
    here = Path(__file__).resolve().parents[2]
    packages = [str(here / name) for name in ("pipeline", "model", "manifests")]
    variables = {name: os.environ[name] for name in ("D2M_CACHE",) if name in os.environ}
    return {"py_modules": packages, "excludes": ["__pycache__"], "env_vars": variables}


def _last_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)


class _Runner:
    """An actor's body: one thread per worker, one set-up, then calls."""

    def __init__(self, stage: Stage) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        print_anything()
        self._stage = stage
        self._setup_s = _seconds(stage.setup)[1]

    def ready(self) -> None:
        """Return once the worker is set up."""

    def call(self, *items: Any) -> Any:
        """Return a mark that the call ended well, small enough to look at, and the results.

        The mark is what the call took: seconds of set-up (in the first call), and of work.
        """
        results, busy_s = _seconds(partial(self._stage, list(items)))
        if len(results) != len(items):
            raise RuntimeError(f"{self._stage.name} gave {len(results)} of {len(items)} items")
        setup_s, self._setup_s = self._setup_s, 0.0
        return ((setup_s, busy_s), *results)


def check_engine(name: str, address: str | None = None) -> None:
    """Raise UsageError for an address that is none, or of no use to the engine asked for."""
    if name == "local" and address:
        raise UsageError(f"--address {address} goes with --engine ray")
    if address and not ADDRESS.fullmatch(address):
        raise UsageError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")


def make_engine(name: str, address: str | None = None) -> LocalEngine | RayEngine:
    """Return the engine by name: `local` or `ray` (a local Ray unless `address` names another)."""
    check_engine(name, address)
    return LocalEngine() if name == "local" else RayEngine(address)
