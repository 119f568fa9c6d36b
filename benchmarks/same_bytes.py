"""Print hashes of everything that a change of the code must leave as it was.

    python benchmarks/same_bytes.py --work before --videos FOLDER > before.txt
    (change the code)
    python benchmarks/same_bytes.py --work after --videos FOLDER > after.txt
    python benchmarks/same_bytes.py --work later --from before > later.txt

The first two build shards of a folder of videos (if one is named) and of 24 synthetic ones, train a
tiny run, resume it and generate from it: their lines must be the same. The third takes the shards
and the run that the older code made, resumes that run and generates from it: its lines are the last
ones of `before.txt`, if old runs still load, resume bit for bit and sound the same.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from model.contract.terminal import print_anything

STEPS, MORE_STEPS = 20, 40


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a new folder to work in")
    parser.add_argument("--videos", type=Path, help="a folder of videos to build as well")
    parser.add_argument("--from", dest="old", type=Path, help="the --work folder of older code")
    arguments = parser.parse_args()
    work, old = arguments.work, arguments.old
    work.mkdir(parents=True)
    if old is None:
        for line in built(work, arguments.videos):
            print(line, flush=True)
        run(
            "model",
            "train",
            "--shards",
            work / "synthetic",
            "--out",
            work / "run",
            *settings(STEPS),
        )
    shards = (old or work) / "synthetic"
    shutil.copytree((old or work) / "run", work / "resumed")
    resumed = ("--out", work / "resumed", "--resume", *settings(MORE_STEPS))
    run("model", "train", "--shards", shards, *resumed)
    print(f"{weights_hash(work / 'resumed' / 'last.pt')}  resumed/last.pt: weights and optimisers")
    music = work / "music"
    run("model", "generate", "--run", work / "resumed", "--shards", shards, "--out", music)
    for line in hashes(music, "*.wav"):
        print(line)


def built(work: Path, videos: Path | None) -> Iterator[str]:
    """Build the data sets; yield a line for each tar."""
    common = ("--weights", "untrained", "--codec", "demo", "--engine", "local")
    if videos is not None:
        source = ("--dataset", "folder", "--source", videos)
        run("pipeline", "build", *source, "--out", work / "folder", *common)
        yield from hashes(work / "folder", "*.tar")
        plain = ("--visual", "none", "--window-s", "5/2", "--engine", "local")
        run("pipeline", "build", *source, "--out", work / "plain", *plain)
        yield from hashes(work / "plain", "*.tar")
    source = ("--dataset", "synthetic", "--source", work / "videos", "--limit", "24")
    run("pipeline", "build", *source, "--out", work / "synthetic", *common)
    yield from hashes(work / "synthetic", "*.tar")


def settings(steps: int) -> list[str]:
    values = {"max_steps": steps, "log_every": 10, "val_every": 20, "sample_every": 20}
    pairs = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return ["--preset", "tiny", "--level", "high", "--device", "cpu", *pairs]


def run(*words: object) -> None:
    """Run one of the project's commands; its output goes to stderr."""
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, stdout=sys.stderr)


def hashes(folder: Path, pattern: str) -> Iterator[str]:
    for path in sorted(folder.rglob(pattern)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield f"{digest}  {path.relative_to(folder.parent)}"


def weights_hash(path: Path) -> str:
    """Return a hash of every tensor of a checkpoint, in the order of their names."""
    import torch

    found = dict(tensors(torch.load(path, map_location="cpu", weights_only=True)))
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(found[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def tensors(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if hasattr(value, "numpy"):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from tensors(inner, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from tensors(inner, f"{name}.{number:06d}")


if __name__ == "__main__":
    main()
