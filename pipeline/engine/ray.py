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
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from model.contract.exit_codes import UsageError
from pipeline.engine.base import LocalEngine, Lost, Stage
from pipeline.engine.outcome import attempt, timeout_words
from pipeline.engine.pool import Call, Pool, last_words
from pipeline.engine.sockets import folder_for_sockets
from pipeline.engine.timing import StageTime, timed

CHECK_S = 5.0
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
        self._address, self._owned = address, False
        self._ray: Any = None  # the module, once Ray was started or joined
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
        """Yield, as it is ready, what the last stage gives for each item, or `lost` of the item.

        Raises OSError where Ray does not start or answer, or its node dies.
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
        running: dict[Any, tuple[Pool, Call]] = {}  # by the ref that says a call has ended
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
    """Return what a joined cluster's workers get from here: this code, and where weights lie.

    What the code imports must be installed there; a copy of the code that is there is not used.
    """
    here = Path(__file__).resolve().parents[2]
    packages = [str(here / name) for name in ("pipeline", "model", "manifests")]
    variables = {name: os.environ[name] for name in ("D2M_CACHE",) if name in os.environ}
    return {"py_modules": packages, "excludes": ["__pycache__"], "env_vars": variables}


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
