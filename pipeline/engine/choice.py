"""Choose the engine: in this process, on Ray, or whichever serves the work at hand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain, islice
from typing import Any

from model.contract.exit_codes import UsageError
from pipeline.engine.base import Engine, LocalEngine, Lost, Stage
from pipeline.engine.ray import ADDRESS, RayEngine
from pipeline.engine.timing import StageTime

FEW, FEW_BYTES = 4, 20_000_000
"""At most so many videos, of so many bytes together, run in this process: some ten seconds each.

Ray takes about as long to start as one process takes for them (benchmarks/README.md).
"""


class AutoEngine:
    """Runs little work in this process, and everything else on Ray, which starts when needed.

    Little is a single item, or a few short videos: `bytes` of an item is the size of its file.
    Once Ray is there, all work runs on it.
    """

    one_process = False  # not known before the work

    def __init__(self) -> None:
        self._local, self._ray = LocalEngine(), RayEngine()

    @property
    def times(self) -> list[StageTime]:
        """How long each stage of each run took: those in this process first."""
        return self._local.times + self._ray.times

    def run(
        self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost
    ) -> Generator[Any, None, None]:
        """Yield the result of the last stage for each item; see the two engines."""
        source = iter(items)
        first = list(islice(source, FEW + 1))
        size = sum(getattr(each, "bytes", FEW_BYTES) for each in first)
        little = len(first) <= 1 or (len(first) <= FEW and size <= FEW_BYTES)
        engine: Engine = self._local if little and not self._ray.started else self._ray
        yield from engine.run(stages, chain(first, source), lost)

    def close(self) -> None:
        """Stop Ray, if it was started."""
        self._ray.close()


def check_engine(name: str, address: str | None = None) -> None:
    """Raise UsageError for an invalid address, or an address with the local engine."""
    if name == "local" and address:
        raise UsageError(f"--address {address} goes with --engine ray")
    if address and not ADDRESS.fullmatch(address):
        raise UsageError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")


def make_engine(
    name: str, address: str | None = None, check: Callable[[bool], str] | None = None
) -> Engine:
    """Return the engine `local`, `ray` or `auto`.

    `ray` joins the cluster at `address`, or starts one. With an address, `auto` is `ray`. `check`
    is called on each node of a cluster that it joins (see RayEngine).
    """
    check_engine(name, address)
    if name == "auto" and not address:
        return AutoEngine()
    return LocalEngine() if name == "local" else RayEngine(address, check)
