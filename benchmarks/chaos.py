"""Kill -9 at random moments: the driver, workers and Ray's node process of small builds.

    python benchmarks/chaos.py [--drivers 25] [--workers 25] [--nodes 5] [--folder DIR]

Each build is `pipeline build --engine ray` of the same few synthetic videos, on a Ray of its own. A
killed driver or node is followed by the same command; a killed worker is the build's own affair.
After each, the shards must be those of a build that nobody disturbed, byte for byte. Prints a
table; exits 1 where a build was not what it should be. Only descendants of the builds that this
script starts are killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 300
DELAY_S = 1.0
"""A kill comes up to so long after a random number of results; from the workers' start for none."""


@dataclass
class Tally:
    """What became of the builds of one kind."""

    kills: int = 0
    identical: int = 0
    stored: list[int] = field(default_factory=list)  # results on disk when the kill came
    redone: list[int] = field(default_factory=list)  # of those, made again afterwards: none should
    too_late: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Chaos:
    folder: Path
    videos: int
    visual: str
    rng: random.Random

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        words = ["build", "--dataset", "synthetic", "--source", self.folder / "in", "--out", out]
        words += ["--limit", self.videos, "--visual", self.visual, "--engine", "ray"]
        words += ["--weights", "untrained"] if self.visual != "none" else []
        with open(f"{out}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipeline", *map(str, words)],
                cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
            )  # fmt: skip

    def quiet(self) -> float:
        """Build twice undisturbed, and return how long the second took (s)."""
        self.start(self.folder / "first").wait()  # makes the videos
        out, begun_s = self.folder / "quiet", time.monotonic()
        if self.start(out).wait():
            raise SystemExit(f"the quiet build failed: see {out}.log")
        found = shards(out)
        if not found or found != shards(self.folder / "first"):
            raise SystemExit("two quiet builds differ: nothing can be compared")
        return time.monotonic() - begun_s

    def disturb(self, kind: str, number: int, tally: Tally) -> None:
        """Build once with one kill in it, and compare; one that came too late is tried again."""
        quiet = shards(self.folder / "quiet")
        for attempt in range(20):
            out = self.folder / f"{kind.replace(' ', '-')}-{number}-{attempt}"
            build = self.start(out)
            title = "raylet/raylet" if kind == "Ray node" else "ray::_Worker"
            waited(build, lambda b=build, t=title: named(b.pid, t))
            enough = self.rng.randrange(self.videos)
            waited(build, lambda o=out, n=enough: len(results(o)) >= n)
            sleep(build, self.rng.uniform(0, DELAY_S))
            victims = [build.pid] if kind == "driver" else named(build.pid, title)
            orphans, before = named(build.pid, ""), results(out)
            if build.poll() is None and victims and killed(self.rng.choice(victims)):
                break
            build.wait()
            tally.too_late += 1
        else:
            raise SystemExit(f"{kind}: twenty kills came too late; ask for more --videos")
        tally.kills += 1
        tally.stored.append(len(before))
        code = ended(build)
        half = {name for name, data in shards(out).items() if quiet.get(name) != data}
        if kind != "worker":
            gone(orphans)
            code = ended(self.start(out))
        after = results(out)
        tally.redone.append(sum(after.get(path) != mark for path, mark in before.items()))
        counts = json.loads((out / "report.json").read_text())["counts"] if code == 0 else {}
        good = code == 0 and counts == {"ok": self.videos} and not half and not tally.redone[-1]
        if good and shards(out) == quiet:
            tally.identical += 1
        else:
            words = f"exit {code}, {counts}, half-written {sorted(half)}, redone {tally.redone[-1]}"
            tally.wrong.append(f"{out}: {words}; see {out}.log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", type=int, default=25)
    parser.add_argument("--workers", type=int, default=25)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--visual", default="none", choices=["none", "i3d_r50"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for videos and builds (default: temporary)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chaos = Chaos(folder, asked.videos, asked.visual, random.Random(asked.seed))
        print(f"a quiet build of {asked.videos} videos: {chaos.quiet():.1f} s", flush=True)
        tallies = {"driver": Tally(), "worker": Tally(), "Ray node": Tally()}
        counts = {"Ray node": asked.nodes, "worker": asked.workers, "driver": asked.drivers}
        for kind, count in counts.items():
            for number in range(count):
                chaos.disturb(kind, number, tallies[kind])
                print(f"{kind} {number + 1}/{count}", file=sys.stderr, flush=True)
    print("| killed | kills | byte-identical | results there at the kill | made again |")
    print("|---|---|---|---|---|")
    for kind, tally in tallies.items():
        span = f"{min(tally.stored)} to {max(tally.stored)}" if tally.stored else ""
        redone = f"{sum(tally.redone)} of {sum(tally.stored)}"
        print(f"| {kind} | {tally.kills} | {tally.identical} | {span} | {redone} |")
    wrong = [line for tally in tallies.values() for line in tally.wrong]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    raise SystemExit(1 if wrong else 0)


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tar"))}


def results(out: Path) -> dict[Path, tuple[int, int]]:
    found = out.glob(".work/results/*/*/*.npz")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def waited(build: subprocess.Popen[bytes], happened: Callable[[], object]) -> None:
    while build.poll() is None and not happened():
        time.sleep(0.02)


def killed(pid: int) -> bool:
    """Kill -9; return whether the process was still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def ended(build: subprocess.Popen[bytes]) -> int:
    """Return a build's exit code; one that hangs is killed, which the code tells."""
    try:
        return build.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        build.kill()
        return build.wait()


def sleep(build: subprocess.Popen[bytes], seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while build.poll() is None and time.monotonic() < end_s:
        time.sleep(0.01)


def named(parent: int, words: str) -> list[int]:
    """Return the living descendants of a process whose command line holds `words`."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat[0] != "Z":
            parents[int(path.name)], lines[int(path.name)] = int(stat[1]), line
    family = {parent}
    while more := {pid for pid, above in parents.items() if above in family} - family:
        family |= more
    return sorted(pid for pid in family - {parent} if words in lines[pid])


def gone(pids: list[int]) -> None:
    """Wait until the processes of a dead build have ended by themselves; a bound of 60 s."""
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
