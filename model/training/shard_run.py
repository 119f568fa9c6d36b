"""What all training runs on a data set share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from model.data.source import Batch
from model.runtime.loop import TrainingRun
from model.runtime.run_log import Progress, RunLog


class Stepped(Protocol):
    """The state of a run, as far as this module needs it."""

    step: int


class ShardRun(TrainingRun):
    """A run that takes batches of segments, logs to a RunLog and shows its progress."""

    state: Stepped
    progress: Progress
    _log: RunLog | None = None
    """Only process 0 has one."""

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def log(self) -> RunLog:
        assert self._log is not None, "only process 0 logs"
        return self._log

    def keys(self, batch: Batch) -> Sequence[str]:
        return batch.keys

    def report(self, now: Mapping[str, float], mean: Mapping[str, float], count: int) -> None:
        self.log.scalars(self.step, mean)
        self.progress.show(self.step, now, mean, count)

    def log_validation(self, values: Mapping[str, float]) -> None:
        """Log the measures of a validation, and print them."""
        self.log.scalars(self.step, values)
        self.progress.validated(self.step, values)
