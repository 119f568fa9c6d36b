"""Stages of work, and the engine that runs them in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from pipeline.engine.timing import StageTime, timed

T = TypeVar("T")


class Stage(Protocol):
    """One step of the work. `pipeline/engine/ray.py` explains the attributes."""

    @property
    def name(self) -> str: ...

    @property
    def batch(self) -> int: ...

    @property
    def gpus(self) -> float: ...

    @property
    def limit_s(self) -> float: ...

    def setup(self) -> None: ...

    def __call__(self, items: list[Any]) -> list[Any]: ...


Lost = Callable[[Any, str, str, str], Any]
"""Function that returns the item which replaces a lost one.

Its arguments are the lost item, the stage's name, the outcome code (`worker_lost` or `timeout`) and
the message of the outcome.
"""


class Engine(Protocol):
    """What runs stages; `times` lists how long each stage of each run took.

    `one_process` says whether all of them run in this process.
    """

    one_process: bool

    @property
    def times(self) -> Sequence[StageTime]: ...

    def run(
        self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost
    ) -> Generator[Any, None, None]: ...

    def close(self) -> None: ...


class LocalEngine:
    """Runs every stage in this process, one after the other.

    `times` lists how long each stage of each run took.
    """

    one_process = True

    def __init__(self) -> None:
        self.times: list[StageTime] = []

    def run(
        self, stages: Sequence[Stage], items: Iterable[Any], lost: Lost
    ) -> Generator[Any, None, None]:
        """Yield the result of the last stage for each item, in order. `lost` is never called.

        Exceptions of a stage are not caught here. A stage whose items can fail must catch the
        exception and return an item that describes the failure.
        """
        if not stages:
            yield from items
            return
        ready = False
        source = iter(items)
        times = [StageTime(stage.name) for stage in stages]
        with timed(times):
            while group := list(islice(source, max(stage.batch for stage in stages))):
                if not ready:
                    self.times += times
                for stage, spent in zip(stages, times, strict=True):
                    if not ready:
                        spent.setup_s = timed_call(stage.setup)[1]
                    done: list[Any] = []
                    for start in range(0, len(group), stage.batch):
                        part = group[start : start + stage.batch]
                        results, busy_s = timed_call(partial(stage, part))
                        spent.add(len(part), 0.0, busy_s)
                        done += results
                    group = done
                ready = True
                yield from group

    def close(self) -> None:
        """Do nothing: this engine holds no resources."""


def timed_call(call: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call, and how many seconds it took."""
    started_s = time.monotonic()
    return call(), time.monotonic() - started_s
