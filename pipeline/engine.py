"""Run stages over items, in this process or on Ray. The one file that knows Ray.

A stage is a callable on a list of items that returns as many, with `setup()` called once per
worker, and three attributes: `name`, `batch` (items per call) and `gpus` (wanted per worker where
there are any). Items flow
through the stages one way, in no promised order; nothing here depends on what they are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol


class Stage(Protocol):
    """What an engine schedules."""

    name: str
    batch: int
    gpus: float

    def setup(self) -> None: ...

    def __call__(self, items: list[Any]) -> list[Any]: ...


Lost = Callable[[Any, str, str], Any]
"""Make the item that stands for `item`, lost in stage `name` by an error with these words."""


class LocalEngine:
    """Every stage in this process, one after the other."""

    def run(self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost) -> Iterator[Any]:
        if not stages:
            yield from items
            return
        ready = False
        source = iter(items)
        while group := list(islice(source, max(stage.batch for stage in stages))):
            for stage in stages:
                if not ready:
                    stage.setup()
                done: list[Any] = []
                for start in range(0, len(group), stage.batch):
                    done += stage(group[start : start + stage.batch])
                group = done
            ready = True
            yield from group

    def close(self) -> None:
        """Nothing to give back."""


class RayEngine:
    """Every stage as a pool of Ray actors, one load of its model per actor.

    Results of one stage stay in Ray's object store until the next takes them; a stage does not
    start work that the next has no room for, so memory is bounded by what is in flight. A worker
    that dies is started again and its call repeated; when that fails too, each item of the call has
    a last try alone, and one that kills its worker again ends as lost.
    """

    def __init__(self, address: str | None = None) -> None:
        self._address, self._ray, self._owned = address, None, False

    def _connect(self) -> Any:
        """Return Ray, started or joined at the first work there is."""
        if self._ray is None:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            import ray

            self._ray, self._owned = ray, not ray.is_initialized()
            if self._owned:
                local = self._address is None
                ray.init(
                    address=self._address or "local",
                    include_dashboard=False if local else None,
                    logging_level="ERROR",
                )
        return self._ray

    def run(self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost) -> Iterator[Any]:
        source = iter(items)
        first = list(islice(source, 1))
        if not first:
            return
        users = max(1, sum(stage.gpus > 0 for stage in stages))
        pools = [_Pool(self._connect(), stage, users) for stage in stages]
        try:
            yield from self._flow(pools, chain(first, source), lost)
        finally:
            for pool in pools:
                pool.close()

    def _flow(self, pools: list[_Pool], source: Iterator[Any], lost: Lost) -> Iterator[Any]:
        ray = self._ray
        running: dict[Any, tuple[_Pool, _Call]] = {}  # by the ref that says a call has ended
        exhausted = False
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
                        p.waiting or p.again or p.running for p in before
                    )
                    call = pool.submit(wait_for_more=more)
                    if call is None:
                        break
                    running[call.ended] = (pool, call)
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            pool, call = running.pop(done)
            words = pool.finish(call)
            if words and not call.second:
                pool.again.extend(call.pairs)  # a neighbour may be to blame: each alone, once
                continue
            if words:
                yield lost(call.pairs[0][0], pool.stage.name, words)
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
                    yield lost(item, pool.stage.name, _last_words(error))

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
            self._ray, self._owned = None, False


@dataclass
class _Call:
    """One call under way: its items with the refs it was given, and the refs of what it gives.

    `second` says that its one item was in a call that failed before.
    """

    actor: Any
    pairs: list[tuple[Any, Any]]
    ended: Any
    results: list[Any]
    second: bool


class _Pool:
    """The actors of one stage, and the items that wait for them."""

    def __init__(self, ray: Any, stage: Stage, users: int) -> None:
        """`users` stages want a GPU: each gets its part of all, or the last pool would get none."""
        self._ray, self.stage = ray, stage
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        gpus = stage.gpus if resources.get("GPU", 0) else 0
        count = max(1, int(resources["GPU"] / gpus)) if gpus else cpus
        actor = ray.remote(_Worker).options(
            # Pools share the cores: whole ones for each would leave the last pool without any.
            num_cpus=0.25,
            num_gpus=gpus / users,
            max_restarts=-1,
            max_task_retries=2,
        )
        self.actors = [actor.remote(stage) for _ in range(count)]
        self.free = deque(self.actors * 2)  # one call running and one queued per actor
        self.capacity = count * stage.batch
        self.waiting: deque[tuple[Any, Any]] = deque()  # item as it came in, its latest ref
        self.again: deque[tuple[Any, Any]] = deque()  # the same, for a second chance alone
        self.running = 0
        self.retrying = False

    def submit(self, wait_for_more: bool) -> _Call | None:
        """Start a call on a full batch, or on what there is if no more will come."""
        if self.again and not self.retrying:
            self.retrying = True  # one at a time: none shares an actor with the one to blame
            pairs, second = [self.again.popleft()], True
        elif not self.waiting or (wait_for_more and len(self.waiting) < self.stage.batch):
            return None
        else:
            count = min(self.stage.batch, len(self.waiting))
            pairs, second = [self.waiting.popleft() for _ in range(count)], False
        actor = self.free.popleft()
        given = [latest for _, latest in pairs]
        ended, *results = actor.call.options(num_returns=1 + len(given)).remote(*given)
        self.running += 1
        return _Call(actor, pairs, ended, results, second)

    def finish(self, call: _Call) -> str:
        """Take the actor back; return why the call failed, "" if it did not."""
        self.free.append(call.actor)
        self.running -= 1
        self.retrying = self.retrying and not call.second
        try:
            self._ray.get(call.ended)
        except self._ray.exceptions.RayError as error:
            return _last_words(error)
        return ""

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)


def _last_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)


class _Worker:
    """An actor's body: one thread per worker, one set-up, then calls."""

    def __init__(self, stage: Stage) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        self._stage = stage
        stage.setup()

    def call(self, *items: Any) -> Any:
        """Return a mark that the call ended well, small enough to look at, and the results."""
        results = self._stage(list(items))
        if len(results) != len(items):
            raise RuntimeError(f"{self._stage.name} gave {len(results)} of {len(items)} items")
        return (None, *results)


def make_engine(name: str, address: str | None = None) -> LocalEngine | RayEngine:
    """Return the engine by name: `local` or `ray` (a local Ray unless `address` names another)."""
    return LocalEngine() if name == "local" else RayEngine(address)
