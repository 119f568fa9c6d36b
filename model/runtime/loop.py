"""The training loop: it steps, reports, saves, validates and samples, each at its interval.

A trainer describes its run by a `TrainingRun`; `loop` decides when each happens, in which order:

* It saves before it validates or samples. If one of these fails, no steps are lost, and it is
  repeated when the run is resumed.
* A signal ends the wait for data. The run is then saved, and `loop` raises Interrupted.
* A loss that is not finite ends the run; the error names the step and its segments.
* In distributed training, process 0 reports, saves, validates and samples. All processes stop at
  the same step.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.runtime.distributed import Team
from model.runtime.signals import Interrupted, Stop, next_unless

Logs = Mapping[str, Tensor | float]


@dataclass(frozen=True)
class Schedule:
    """The total number of steps, and the interval in steps of each action; 0 means never."""

    steps: int
    log_every: int
    save_every: int
    val_every: int = 0
    sample_every: int = 0


class TrainingRun(ABC):
    """A training run as the loop sees it."""

    schedule: Schedule
    watched: Sequence[str] = ()
    """Logged losses that must be finite, in the order in which a step computes them."""
    advice = ""
    """Advice for the error message if one of them is not finite."""

    @property
    @abstractmethod
    def step(self) -> int:
        """The number of steps taken so far."""

    @abstractmethod
    def advance(self, batch: Any, wait_s: float) -> Logs:
        """Take one step on a batch and return numbers by log tag.

        `wait_s` is how long the loop waited for the batch. Numbers may be 0-dim tensors on a
        device; they are read only when they are reported.
        """

    def keys(self, batch: Any) -> Sequence[str]:
        """Return the keys of the batch's segments, for the error about a non-finite loss."""
        return ()

    @abstractmethod
    def report(self, now: Mapping[str, float], mean: Mapping[str, float], count: int) -> None:
        """Log the numbers of the last step, and their means over `count` steps."""

    @abstractmethod
    def save(self) -> None:
        """Write a checkpoint to resume from."""

    @abstractmethod
    def validate(self) -> None:
        """Compute and log measures on validation data."""

    def sample(self) -> None:
        """Write examples of the model's output; called if `sample_every` is set."""
        raise NotImplementedError

    def gather(self, team: Team) -> None:  # noqa: B027
        """Collect on process 0 what it saves; called on all processes, before process 0 saves."""

    def validated(self) -> bool:
        """Return whether the log already has the validation of this step."""
        return True

    def sampled(self) -> bool:
        """Return whether the examples of this step already exist."""
        return True

    def reports(self, saving: bool, stopping: bool) -> bool:
        """Return whether this step is to be reported."""
        return stopping or self.due(self.schedule.log_every)

    def due(self, every: int) -> bool:
        """Return whether an action with interval `every` is due; always after the last step."""
        return every > 0 and (self.step % every == 0 or self.step == self.schedule.steps)


def loop(run: TrainingRun, batches: Iterator[Any], stop: Stop, team: Team = Team()) -> None:  # noqa: B008
    """Take the remaining steps.

    Raises Interrupted, after saving, if `stop` is set; ValueError if a loss is not finite; and
    PeerFailed if another process of the team fails.
    """
    schedule = run.schedule
    recent = Recent(run.watched, run.advice)
    catch_up(run, team)
    while run.step < schedule.steps:
        began_s = time.perf_counter()
        with team.all_or_none():
            # All processes of a team must stop at the same step, so there a signal does not end
            # the wait for data.
            batch = next_unless(stop, batches) if team.size == 1 else next(batches)
        stepped = batch is not None
        if stepped:
            logs = run.advance(batch, time.perf_counter() - began_s)
            recent.add(run.step, logs, run.keys(batch))
        stopping = team.any(stop.is_set())
        validating = stepped and run.due(schedule.val_every)
        sampling = stepped and run.due(schedule.sample_every)
        saving = stopping or validating or sampling or run.due(schedule.save_every)
        reporting = len(recent) > 0 and run.reports(saving, stopping)
        if not (saving or reporting):
            continue
        recent.check(team)
        found = recent.numbers(team) if reporting else None
        if saving:
            run.gather(team)
        with team.all_or_none():
            if team.is_main:
                if found is not None:
                    run.report(*found, len(recent))
                if saving:
                    run.save()
                validate_and_sample(run, validating, sampling)
        if reporting:
            recent = Recent(run.watched, run.advice)
        if stopping:
            raise Interrupted(f"stopped at step {run.step}; go on with --resume")


def catch_up(run: TrainingRun, team: Team) -> None:
    """Repeat a validation or sampling that failed, or was killed, after the run had been saved."""
    validating = run.due(run.schedule.val_every)
    sampling = run.due(run.schedule.sample_every)
    if run.step > 0 and (validating or sampling):
        run.gather(team)
        with team.all_or_none():
            if team.is_main:
                validating = validating and not run.validated()
                validate_and_sample(run, validating, sampling and not run.sampled())


def validate_and_sample(run: TrainingRun, validating: bool, sampling: bool) -> None:
    """Validate and sample, each if it is asked for."""
    if validating:
        run.validate()
    if sampling:
        run.sample()


class Recent:
    """The steps since the last report: sums of their logged numbers, and the first bad loss."""

    def __init__(self, watched: Sequence[str] = (), advice: str = "") -> None:
        self.watched, self.advice = watched, advice
        self.step = 0
        self.now: Logs = {}
        self.sums: dict[str, Tensor | float] = {}
        self.keys: list[Sequence[str]] = []
        self.first_bad: Tensor | None = None
        """Index of the first loss that was not finite, over all watched losses since the last
        report; -1 if all were finite, None before the first step."""

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, step: int, logs: Logs, keys: Sequence[str] = ()) -> None:
        """Add the numbers logged by the step that led to the count `step`.

        Losses that are plain numbers are checked at once. For tensors, call `check` at a time when
        waiting for the device is acceptable.
        """
        self.step, self.now = step, logs
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in logs.items()}
        self.keys.append(keys)
        if not self.watched:
            return
        finite = torch.stack([torch.as_tensor(logs[name]).isfinite() for name in self.watched])
        moment = len(self.watched) * (len(self) - 1) + (~finite).int().argmax()
        if self.first_bad is None:
            self.first_bad = torch.full_like(moment, -1)
        new = (self.first_bad < 0) & ~finite.all()
        self.first_bad = torch.where(new, moment, self.first_bad)
        if not any(isinstance(logs[name], Tensor) for name in self.watched):
            self.check()

    def check(self, team: Team = Team()) -> None:  # noqa: B008
        """Raise ValueError, with step and segments, if a watched loss was not finite.

        In distributed training, the process with the earliest bad loss raises it; the others raise
        PeerFailed. Averaged gradients spread the bad value to the other processes' losses half a
        step or a step later.
        """
        if self.first_bad is None:
            return
        first, each = int(self.first_bad), len(self.watched)
        earliest = team.min(first if first >= 0 else each * len(self))
        with team.all_or_none():
            if first == earliest:
                step = self.step - len(self) + first // each + 1
                raise ValueError(
                    f"step {step}: a loss is not finite; its segments: "
                    f"{', '.join(self.keys[first // each])}; check them, or {self.advice}"
                )

    def numbers(self, team: Team = Team()) -> tuple[dict[str, float], dict[str, float]]:  # noqa: B008
        """Return the last step's numbers, and the means over steps and processes."""
        now = {name: float(value) for name, value in self.now.items()}
        mean = {name: float(total / len(self)) for name, total in self.sums.items()}
        return now, team.mean(mean)
