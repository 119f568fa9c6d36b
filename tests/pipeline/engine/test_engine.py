"""The engines: every item comes back once, whatever dies."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import pytest
from stages import Square, lost

import pipeline.engine.pool
import pipeline.engine.ray
from model.contract.exit_codes import UsageError
from pipeline.engine.base import LocalEngine
from pipeline.engine.choice import FEW, FEW_BYTES, AutoEngine, make_engine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.ray import RayEngine
from pipeline.engine.time_limit import TimeLimit, time_limit
from pipeline.engine.timing import StageTime


def flow(engine: LocalEngine | RayEngine, count: int, batches: tuple[int, ...]) -> None:
    """Run `count` items through a stage for each batch size, and check what comes out."""
    stages = [Square(batch=batch) for batch in batches]
    found = list(engine.run(stages, range(count), lost))
    assert sorted(found) == sorted(i ** (2 ** len(batches)) for i in range(count))


@pytest.mark.parametrize(("count", "batches"), [(0, (1,)), (9, (3, 2))])
def test_all_items_flow_through_all_stages_once(engine, count, batches):
    flow(engine, count, batches)


@dataclass(frozen=True)
class Video:
    """An item with the size of its file."""

    bytes: int


class Bypass:
    """An engine that notes which items it was given."""

    started = False

    def __init__(self) -> None:
        self.given: list[int] = []
        self.times: list[StageTime] = []

    def run(self, stages, items, lost):
        items = list(items)
        self.given.append(len(items))
        self.started = True
        yield from items


@pytest.mark.parametrize(
    ("items", "local"),
    [
        ([], True), ([7], True), ([7, 8], False), ([Video(10**12)], True),
        ([Video(1000)] * FEW, True), ([Video(1000)] * (FEW + 1), False),
        ([Video(FEW_BYTES)] * 2, False),
    ],
)  # fmt: skip
def test_a_few_short_videos_start_no_ray(items, local, monkeypatch):
    auto, here, on_ray = AutoEngine(), Bypass(), Bypass()
    monkeypatch.setattr(auto, "_local", here)
    monkeypatch.setattr(auto, "_ray", on_ray)
    assert list(auto.run([Square()], iter(items), lost)) == items
    assert (here.given, on_ray.given) == (([len(items)], []) if local else ([], [len(items)]))


def test_work_follows_to_ray_once_it_is_there(monkeypatch):
    auto, here, on_ray = AutoEngine(), Bypass(), Bypass()
    monkeypatch.setattr(auto, "_local", here)
    monkeypatch.setattr(auto, "_ray", on_ray)
    for count in (1, 9, 1):
        assert list(auto.run([Square()], range(count), lost)) == [*range(count)]
    assert (here.given, on_ray.given) == ([1], [9, 1])


def test_an_address_is_for_ray(monkeypatch):
    assert isinstance(make_engine("auto"), AutoEngine)
    assert isinstance(make_engine("auto", "ray://head:10001"), RayEngine)
    assert isinstance(make_engine("local"), LocalEngine)
    with pytest.raises(UsageError, match="goes with --engine ray"):
        make_engine("local", "auto")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("batches", [(2, 1), (1, 4)])
def test_any_number_of_items_fills_any_batches(engine, count, batches):
    flow(engine, count, batches)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_an_item_that_kills_its_worker_is_lost_alone(_ray, first):
    stages = [Square((3,)), Square(batch=4)] if first else [Square(), Square((9,), batch=4)]
    found = list(RayEngine().run(stages, range(12), lost))
    ends = [item for item in found if isinstance(item, tuple)]
    assert ends == [(3, "square")]
    assert sorted(set(found) - set(ends)) == [i**4 for i in range(12) if i != 3]


@dataclass
class Sleeper(Square):
    """Squares numbers; those in `poison` take a minute, where no signal comes through if `deaf`."""

    deaf: bool = False

    def __call__(self, items: list[int]) -> list[int | str]:
        return [self._one(item) for item in items]

    def _one(self, item: int) -> int | str:
        if item not in self.poison:
            return item * item
        if self.deaf:  # as in a library that never returns to Python
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ended = attempt(self.name, lambda: time.sleep(60), self.limit_s)
        assert isinstance(ended, Outcome)
        return ended.code


def test_an_item_that_hangs_ends_and_the_others_go_on(engine):
    stages = [Sleeper(poison=(3, 5), limit_s=0.2)]
    found = list(engine.run(stages, range(8), lost))
    assert sorted(map(str, found)) == ["0", "1", "16", "36", "4", "49", "timeout", "timeout"]


def lost_in_time(item: int, stage: str, code: str, words: str) -> tuple[int, str]:
    assert "longer than" in words
    return (item, code)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_a_worker_that_hears_no_signal_is_killed(_ray, monkeypatch, batch):
    monkeypatch.setattr(pipeline.engine.pool, "GRACE_S", 0.5)
    monkeypatch.setattr(pipeline.engine.ray, "CHECK_S", 0.2)
    stages = [Sleeper(poison=(3,), batch=batch, limit_s=1.0, deaf=True)]
    found = list(RayEngine().run(stages, range(8), lost_in_time))
    assert [item for item in found if isinstance(item, tuple)] == [(3, "timeout")]
    assert sorted(i for i in found if isinstance(i, int)) == [i * i for i in range(8) if i != 3]


def test_time_is_up_even_where_all_exceptions_are_caught():
    with pytest.raises(TimeLimit), time_limit(0.05):
        try:
            time.sleep(60)
        except Exception:  # what a careless library does
            pytest.fail("the limit looked like an error")
    time.sleep(0.1)  # nothing is left that rings
    with time_limit(0):
        time.sleep(0.05)
