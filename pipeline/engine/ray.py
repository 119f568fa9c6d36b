"""Run stages over items on Ray. Only this file imports Ray.

A stage is a callable that takes a list of items and returns a list of the same length. Its
`setup()` is called once per worker. It has four attributes: `name`; `batch` (items per call);
`gpus` (GPUs per worker, if the machine has any); and `limit_s` (seconds for one item, after which
the worker counts as hung; 0: no limit). Items pass through the stages in one direction, in any
order. This code does not depend on what the items are.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.engine.base import Lost, Stage
from pipeline.engine.outcome import attempt, timeout_words
from pipeline.engine.pool import Call, Pool, check_nodes, last_words
from pipeline.engine.sockets import folder_for_sockets
from pipeline.engine.timing import StageTime, timed

CHECK_S = 5.0
ADDRESS = re.compile(r"auto|local|(ray://)?[^/\s]+:\d+")


class RayEngine:
    """Runs every stage as a pool of Ray actors. Each actor loads its model once.

    The results of a stage stay in Ray's object store until the next stage takes them. A stage
    starts no work if the queue of the next stage is full, so memory use is bounded.

    If a worker dies, it is started again and its call is repeated. If that fails too, each item of
    the call is tried once more, alone. An item that kills its worker again is lost. A worker that
    exceeds the time limit of its item by GRACE_S is killed: that item is lost, and items queued
    behind it go to another worker.
    """

    one_process = False

    def __init__(
        self, address: str | None = None, check: Callable[[bool], str] | None = None
    ) -> None:
        """`check` is called on each node of the cluster at `address` that will work for stages.

        It gets whether the node has GPUs, and returns what the node lacks, "" if nothing.
        """
        self._address, self._check, self._owned = address, check, False
        self._ray: Any = None  # the module, once Ray was started or joined
        self._folder: str | None = None  # a folder created for Ray's sockets, removed at the end
        self.times: list[StageTime] = []  # of all runs so far

    @property
    def started(self) -> bool:
        """Whether Ray was started or joined."""
        return self._ray is not None

    def _connect(self) -> Any:
        """Return Ray. The first call starts it or connects to a running one."""
        if self._ray is None:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            # If Ray's node died, Ray would otherwise connect to any other Ray on this machine.
            os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
            import ray

            self._ray, self._owned = ray, not ray.is_initialized()
            if self._owned:
                self._start()
            if self._address and self._check:
                check_nodes(self._ray, self._check)
        return self._ray

    def _start(self) -> None:
        """Start Ray or connect to it; raise OSError for any exception that Ray raises."""
        local = self._address is None
        if local:
            # Else Ray writes a token to the home folder, which may be full, read-only or missing.
            if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            self._folder = folder_for_sockets()

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

    def run(
        self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost
    ) -> Generator[Any, None, None]:
        """Yield the result of the last stage for each item, or `lost(...)` for a lost item.

        The order is the order in which items are done. Raises OSError if Ray does not start or
        answer, or if its node dies, and ValueError if a node lacks what the stages need.
        """
        source = iter(items)
        first = list(islice(source, 1))
        if not first:
            return
        users = max(1, sum(stage.gpus > 0 for stage in stages))
        pools = [Pool(self._connect(), stage, users) for stage in stages]
        times = [pool.time for pool in pools]
        self.times += times
        try:
            with timed(times):
                yield from self._flow(pools, chain(first, source), lost)
        finally:
            for pool in pools:
                pool.close()

    def _flow(self, pools: list[Pool], source: Iterator[Any], lost: Lost) -> Iterator[Any]:
        ray = self._ray
        running: dict[Any, tuple[Pool, Call]] = {}  # key: the call's `ended`
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
            failure = pool.finish(call)
            if failure and call.hung and len(call.pairs) == 1:
                message = timeout_words(pool.stage.limit_s)
                yield lost(call.pairs[0][0], pool.stage.name, "timeout", message)
                continue
            if failure and not call.is_retry:
                pool.retries.extend(call.pairs)  # one bad item may be the cause: try each alone
                continue
            if failure:
                yield lost(call.pairs[0][0], pool.stage.name, "worker_lost", failure)
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
                    yield lost(item, pool.stage.name, "worker_lost", last_words(error))

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
            self._ray, self._owned = None, False
            self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _environment() -> dict[str, Any]:
    """Return what the workers of a running cluster get from here: this code and D2M_CACHE.

    The packages that the code imports must be installed there. If this project is installed there
    too, that copy is not used.
    """
    here = Path(__file__).resolve().parents[2]
    packages = [str(here / name) for name in ("pipeline", "model", "manifests")]
    variables = {name: os.environ[name] for name in ("D2M_CACHE",) if name in os.environ}
    return {"py_modules": packages, "excludes": ["__pycache__"], "env_vars": variables}
