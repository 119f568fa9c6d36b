"""A job: one or more commands, run one after the other, whose files appear all at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.contract.files import write_atomic

RECORD, LOG, PART, RESULT = "job.json", "log.txt", "part", "result"
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
STAGES = {
    "features": "looking at the dancer",
    "music": "generating the music",
    "pictures": "drawing and measuring",
}
"""The stages of a job in the words of the page."""
MARKS = {
    re.compile(r"features of .*: computing"): "features",
    re.compile(r"music for [\d.]+ s: generating"): "music",
    re.compile(r"drawing the skeleton"): "pictures",
}
"""Lines of a command that begin a stage."""


@dataclass(frozen=True)
class Step:
    """One command of a job. `stage` is what begins with it; `folder` is where it runs."""

    stage: str
    command: list[str]
    folder: str


@dataclass
class Job:
    """One job, as job.json records it. Times are seconds since the epoch.

    `facts` are what the page needs: run, seed, upload and the command as it is shown.
    """

    id: str
    kind: str
    title: str
    steps: list[Step]
    stages: list[str]
    seconds: float
    """The length of the video, which decides how long the stages take."""
    facts: dict[str, Any] = field(default_factory=dict)
    state: str = WAITING
    message: str = ""
    stage: str = ""
    created: float = field(default_factory=time.time)
    stage_began: float = 0.0
    ended: float = 0.0
    process: tuple[int, int] | None = None
    """The process id of the running command, and its start time by the kernel's clock."""

    def save(self, folder: Path) -> None:
        """Write job.json completely or not at all."""
        write_atomic(folder / RECORD, json.dumps(asdict(self)).encode())


def load_job(folder: Path) -> Job | None:
    """Return the job of a folder, or None if it has no valid record."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        record["steps"] = [Step(**step) for step in record["steps"]]
        record["process"] = record["process"] and tuple(record["process"])
        return Job(**record)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def stage_of(line: str) -> str:
    """Return the stage that a line of a command begins, or ""."""
    return next((stage for mark, stage in MARKS.items() if mark.match(line)), "")


class Rates:
    """How long stages took before, per second of video: the source of the time that is left.

    A process takes about as long to start as ten seconds of video do to process, so these are
    added to every length.
    """

    START_S = 10.0

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            known = json.loads(path.read_bytes())
            self.known = {str(k): float(v) for k, v in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self.known = {}

    def learn(self, job: Job, stage: str, taken_s: float) -> None:
        """Remember how long a stage of a job took; later jobs count more than earlier ones."""
        key, found = self._key(job, stage), taken_s / (job.seconds + self.START_S)
        self.known[key] = (self.known.get(key, found) + found) / 2
        write_atomic(self.path, json.dumps(self.known).encode())

    def expected_s(self, job: Job, stage: str) -> float | None:
        """Return how long a stage will take in all, or None if no such stage was ever done."""
        rate = self.known.get(self._key(job, stage))
        return None if rate is None else rate * (job.seconds + self.START_S)

    def left_s(self, job: Job, now: float) -> float | None:
        """Return the time left of a running job, or None if a stage is not known."""
        if job.stage not in job.stages:
            return None
        rest: Sequence[str] = job.stages[job.stages.index(job.stage) :]
        each = [self.expected_s(job, stage) for stage in rest]
        if any(one is None for one in each):
            return None
        current, *later = (float(one or 0.0) for one in each)
        return max(0.0, current - (now - job.stage_began)) + sum(later)

    @staticmethod
    def _key(job: Job, stage: str) -> str:
        known = stage == "features" and job.facts.get("features_known")
        return f"{job.kind}/{job.facts.get('run', '')}/{stage}{'-again' if known else ''}"
