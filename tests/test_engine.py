"""The engines: every item comes back once, whatever dies."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pytest

from pipeline.engine import RayEngine


@dataclass
class Square:
    """Squares numbers; numbers in `poison` kill the worker."""

    poison: tuple[int, ...] = ()
    name: str = "square"
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = 0.0

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, items: list[int]) -> list[int]:
        if set(items) & set(self.poison):
            os.kill(os.getpid(), signal.SIGKILL)
        return [item * item for item in items]


def lost(item: int, stage: str, code: str, words: str) -> tuple[int, str]:
    assert words and code == "worker_lost"
    return (item, stage)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("batches", [(1,), (2, 1), (1, 4), (3, 2)])
def test_all_items_flow_through_all_stages_once(engine, count, batches):
    stages = [Square(batch=batch) for batch in batches]
    found = list(engine.run(stages, range(count), lost))
    assert sorted(found) == sorted(i ** (2 ** len(batches)) for i in range(count))


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_an_item_that_kills_its_worker_is_lost_alone(_ray, first):
    stages = [Square((3,)), Square(batch=4)] if first else [Square(), Square((9,), batch=4)]
    found = list(RayEngine().run(stages, range(12), lost))
    ends = [item for item in found if isinstance(item, tuple)]
    assert ends == [(3, "square")]
    assert sorted(set(found) - set(ends)) == [i**4 for i in range(12) if i != 3]
