"""Kill -9 at random moments: drivers, workers and a node of Ray under small builds.

    python benchmarks/chaos.py [--drivers 25] [--workers 25] [--nodes 5] [--folder DIR]

Each build is `pipeline build --engine ray --address …` of the same few synthetic videos, on one Ray
cluster of two nodes with one core each. A killed driver is followed at once by the same command; a
killed worker or node is the build's own affair (a new node then takes the dead one's place). After
each, the shards must be those of a build that nobody disturbed, byte for byte. Prints a table;
exits 1 where a build was not what it should be. Only what this script started is killed.
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
from typing import Any

from ray.cluster_utils import Cluster

from model.contract.terminal import print_anything
from pipeline.engine.ledger import Ledger

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
    cluster: Any
    nodes: list[Any]

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        words = ["build", "--dataset", "synthetic", "--source", self.folder / "in", "--out", out]
        words += ["--limit", self.videos, "--visual", self.visual]
        words += ["--engine", "ray", "--address", self.cluster.address]
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
            out = self.folder / f"{kind}-{number}-{attempt}"
            while workers():  # of a driver that was killed before
                time.sleep(0.05)
            build = self.start(out)
            waited(build, workers)
            enough = self.rng.randrange(self.videos)
            waited(build, lambda o=out, n=enough: len(results(o)) >= n)
            sleep(build, self.rng.uniform(0, DELAY_S))
            before = results(out)
            if build.poll() is None and self.kill(kind, build):
                break
            build.wait()
            tally.too_late += 1
        else:
            raise SystemExit(f"{kind}: twenty kills came too late; ask for more --videos")
        tally.kills += 1
        tally.stored.append(len(before))
        if kind == "driver":
            build.wait()
        half = {name for name, data in shards(out).items() if quiet.get(name) != data}
        code = ended(self.start(out) if kind == "driver" else build)
        after = results(out)
        tally.redone.append(sum(after.get(path) != mark for path, mark in before.items()))
        counts = (
            json.loads((out / "report.json").read_text(encoding="utf-8"))["counts"]
            if code == 0
            else {}
        )
        good = code == 0 and counts == {"ok": self.videos} and not half and not tally.redone[-1]
        if good and shards(out) == quiet:
            tally.identical += 1
        else:
            words = f"exit {code}, {counts}, half-written {sorted(half)}, redone {tally.redone[-1]}"
            tally.wrong.append(f"{out}: {words}; see {out}.log")

    def kill(self, kind: str, build: subprocess.Popen[bytes]) -> bool:
        """Kill -9; return whether there was anything to kill."""
        if kind == "node":
            self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)
            self.nodes.append(self.cluster.add_node(num_cpus=1))
            return True
        victims = [build.pid] if kind == "driver" else workers()
        return bool(victims) and killed(self.rng.choice(victims))


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
        head = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(num_cpus=1)]
        rng = random.Random(asked.seed)
        chaos = Chaos(folder, asked.videos, asked.visual, rng, cluster, nodes)
        print(f"a quiet build of {asked.videos} videos: {chaos.quiet():.1f} s", flush=True)
        tallies = {"driver": Tally(), "worker": Tally(), "node": Tally()}
        counts = {"node": asked.nodes, "worker": asked.workers, "driver": asked.drivers}
        for kind, count in counts.items():
            for number in range(count):
                chaos.disturb(kind, number, tallies[kind])
                print(f"{kind} {number + 1}/{count}", file=sys.stderr, flush=True)
        cluster.shutdown()
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


def results(out: Path) -> dict[tuple[str, str], set[tuple[str, int]]]:
    """Return the places of every stored result: one that was made again has several."""
    found: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for one in Ledger(out / ".work" / "results").stored():
        found.setdefault((one.stage, one.key), set()).add((one.path.name, one.at))
    return found


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


def workers() -> list[int]:
    """Return the living descendants of this process that are workers of a build."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if stat[0] != "Z":
            parents[int(path.name)], lines[int(path.name)] = int(stat[1]), line
    family = {os.getpid()}
    while more := {pid for pid, above in parents.items() if above in family} - family:
        family |= more
    return sorted(pid for pid in family if lines.get(pid, "").startswith("ray::Runner"))


if __name__ == "__main__":
    print_anything()
    main()
