"""Break small videos in 300 seeded ways, and build a data set of what is left of them.

    python benchmarks/mutated_videos.py [--videos 300] [--seed 0] [--engine local --engine ray]
                                        [--visual none]

Clips of 2.2 to 3 s in mp4, WebM and Matroska are made with ffmpeg; each mutation is one of
MUTATIONS on one of them. All go through `pipeline build` beside the clips as they were. Printed per
engine: inputs by outcome and mutation, and the longest pause between two results that were stored,
which with one process is no less than what the slowest video took. Exits 1 where a build crashed,
lost an input, gave another exit code than documented, hung, or met an error that the program did
not foresee; where the clips that nobody touched did not come through; and where the two engines
differ. `--visual i3d_r50` decodes every picture too, for a network of random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from model.contract.terminal import print_anything
from pipeline.engine.ledger import Ledger
from pipeline.media.program import binary

ROOT = Path(__file__).resolve().parents[1]
ITEM_LIMIT_S = 30
UNFORESEEN = ("internal", "timeout", "worker_lost", "out_of_memory")
HEAD_BYTES = 1200
"""Of WebM and Matroska: their header lies within this; the first packets come after it."""
SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif", ".ts")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a")
CLIPS = {
    "early.mp4": ("2.2", *X264, "aac", "-movflags", "+faststart"),
    "late.mp4": ("3", *X264, "aac"),
    "pieces.mp4": ("2.6", *X264, "aac", "-g", "10", "-movflags", "frag_keyframe+empty_moov"),
    "vp9.webm": ("2.4", *VP9),
    "plain.mkv": ("2.2", *X264, "pcm_s16le"),
}
Mutation = Callable[[random.Random, bytearray, range], bytearray]


@dataclass(frozen=True)
class End:
    """What a build of the folder did: its exit code, its report's rows, its slowest moment."""

    code: int
    rows: list[dict[str, object]]
    segments: int
    pause_s: float
    words: str


def make_clips(folder: Path) -> dict[str, bytes]:
    """Return the whole clips by name: 64 x 48 px, 15 frames a second, a tone."""
    made = {}
    for name, (seconds, *coding) in CLIPS.items():
        path = folder / name
        sources = ["-f", "lavfi", "-i", f"testsrc=size=64x48:rate=15:duration={seconds}"]
        sources += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"]
        quiet = [binary(), "-hide_banner", "-loglevel", "error", "-y"]
        fixed = ["-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact"]
        subprocess.run([*quiet, *sources, *coding, *fixed, str(path)], check=True)
        made[name] = path.read_bytes()
        path.unlink()
    return made


def mutate(clips: dict[str, bytes], count: int, seed: int, folder: Path) -> dict[str, str]:
    """Write `count` broken videos; return name → kind of mutation. Equal seeds give equal bytes."""
    rng, kinds = random.Random(seed), {}
    for number in range(count):
        kind = list(MUTATIONS)[number % len(MUTATIONS)]
        origin = rng.choice(list(clips))
        whole, suffix = bytearray(clips[origin]), Path(origin).suffix
        data = MUTATIONS[kind](rng, bytearray(whole), header(whole, suffix))
        if kind == "wrong ending":
            suffix = rng.choice([other for other in SUFFIXES if other != suffix])
        elif kind == "foreign half":
            other = clips[rng.choice([name for name in clips if name != origin])]
            data = whole[: len(whole) // 2] + other[len(other) // 2 :]
        name = f"{number:03d}_{Path(origin).stem}{suffix}"
        (folder / name).write_bytes(data)
        kinds[name] = kind
    return kinds


def header(data: bytes, suffix: str) -> range:
    """Return where a file's header lies: the `moov` box of an mp4, else the first bytes."""
    if suffix != ".mp4":
        return range(min(HEAD_BYTES, len(data)))
    (moov,) = [place for name, place in boxes(data, range(len(data))) if name == b"moov"]
    return moov


def boxes(data: bytes, within: range) -> list[tuple[bytes, range]]:
    """Return name and place of the mp4 boxes that follow each other within a range."""
    found, at = [], within.start
    while at + 8 <= within.stop:
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            break
        found.append((bytes(data[at + 4 : at + 8]), range(at, min(at + size, within.stop))))
        at += size
    return found


def flipped(rng: random.Random, data: bytearray, where: range) -> bytearray:
    for _ in range(rng.choice([1, 2, 4, 16])):
        data[rng.randrange(where.start, where.stop)] ^= 1 << rng.randrange(8)
    return data


def flip_header(rng: random.Random, data: bytearray, head: range) -> bytearray:
    return flipped(rng, data, head)


def flip_body(rng: random.Random, data: bytearray, head: range) -> bytearray:
    return flipped(rng, data, max(range(head.start), range(head.stop, len(data)), key=len))


def set_number(rng: random.Random, data: bytearray, head: range) -> bytearray:
    """Write a number of extremes over four bytes of the header: lengths, counts, rates."""
    at = rng.randrange(head.start, head.stop - 4) & ~3
    values = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32))
    data[at : at + 4] = rng.choice(values).to_bytes(4, "big")
    return data


def cut(rng: random.Random, data: bytearray, head: range) -> bytearray:
    return data[: rng.randrange(len(data))]


def doubled(rng: random.Random, data: bytearray, head: range) -> bytearray:
    start = rng.randrange(len(data))
    stop = min(start + rng.randrange(1, 4096), len(data))
    return data[:stop] + data[start:stop] + data[stop:]


def removed(rng: random.Random, data: bytearray, head: range) -> bytearray:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 4096) :]


def zeroed(rng: random.Random, data: bytearray, head: range) -> bytearray:
    start = rng.randrange(len(data))
    stop = min(start + rng.randrange(1, 4096), len(data))
    data[start:stop] = bytes(stop - start)
    return data


def swapped(rng: random.Random, data: bytearray, head: range) -> bytearray:
    """Swap two neighbouring boxes of an mp4, at the top or within; else two pieces of the file."""
    level = boxes(data, range(len(data)))
    levels = [level]
    if level and level[0][0] == b"ftyp":
        for _ in range(4):  # moov, trak, mdia, minf: boxes of boxes
            inner = [p for name, p in level if name in (b"moov", b"trak", b"mdia", b"minf")]
            level = boxes(data, range(inner[-1].start + 8, inner[-1].stop)) if inner else []
            levels.append(level)
        level = rng.choice([found for found in levels if len(found) > 1])
        k = rng.randrange(len(level) - 1)
        a, b = level[k][1], level[k + 1][1]
    else:
        middle = rng.randrange(200, len(data) - 200)
        a = range(rng.randrange(middle), middle)
        b = range(middle, rng.randrange(middle + 1, len(data)))
    return data[: a.start] + data[b.start : b.stop] + data[a.start : a.stop] + data[b.stop :]


def as_it_is(rng: random.Random, data: bytearray, head: range) -> bytearray:
    return data


MUTATIONS: dict[str, Mutation] = {
    "bits of the header flipped": flip_header,
    "bits of the body flipped": flip_body,
    "numbers of the header": set_number,
    "cut short": cut,
    "a piece twice": doubled,
    "a piece gone": removed,
    "a piece zero": zeroed,
    "boxes swapped": swapped,
    "wrong ending": as_it_is,
    "foreign half": as_it_is,
}


def build(source: Path, out: Path, engine: str, visual: str, max_failed: float = 1.0) -> End:
    """Run the command as a user would; a build longer than all items' limits counts as hung."""
    words = ["build", "--dataset", "folder", "--source", source, "--out", out, "--engine", engine]
    words += ["--visual", visual, "--weights", "untrained", "--codec", "none"]
    words += ["--item-limit-s", ITEM_LIMIT_S, "--max-failed", max_failed]
    begun_s = time.time()
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8",
        errors="replace", timeout=600 + ITEM_LIMIT_S * len(list(source.iterdir())),
    )  # fmt: skip
    path = out / "report.json"
    report = (
        json.loads(path.read_text(encoding="utf-8"))
        if path.is_file()
        else {"rows": [], "segments": {}}
    )
    stored = Ledger(out / ".work" / "results").stored()
    ends_s = sorted(one.written_s for one in stored if one.stage == "cut")
    ends_s = [end_s for end_s in ends_s if end_s > begun_s]
    pauses = [b - a for a, b in pairwise(ends_s)]
    segments = sum(report["segments"].values())
    return End(run.returncode, report["rows"], segments, max(pauses, default=0.0), run.stderr)


def wrongs(end: End, names: Sequence[str], untouched: Sequence[str]) -> list[str]:
    """Return what is not as it must be in a build that all failures were allowed to."""
    found = []
    if end.code != 0:
        found.append(f"exit {end.code}, expected 0: {end.words[-500:]}")
    rows = {str(row["path"]): row for row in end.rows}
    if len(end.rows) != len(names) or rows.keys() != set(names):
        found.append(f"{len(end.rows)} rows of {len(names)} inputs")
    if end.segments != sum(int(str(row.get("segments", 0))) for row in end.rows):
        found.append("the rows' segments do not add up to the shards'")
    for path, row in rows.items():
        if row.get("code") in UNFORESEEN:
            found.append(f"{path}: {row['code']}: {row['message']}")
        if path in untouched and row["status"] != "ok":
            found.append(f"{path}: untouched, and {outcome(row)}: {row.get('message')}")
    return found


def outcome(row: dict[str, object]) -> str:
    return f"{row['status']} {row.get('code', '')}".strip()


def table(end: End, kinds: dict[str, str]) -> str:
    """Return the mutated inputs by mutation and outcome, with sums."""
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for row in end.rows:
        if kind := kinds.get(str(row["path"])):
            by_kind[kind][outcome(row)] += 1
    total: Counter[str] = sum(by_kind.values(), Counter())
    columns = sorted(total)
    lines = ["| mutation | " + " | ".join(columns) + " | all |", "|---" * (len(columns) + 2) + "|"]
    for kind, counts in [*by_kind.items(), ("all", total)]:
        numbers = [str(counts[name]) for name in columns]
        lines.append(f"| {kind} | {' | '.join(numbers)} | {counts.total()} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", action="append", choices=["local", "ray"])
    parser.add_argument("--visual", default="none", choices=["none", "i3d_r50"])
    parser.add_argument("--folder", type=Path, help="for videos and builds (default: temporary)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(1 if run(asked, asked.folder or Path(temporary)) else 0)


def run(asked: argparse.Namespace, folder: Path) -> list[str]:
    """Make the videos, build them with each engine and return what was wrong, all of it printed."""
    source = folder / "in"
    source.mkdir(parents=True)
    clips = make_clips(source)
    kinds = mutate(clips, asked.videos, asked.seed, source)
    for name, data in clips.items():
        (source / name).write_bytes(data)
    names = [*kinds, *clips]
    print(f"{len(kinds)} mutated videos beside {len(clips)} untouched ones, seed {asked.seed}")
    wrong, seen = [], {}
    for engine in asked.engine or ["local", "ray"]:
        begun_s = time.monotonic()
        end = build(source, folder / engine, engine, asked.visual)
        took_s = time.monotonic() - begun_s
        found = wrongs(end, names, list(clips))
        seen[engine] = {str(row["path"]): outcome(row) for row in end.rows}
        print(f"\n--engine {engine}: exit {end.code} after {took_s:.0f} s, {len(end.rows)} rows, "
              f"{end.segments} segments, longest pause {end.pause_s:.1f} s\n")  # fmt: skip
        print(table(end, kinds), flush=True)
        strict = build(source, folder / engine, engine, asked.visual, max_failed=0.0)
        if strict.code != 3 or [outcome(row) for row in strict.rows] != [*map(outcome, end.rows)]:
            found.append(f"again with --max-failed 0: exit {strict.code}, expected 3, same rows")
        wrong += [f"{engine}: {line}" for line in found]
    if len({json.dumps(ends, sort_keys=True) for ends in seen.values()}) > 1:
        wrong.append("the engines' outcomes differ")
    tars = [sorted((p.name, p.read_bytes()) for p in (folder / e).glob("*.tar")) for e in seen]
    if any(other != tars[0] for other in tars):
        wrong.append("the engines' shards differ")
    print("", *wrong or ["nothing was wrong"], sep="\n")
    return wrong


if __name__ == "__main__":
    print_anything()
    main()
