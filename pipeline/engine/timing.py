"""How long the stages of a command worked, loaded models and waited."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass
class StageTime:
    """The times of one stage in one run, with its numbers of workers, items and calls.

    `wall_s` is how long the run took. `setup_s` (loading models) and `busy_s` (working) are sums
    over all workers. They do not include calls whose worker died.
    """

    stage: str
    workers: int = 1
    items: int = 0
    calls: int = 0
    setup_s: float = 0.0
    busy_s: float = 0.0
    wall_s: float = 0.0

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> StageTime:
        """Read the result of `as_dict`; raise LookupError, TypeError or ValueError if it is
        invalid.
        """
        values = {one.name: raw[one.name] for one in fields(cls)}
        numbers = [value for name, value in values.items() if name != "stage"]
        if not isinstance(raw["stage"], str) or not all(0 <= n < float("inf") for n in numbers):
            raise ValueError(f"not the times of a stage: {raw!r:.80}")
        return cls(**values)

    def add(self, items: int, setup_s: float, busy_s: float) -> None:
        self.items += items
        self.calls += 1
        self.setup_s += setup_s
        self.busy_s += busy_s

    @property
    def idle_s(self) -> float:
        """Seconds that workers waited: to start, for an item, or for a free place in the next
        stage.
        """
        return max(0.0, self.workers * self.wall_s - self.setup_s - self.busy_s)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for report.json.

        Times are rounded to a millisecond; the other values are computed from the rounded ones.
        """
        seconds = {name: round(getattr(self, name), 3) for name in ("setup_s", "busy_s", "wall_s")}
        rounded = replace(self, **seconds)
        counted = {"workers": self.workers, "items": self.items, "calls": self.calls}
        spent = {name: seconds[name] for name in ("wall_s", "setup_s", "busy_s")}
        rate = round(self.items / rounded.wall_s, 3) if rounded.wall_s else 0.0
        derived = {"idle_s": round(rounded.idle_s, 3), "items_per_s": rate}
        return {"stage": self.stage, **counted, **spent, **derived}


@contextmanager
def timed(times: list[StageTime]) -> Iterator[None]:
    """Set `wall_s` of every stage to the duration of the block, even if the block raises."""
    started_s = time.monotonic()
    try:
        yield
    finally:
        for stage in times:
            stage.wall_s = time.monotonic() - started_s
