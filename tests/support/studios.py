"""Studios for tests: users, uploads, and jobs that the stand-in does in no time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import studio_stand_in
from builds import clip
from places import ROOT

from model.studio.job import ENDED, Job
from model.studio.limits import Limits
from model.studio.queue import Queue
from model.studio.runs import RunFacts
from model.studio.studio import Studio
from model.studio.users import User, Users, new_token

STAND_IN = (sys.executable, "-S", studio_stand_in.__file__)
RUNS = {
    "notes": RunFacts("notes", "notes", "cmt", "plays notes", {"temperature": "0.8"}),
    "codes": RunFacts(
        "codes", "codes", "tokens", "UNTRAINED", {"guidance": "2.0,1.0", "style": ""}, ("BR", "PO")
    ),
}


def studio(work: Path, start: bool = True, **limits: float) -> Studio:
    """Return a studio in the folder `work`, whose queue runs unless `start` is False."""
    users = Users(work, replace(Limits(), **limits))
    made = Studio(
        users, Queue(users), RUNS, generate=(*STAND_IN, "generate"), render=STAND_IN
    )  # fmt: skip
    if start:
        made.queue.start()
    return made


def user_of(made: Studio) -> User:
    """Return a new user."""
    return made.users.user(new_token())


def film(folder: Path, name: str = "dance.mp4", seconds: float = 2.2) -> Path:
    """Write a small video; another name gives another content."""
    return clip(folder / name, seconds)


def wait(*jobs: Job, limit_s: float = 240.0) -> None:
    """Wait until all jobs have ended."""
    deadline = time.monotonic() + limit_s
    while any(job.state not in ENDED for job in jobs):
        assert time.monotonic() < deadline, [(job.state, job.stage) for job in jobs]
        time.sleep(0.02)


SERVER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from model.studio.serve import serve
from studios import studio
made = studio(Path({work!r}), **{limits!r})
serve(made, "127.0.0.1", {port})
made.queue.close()
"""


def start_server(work: Path, port: int = 0, **limits: float) -> tuple[subprocess.Popen, str]:
    """Run the page of a studio with the stand-in; return the process and its address."""
    paths = [str(ROOT / "tests" / "support"), str(ROOT)]
    script = SERVER.format(paths=paths, work=str(work), limits=limits, port=port)
    server = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    )  # fmt: skip
    said = ""
    for line in server.stdout:
        said += line
        if found := re.search(r"http://\S+", line):
            return server, found[0]
    server.wait()
    raise RuntimeError(f"the server said: {said}")
