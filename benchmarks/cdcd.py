"""CDCD's table in small: its three variants trained and evaluated, beside the published figures.

    python benchmarks/cdcd.py --shards shards/synthetic [--steps 300] [--condition aligned vector]

Each file configs/cdcd-*.yaml is trained with the tiny preset, for each kind of condition, and
evaluated on the test split with CDCD's way to sample, in fewer passes. Again with the same options
it goes on where it was. Prints the tables of `model evaluate --all`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tables import run

from model.contract.terminal import print_anything
from model.evaluation.cdcd import CONDITIONS
from model.evaluation.evaluate import NAME, folder_of, load
from model.evaluation.tables import beside_the_paper, cell, markdown
from model.measures.base import recorded

CONFIGS = Path(__file__).parent.parent / "configs"
MEASURED = ("bits_high", "gain_high", "gain_others_high", "onset_f")
"""Printed below the table, which has none of them."""


def main() -> None:
    """Train and evaluate what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=Path, required=True, help="windows of 2 s, with codes")
    parser.add_argument("--steps", type=int, default=300, help="training steps of 8 segments")
    parser.add_argument("--condition", nargs="+", choices=CONDITIONS, default=[*CONDITIONS])
    parser.add_argument("--passes", type=int, default=16, help="of sampling; CDCD: 80")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedding", default="mel-statistics")
    parser.add_argument("--runs", type=Path, default=Path("runs/cdcd"))
    arguments = parser.parse_args()
    done = [
        make(arguments, file, condition)
        for condition in arguments.condition
        for file in sorted(CONFIGS.glob("cdcd-*.yaml"))
    ]
    evaluations = [load(run) for run in done]
    print(f"\n{beside_the_paper(evaluations)}\n")
    measures = recorded(evaluations[0])
    lines = [["run", *(measures[name].title for name in MEASURED)]]
    for e in evaluations:
        scores = e["rows"][e["row"]]["scores"]
        cells = [cell(scores.get(name), measures[name]) for name in MEASURED]
        lines.append([Path(e["run"]).name, *cells])
    print(markdown(lines))


def make(arguments: argparse.Namespace, file: Path, condition: str) -> Path:
    """Train and evaluate one variant, unless that was done; return the run's folder."""
    out = arguments.runs / f"{file.stem.removeprefix('cdcd-')}-{condition}"
    if (folder_of(out) / NAME).exists():
        return out
    steps = arguments.steps
    settings = {
        "condition": condition, "seed": arguments.seed, "max_steps": steps, "val_every": steps,
        "sample_every": steps, "val_segments": 16, "val_sound_segments": 1, "sample_segments": 1,
        "warmup_steps": max(1, steps // 10), "average": 0.98, "checkpoint_every": 20,
        "log_every": 10,
    }  # fmt: skip
    options: list[object] = ["--resume"] if (out / "last.pt").exists() else []
    for key, value in settings.items():
        options += ["--set", f"{key}={value}"]
    began_s = time.monotonic()
    run("train", "--shards", arguments.shards, "--family", "masked", "--preset", "tiny",
        "--config", file, "--out", out, *options)  # fmt: skip
    trained_s = time.monotonic() - began_s
    drawn = {"steps": arguments.passes, "guidance": 1, "temperature": 1, "top_p": 0.86}
    sampling = [word for key, value in drawn.items() for word in ("--set", f"{key}={value}")]
    run("evaluate", "--run", out, "--shards", arguments.shards, "--embedding",
        arguments.embedding, "--alone", "--clips", 1, *sampling)  # fmt: skip
    print(f"{out}: trained in {trained_s:.0f} s", flush=True)
    return out


if __name__ == "__main__":
    print_anything()
    main()
