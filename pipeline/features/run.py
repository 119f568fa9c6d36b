"""Find the outcome of every input of a build: from stored results, or by computing them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

from pipeline.engine.base import Engine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.outcomes import Outcomes
from pipeline.engine.progress import progress
from pipeline.features.extract import Extract
from pipeline.features.plan import Settings, Work
from pipeline.sources import manifest
from pipeline.sources.manifest import Row

STOP_AFTER = 50
"""A build stops early because of failures only after this many inputs: fewer are not reliable."""


def extract(settings: Settings, rows: Sequence[Row], engine: Engine, max_failed: float) -> Outcomes:
    """Return the outcome of every row: from the ledger if it is stored, else computed now.

    It stops early if the number of failed inputs exceeds the share `max_failed` of all inputs that
    need work, because the build can no longer succeed. Rows that were not reached are then None.
    Raises OSError if results cannot be written.
    """
    outcomes, todo = Outcomes(len(rows)), array("Q")
    early = seen = failed = 0
    with settings.ledger.alone():
        for number, row in enumerate(rows):
            outcome = manifest.ended_early(row)
            early += outcome is not None
            if outcome is None:
                outcome = stored_outcome(settings, row)
                seen += outcome is not None
                failed += outcome is not None and outcome.status == "failed"
            if outcome is None:
                todo.append(number)
            else:
                outcomes[number] = outcome
    worked = len(rows) - early
    if seen:
        print(f"{seen} of {len(rows)} inputs are already done")
    if todo:
        stages: list[Any] = [Extract(settings)]
        stages += [stage for feature in settings.made for stage in feature.stages(settings)]
        items = (Work(rows[number], number=number) for number in todo)
        alone = settings.ledger.alone() if engine.one_process else nullcontext()
        with alone, closing(engine.run(stages, items, _lost)) as done:
            for work in progress(done, "extract", len(todo), "video"):
                outcome = work.outcome or _found_outcome(settings, work.row)
                if outcome.code == "no_room":
                    raise OSError(
                        f"{work.row.path}: {outcome.message}; free disk space at --out and run "
                        "the same command again"
                    )
                outcomes[work.number] = outcome
                seen += 1
                failed += outcome.status == "failed"
                if seen >= STOP_AFTER and failed > max_failed * worked:
                    break
    return outcomes


def stored_outcome(settings: Settings, row: Row) -> Outcome | None:
    """Return the stored outcome of a row; an unreadable ledger gives a failed outcome."""
    return attempt("ledger", lambda: settings.outcome(row))


def _found_outcome(settings: Settings, row: Row) -> Outcome:
    message = f"{row.path}: its result is missing; --out must be on storage that all nodes share"
    return stored_outcome(settings, row) or Outcome("failed", "ledger", "io", message)


def _lost(work: Work, stage: str, code: str, words: str) -> Work:
    return replace(work, clips=None, outcome=Outcome("failed", stage, code, words), deferred=False)
