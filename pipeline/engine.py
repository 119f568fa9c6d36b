"""Run stages over items, in this process or on Ray. The one file that knows Ray.

A stage is a callable on a list of items that returns as many, with `setup()` called once per
worker, and three attributes: `name`, `batch` (items per call) and `gpus` (per worker). Items flow
through the stages one way, in no promised order; nothing here depends on what they are.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    that dies is started again and its call repeated; when that fails too, its items end as lost.
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
        pools = [_Pool(self._connect(), stage) for stage in stages]
        try:
            yield from self._flow(pools, chain(first, source), lost)
        finally:
            for pool in pools:
                pool.close()

    def _flow(self, pools: list[_Pool], source: Iterator[Any], lost: Lost) -> Iterator[Any]:
        ray = self._ray
        waiting: list[deque] = [deque() for _ in pools]  # (item as it came in, its latest ref)
        running: dict[Any, tuple[int, Any, list]] = {}  # first ref -> stage, actor, (item, ref)s
        exhausted = False
        while True:
            for i in reversed(range(len(pools))):
                pool, queue = pools[i], waiting[i]
                room = i + 1 == len(pools) or len(waiting[i + 1]) < 2 * pools[i + 1].capacity
                while room and pool.free:
                    while i == 0 and not exhausted and len(queue) < pool.stage.batch:
                        item = next(source, source)
                        if item is source:
                            exhausted = True
                        else:
                            queue.append((item, item))
                    upstream = any(stage < i for stage, _, _ in running.values()) or any(
                        waiting[:i]
                    )
                    more = upstream or (i > 0 and not exhausted)
                    if not queue or (more and len(queue) < pool.stage.batch):
                        break
                    batch = [queue.popleft() for _ in range(min(pool.stage.batch, len(queue)))]
                    actor, refs = pool.submit([latest for _, latest in batch])
                    pairs = [(item, ref) for (item, _), ref in zip(batch, refs, strict=True)]
                    running[refs[0]] = (i, actor, pairs)
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            i, actor, pairs = running.pop(done)
            pools[i].free.append(actor)
            if i + 1 < len(pools):
                waiting[i + 1].extend(pairs)
                continue
            for item, ref in pairs:
                try:
                    yield ray.get(ref)
                except ray.exceptions.RayError as error:
                    words = str(error).strip().splitlines()
                    yield lost(item, pools[i].stage.name, words[-1] if words else repr(error))

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
            self._ray, self._owned = None, False


class _Pool:
    """The actors of one stage."""

    def __init__(self, ray: Any, stage: Stage) -> None:
        self._ray, self.stage = ray, stage
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        gpus = int(resources.get("GPU", 0))
        count = max(1, int(gpus / stage.gpus)) if stage.gpus else cpus
        actor = ray.remote(_Worker).options(
            # Pools share the cores: whole ones for each would leave the last pool without any.
            num_cpus=0.25,
            num_gpus=stage.gpus,
            max_restarts=2,
            max_task_retries=2,
        )
        self.actors = [actor.remote(stage) for _ in range(count)]
        self.free = deque(self.actors * 2)  # one call running and one queued per actor
        self.capacity = count * stage.batch

    def submit(self, arguments: list[Any]) -> tuple[Any, list[Any]]:
        actor = self.free.popleft()
        refs = actor.call.options(num_returns=len(arguments)).remote(*arguments)
        return actor, refs if isinstance(refs, list) else [refs]

    def close(self) -> None:
        for actor in self.actors:
            self._ray.kill(actor)


class _Worker:
    """An actor's body: one thread per worker, one set-up, then calls."""

    def __init__(self, stage: Stage) -> None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        self._stage = stage
        stage.setup()

    def call(self, *items: Any) -> Any:
        results = self._stage(list(items))
        if len(results) != len(items):
            raise RuntimeError(f"{self._stage.name} gave {len(results)} of {len(items)} items")
        return results[0] if len(items) == 1 else tuple(results)


def make_engine(name: str, address: str | None = None) -> LocalEngine | RayEngine:
    """Return the engine by name: `local` or `ray` (a local Ray unless `address` names another)."""
    return LocalEngine() if name == "local" else RayEngine(address)
