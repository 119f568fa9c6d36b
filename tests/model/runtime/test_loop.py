"""The loop that all trainers share: what it does when, in what order, and what ends it."""

from __future__ import annotations

import itertools

import pytest
import torch

from model.runtime.loop import Recent, Schedule, TrainingRun, loop
from model.runtime.signals import Interrupted, Stop


class Counting(TrainingRun):
    """A run that notes what it is asked for; its loss is its step."""

    watched = ("loss/first", "loss/total")
    advice = "rest"

    def __init__(self, schedule: Schedule, step: int = 0, stop: Stop | None = None) -> None:
        self.schedule, self._step, self.stop = schedule, step, stop
        self.done: list[str] = []

    @property
    def step(self) -> int:
        return self._step

    def advance(self, batch: int, wait_s: float) -> dict[str, float]:
        self._step += 1
        if batch == 3 and self.stop is not None:
            self.stop.set()
        return {"loss/first": 0.0, "loss/total": float(self._step)}

    def report(self, now, mean, count) -> None:
        self.done.append(f"{self.step} report {now['loss/total']:g} {mean['loss/total']:g} {count}")

    def save(self) -> None:
        self.done.append(f"{self.step} save")

    def validate(self) -> None:
        self.done.append(f"{self.step} validate")

    def sample(self) -> None:
        self.done.append(f"{self.step} sample")

    def validated(self) -> bool:
        return False


def test_a_run_saves_before_it_validates_and_does_all_after_the_last_step():
    run = Counting(Schedule(5, log_every=2, save_every=4, val_every=3))
    loop(run, itertools.count(), Stop())
    assert run.done == [
        "2 report 2 1.5 2", "3 save", "3 validate", "4 report 4 3.5 2", "4 save",
        "5 report 5 5 1", "5 save", "5 validate",
    ]  # fmt: skip


def test_a_resumed_run_makes_up_for_what_it_was_killed_before():
    run = Counting(Schedule(6, log_every=6, save_every=6, val_every=3, sample_every=3), step=3)
    loop(run, itertools.count(), Stop())
    assert run.done == [
        "3 validate", "6 report 6 5 3", "6 save", "6 validate", "6 sample",
    ]  # fmt: skip
    done = Counting(Schedule(6, log_every=6, save_every=6, val_every=4), step=6)
    loop(done, iter(()), Stop())
    assert done.done == ["6 validate"]


def test_a_signal_reports_saves_and_ends_the_run():
    stop = Stop()
    run = Counting(Schedule(9, log_every=9, save_every=9, val_every=4), stop=stop)
    with pytest.raises(Interrupted, match="stopped at step 4; go on with --resume"):
        loop(run, itertools.count(), stop)
    assert run.done == ["4 report 4 2.5 4", "4 save", "4 validate"]
    waiting = Counting(Schedule(9, log_every=9, save_every=9), step=2)
    with pytest.raises(Interrupted, match="stopped at step 2"):
        loop(waiting, itertools.count(), stop)
    assert waiting.done == ["2 save"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_loss_that_is_not_finite_is_named_with_its_segments(bad):
    recent = Recent(("a", "b"), "lower lr")
    for step, (a, b) in enumerate([(0.0, 1.0), (1.0, bad), (bad, bad)], start=11):
        recent.add(step, {"a": torch.tensor(a), "b": torch.tensor(b)}, [f"s{step}", "t"])
    assert int(recent.first_bad) == 3
    with pytest.raises(ValueError, match=r"^step 12: a loss .* segments: s12, t; .*or lower lr$"):
        recent.check()
    plain = Recent(("a",), "lower lr")
    plain.add(1, {"a": 0.0}, ["s"])
    with pytest.raises(ValueError, match="step 2: a loss is not finite; its segments: u;"):
        plain.add(2, {"a": bad}, ["u"])


def test_means_are_over_the_steps_since_the_report():
    recent = Recent()
    for step, value in ((1, 1.0), (2, 4.0)):
        recent.add(step, {"tensor": torch.tensor(value), "number": 2 * value})
    assert recent.numbers() == ({"tensor": 4.0, "number": 8.0}, {"tensor": 2.5, "number": 5.0})
