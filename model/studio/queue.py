"""The queue: one job at a time, users in turn, each within limits of time and memory.

A job's commands write into `part`, which becomes `result` by one rename when all have ended well.
A server that is killed leaves no half result: the next start removes `part`, ends what the killed
server had started, and continues with the jobs that wait.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.studio.job import (
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    LOG,
    PART,
    RESULT,
    RUNNING,
    WAITING,
    Job,
    Rates,
    Step,
    load_job,
    stage_of,
)  # fmt: skip
from model.studio.limits import GB
from model.studio.processes import end, memory_bytes, started_at
from model.studio.uploads import last_line, without_folder
from model.studio.users import Refused, User, Users, checked_id

TICK_S = 0.4
LOG_BYTES = 200_000


class Queue:
    """All jobs of a work folder, and the thread that runs them."""

    def __init__(self, users: Users) -> None:
        self.users, self.limits = users, users.limits
        self.rates = Rates(users.work / "rates.json")
        self.jobs: dict[tuple[str, str], Job] = {}
        self._turn: dict[str, float] = {}
        self._cancelled: set[str] = set()
        self._change = threading.Condition()
        self._stopping = False
        for user in users.all():
            for folder in sorted(user.jobs.iterdir()) if user.jobs.is_dir() else []:
                self._restore(user, folder)
        self._thread = threading.Thread(target=self._work, name="studio-jobs", daemon=True)

    def start(self) -> None:
        """Begin to run jobs."""
        self._thread.start()

    def close(self) -> None:
        """Cancel the running job and stop; jobs that wait stay for the next start."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(10)

    def submit(self, user: User, job: Job) -> Job:
        """Add a job to the queue. Raises Refused if too many wait."""
        with self._change:
            waiting = [key for key, one in self.jobs.items() if one.state == WAITING]
            of_user = sum(name == user.name for name, _ in waiting)
            if of_user >= self.limits.waiting_each:
                raise Refused(
                    f"{of_user} of your jobs wait already, more are not taken: wait, or cancel some"
                )
            if len(waiting) >= self.limits.waiting:
                raise Refused(f"{len(waiting)} jobs wait already: try again in some minutes")
            folder = user.jobs / job.id
            folder.mkdir(mode=0o700)
            job.save(folder)
            self.jobs[user.name, job.id] = job
            self._change.notify_all()
        return job

    def get(self, user: User, job_id: object) -> Job:
        """Return a job of this user; raise Refused if there is none with this id."""
        job = self.jobs.get((user.name, checked_id(job_id)))
        if job is None:
            raise Refused("no such job")
        return job

    def of(self, user: User, kind: str = "") -> list[Job]:
        """Return the jobs of a user, the newest first."""
        found = [job for (name, _), job in list(self.jobs.items()) if name == user.name]
        found = [job for job in found if kind in ("", job.kind)]
        return sorted(found, key=lambda job: -job.created)

    def ahead(self, job: Job) -> int:
        """Return how many jobs are waiting or running that came before this one."""
        others = list(self.jobs.values())
        return sum(o.state in (WAITING, RUNNING) and o.created < job.created for o in others)

    def result(self, user: User, job: Job) -> Path:
        """Return the folder of a finished job's files."""
        return user.jobs / job.id / RESULT

    def cancel(self, user: User, job_id: object) -> None:
        """Cancel a job that waits or runs; one that has ended stays as it is."""
        job = self.get(user, job_id)
        with self._change:
            if job.state == WAITING:
                self._finish(user, job, CANCELLED, "cancelled")
            elif job.state == RUNNING:
                self._cancelled.add(job.id)

    def delete_all(self, user: User) -> None:
        """Delete all files of a user, and cancel the user's jobs."""
        for job in self.of(user):
            self.cancel(user, job.id)
        deadline = time.monotonic() + 30
        while any(job.state == RUNNING for job in self.of(user)) and time.monotonic() < deadline:
            time.sleep(TICK_S)
        with self._change:
            for job in self.of(user):
                del self.jobs[user.name, job.id]
            for folder in (user.jobs, user.uploads):
                shutil.rmtree(folder, ignore_errors=True)

    def _restore(self, user: User, folder: Path) -> None:
        job = load_job(folder)
        if job is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        if job.process is not None:
            end(*job.process)
        shutil.rmtree(folder / PART, ignore_errors=True)
        self.jobs[user.name, job.id] = job
        if job.state == RUNNING or (job.state == DONE and not (folder / RESULT).is_dir()):
            if (folder / RESULT).is_dir():
                self._finish(user, job, DONE, "")
            else:
                self._finish(user, job, FAILED, "the studio was stopped meanwhile: start it again")

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._stopping and (chosen := self._next()) is None:
                    self._change.wait(1.0)
                if self._stopping or chosen is None:
                    return
                user, job = chosen
                job.state = RUNNING
                self._turn[user.name] = time.time()
            self._run(user, job)

    def _next(self) -> tuple[User, Job] | None:
        """Return the oldest waiting job of the user who has waited longest for a turn."""
        waiting = [(key, job) for key, job in self.jobs.items() if job.state == WAITING]
        if not waiting:
            return None
        (name, _), job = min(waiting, key=lambda w: (self._turn.get(w[0][0], 0.0), w[1].created))
        return User(self.users.root / name), job

    def _run(self, user: User, job: Job) -> None:
        folder = user.jobs / job.id
        part = folder / PART
        shutil.rmtree(part, ignore_errors=True)
        try:
            ended = self._steps(user, job, folder)
        except OSError as error:
            ended = (FAILED, f"{error.strerror}: the disk may be full")
        shutil.rmtree(part, ignore_errors=True)
        self._finish(user, job, *ended)

    def _steps(self, user: User, job: Job, folder: Path) -> tuple[str, str]:
        """Run the commands of a job; return its state at the end, and a message."""
        (folder / PART).mkdir(mode=0o700)
        for step in job.steps:
            self._enter(folder, job, step.stage)
            problem = self._step(user, job, step)
            if problem is not None:
                return problem
        self._enter(folder, job, "")
        (folder / PART).rename(folder / RESULT)
        return DONE, ""

    def _enter(self, folder: Path, job: Job, stage: str) -> None:
        now = time.time()
        if job.stage and job.stage_began:
            self.rates.learn(job, job.stage, now - job.stage_began)
        job.stage, job.stage_began = stage, now
        job.save(folder)

    def _step(self, user: User, job: Job, step: Step) -> tuple[str, str] | None:
        """Run one command; return None if it ended well, else the job's state and a message."""
        folder = user.jobs / job.id
        deadline = time.monotonic() + self.limits.job_s
        with _command(step) as process:
            job.process = (process.pid, started_at(process.pid) or 0)
            job.save(folder)
            lines: list[str] = []
            reader = threading.Thread(
                target=self._read, args=(process, job, folder, lines), daemon=True
            )
            reader.start()
            problem = None
            while process.poll() is None and problem is None:
                time.sleep(TICK_S)
                if job.id in self._cancelled or self._stopping:
                    problem = (CANCELLED, "cancelled")
                elif time.monotonic() > deadline:
                    problem = (FAILED, f"took longer than {self.limits.job_s:g} s: stopped")
                elif memory_bytes(process.pid) > self.limits.memory_gb * GB:
                    problem = (
                        FAILED,
                        f"needed more than {self.limits.memory_gb:g} GB of memory: stopped; "
                        "take a shorter video, or a smaller length",
                    )
            if problem is None:
                reader.join(10)
        job.process = None
        # 3: the wav is there, its mp4 failed; the pictures are drawn from the wav.
        if problem is None and process.returncode not in (0, 3):
            message = last_line("\n".join(lines[-40:]))
            private = (folder / PART, folder, user.uploads, user.folder, self.users.work)
            uploads = sorted(user.uploads.glob("*"))
            problem = (FAILED, without_folder(message, *uploads, *private))
        return problem

    def _read(
        self, process: subprocess.Popen[str], job: Job, folder: Path, lines: list[str]
    ) -> None:
        assert process.stdout is not None
        with open(folder / LOG, "a", encoding="utf-8", errors="replace") as log:
            for line in process.stdout:
                if log.tell() < LOG_BYTES:
                    log.write(line)
                lines.append(line.rstrip("\n"))
                del lines[:-200]
                if (stage := stage_of(line)) and stage != job.stage:
                    self._enter(folder, job, stage)

    def _finish(self, user: User, job: Job, state: str, message: str) -> None:
        assert state in ENDED
        job.state, job.message, job.ended = state, message, time.time()
        job.stage, job.process = "", None
        self._cancelled.discard(job.id)
        if (user.jobs / job.id).is_dir():
            job.save(user.jobs / job.id)


@contextmanager
def _command(step: Step) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own, all of which is ended with the block."""
    process = subprocess.Popen(
        step.command,
        cwd=step.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        # SAFEPATH: Python does not look for modules in the folder where it runs, a user's.
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONSAFEPATH": "1",
        },
    )
    start = started_at(process.pid)
    try:
        yield process
    finally:
        end(process.pid, start)
        process.wait()
