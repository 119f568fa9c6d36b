"""The loop of every training: step, report, save, validate and sample as often as asked.

A trainer describes its run by a `TrainingRun`; `loop` decides what comes when, and in what order:

* It saves before it validates or samples: what fails there costs no steps, and is made up for when
  the run is resumed.
* A signal ends the wait for data; the run is saved, and ends with Interrupted.
* A loss that is not finite ends the run, naming the step and its segments.
* Of several processes, process 0 reports, saves, validates and samples; all stop at the same step.
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
    """How many steps a run takes in all, and after how many it does what; 0 is never."""

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
    """What to do where one of them is not."""

    @property
    @abstractmethod
    def step(self) -> int:
        """How many steps were taken."""

    @abstractmethod
    def advance(self, batch: Any, wait_s: float) -> Logs:
        """Take one step on a batch that was waited for so long; return numbers by log tag.

        Numbers may be 0-dim tensors on a device, which are read only when they are reported.
        """

    def keys(self, batch: Any) -> Sequence[str]:
        """Return what the batch is made of, to be named where its loss is not finite."""
        return ()

    @abstractmethod
    def report(self, now: Mapping[str, float], mean: Mapping[str, float], count: int) -> None:
        """Log the last step's numbers beside their means over `count` steps."""

    @abstractmethod
    def save(self) -> None:
        """Write a checkpoint to resume from."""

    @abstractmethod
    def validate(self) -> None:
        """Measure and log how the run does on other data than it trains on."""

    def sample(self) -> None:
        """Write examples of what the model does, where the schedule asks for them."""
        raise NotImplementedError

    def gather(self, team: Team) -> None:  # noqa: B027
        """Bring to process 0 what it needs of the others; called by all, before process 0 acts."""

    def validated(self) -> bool:
        """Return whether the log has this step's validation already."""
        return True

    def sampled(self) -> bool:
        """Return whether this step's examples exist already."""
        return True

    def reports(self, saving: bool, stopping: bool) -> bool:
        """Return whether this step is to be reported."""
        return stopping or self.due(self.schedule.log_every)

    def due(self, every: int) -> bool:
        """Return whether it is time for what is done so often, and after the last step."""
        return every > 0 and (self.step % every == 0 or self.step == self.schedule.steps)


def loop(run: TrainingRun, batches: Iterator[Any], stop: Stop, team: Team = Team()) -> None:  # noqa: B008
    """Take the steps that are left.

    Raises Interrupted, after saving, where `stop` is set; ValueError where a loss is not finite;
    PeerFailed where another process of the team fails.
    """
    schedule = run.schedule
    recent = Recent(run.watched, run.advice)
    catch_up(run, team)
    while run.step < schedule.steps:
        began_s = time.perf_counter()
        with team.all_or_none():
            # Of several processes all must stop at one step: there a signal waits for it.
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
        run.gather(team)
        with team.all_or_none():
            if team.is_main:
                if found is not None:
                    run.report(*found, len(recent))
                if saving:
                    run.save()
                look(run, validating, sampling)
        if reporting:
            recent = Recent(run.watched, run.advice)
        if stopping:
            raise Interrupted(f"stopped at step {run.step}; go on with --resume")


def catch_up(run: TrainingRun, team: Team) -> None:
    """Validate and sample where a resumed run failed to, or was killed, after it had saved."""
    validating = run.due(run.schedule.val_every)
    sampling = run.due(run.schedule.sample_every)
    if run.step > 0 and (validating or sampling):
        run.gather(team)
        with team.all_or_none():
            if team.is_main:
                look(run, validating and not run.validated(), sampling and not run.sampled())


def look(run: TrainingRun, validating: bool, sampling: bool) -> None:
    if validating:
        run.validate()
    if sampling:
        run.sample()


class Recent:
    """The steps since the last report: sums of what they logged, and the first bad loss."""

    def __init__(self, watched: Sequence[str] = (), advice: str = "") -> None:
        self.watched, self.advice = watched, advice
        self.step = 0
        self.now: Logs = {}
        self.sums: dict[str, Tensor | float] = {}
        self.keys: list[Sequence[str]] = []
        self.first_bad: Tensor | None = None
        """When a watched loss was not finite, counted in losses since the report, or -1."""

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, step: int, logs: Logs, keys: Sequence[str] = ()) -> None:
        """Add what the step before `step` logged.

        Losses are checked at once where they are plain numbers; where they are tensors, `check` is
        to be called when there is time to wait for the device.
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
        """Raise ValueError, naming step and segments, where a watched loss was not finite.

        Of several processes the first to see one names it: with the averaged gradients it spreads
        to the others' losses, half a step or a step later. The others raise PeerFailed.
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
                    f"{', '.join(self.keys[first // each])}; check these, or {self.advice}"
                )

    def numbers(self, team: Team = Team()) -> tuple[dict[str, float], dict[str, float]]:  # noqa: B008
        """Return the last step's numbers, and the means over steps and processes."""
        now = {name: float(value) for name, value in self.now.items()}
        mean = {name: float(total / len(self)) for name, total in self.sums.items()}
        return now, team.mean(mean)
