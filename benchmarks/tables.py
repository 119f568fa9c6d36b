"""The paper's tables in small: every ablation trained and evaluated, beside the paper's figures.

    python benchmarks/tables.py --shards shards/synthetic [--shards-3s DIR] [--shards-4s DIR]
        [--steps 600] [--level high low] [--rows NAME …]

For each level: the decoder is fine-tuned, then the full model and each file of configs/ are trained
with the tiny preset and that decoder, and evaluated on the test split. Again with the same options
it goes on where it was. Without shards of 3 and 4 s windows those rows are left out. Prints the
tables of `model evaluate --all`, and for each row and score whether it moves as in the paper, which
RUNS/moves.png shows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.contract.terminal import print_anything
from model.evaluation.evaluate import NAME, folder_of, load
from model.evaluation.paper import FULL, TABLES, row_of
from model.evaluation.score import PAPER
from model.evaluation.tables import beside_the_paper, markdown
from model.measures.bootstrap import paired_difference, sign_flip_p
from model.training.finetune_decoder import CODEC

CONFIGS = Path(__file__).parent.parent / "configs"
BEYOND = ("genre", "network-paper", "no-adversarial", "no-codebook")
"""Files of configs/ that no table of the paper has."""
ONSETS = "onset_f"
DRAWN = {"cover": "tab:blue", "hit": "tab:orange", ONSETS: "tab:green"}
LEVEL_OF_P = 0.05
DECODER_STEPS = {"high": 100, "low": 50}
DECODER = {
    "batch_size": 4, "lr_decoder": 3e-4, "d_channels": 8, "d_max_channels": 128,
    "judged_samples": 8192, "val_every": 50, "val_segments": 32,
}  # fmt: skip
"""The small decoder's fine-tuning that docs/results/codec.md measures."""


def main() -> None:
    """Train and evaluate what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=Path, required=True, help="windows of 2 s, with codes")
    parser.add_argument("--shards-3s", type=Path)
    parser.add_argument("--shards-4s", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--level", nargs="+", choices=("high", "low"), default=["high", "low"])
    parser.add_argument("--rows", nargs="+", default=["full", *rows()], help="default: all")
    parser.add_argument("--embedding", default="mel-statistics")
    parser.add_argument("--runs", type=Path, default=Path("runs/tables"))
    arguments = parser.parse_args()
    windows = {"window-3s": arguments.shards_3s, "window-4s": arguments.shards_4s}
    done = []
    for level in arguments.level:
        decoder = finetune(arguments.shards, level, arguments.runs / f"decoder-{level}")
        for row in arguments.rows:
            shards = windows.get(row, arguments.shards)
            if shards is None:
                print(f"{row}: left out, no shards of that window given", flush=True)
                continue
            done.append(make(arguments, level, row, shards, decoder))
    evaluations = [load(run) for run in done]
    found = moves(evaluations)
    print(f"\n{beside_the_paper(evaluations)}\n\n{moves_table(found)}")
    if found:
        draw(found, arguments.runs / "moves.png")


def rows() -> list[str]:
    """Return the names of the configurations that are rows of the paper."""
    names = [path.stem for path in sorted(CONFIGS.glob("*.yaml"))]
    return [name for name in names if name not in BEYOND and not name.startswith("cdcd-")]


def finetune(shards: Path, level: str, out: Path) -> Path:
    """Return the codec with the level's decoder fine-tuned, making it where it is missing."""
    if not (out / CODEC).exists():
        options: list[object] = ["--steps", DECODER_STEPS[level]]
        for key, value in DECODER.items():
            options += ["--set", f"{key}={value}"]
        run("finetune-synthesizer", "--shards", shards, "--level", level, "--out", out, *options)
    return out / CODEC


def make(arguments: argparse.Namespace, level: str, row: str, shards: Path, decoder: Path) -> Path:
    """Train and evaluate one row at one level, unless that was done; return the run's folder."""
    out = arguments.runs / f"{row}-{level}"
    if (folder_of(out) / NAME).exists():
        return out
    options: list[object] = ["--config", CONFIGS / f"{row}.yaml"] if row != "full" else []
    options += ["--codec", decoder] if row != "no-finetuning" else []
    options += ["--resume"] if (out / "last.pt").exists() else []
    quiet = {"max_steps": arguments.steps, "val_every": arguments.steps, "log_every": 100,
             "sample_every": arguments.steps, "checkpoint_every": 100}  # fmt: skip
    for key, value in quiet.items():
        options += ["--set", f"{key}={value}"]
    began_s = time.monotonic()
    run("train", "--shards", shards, "--level", level, "--preset", "tiny", "--out", out, *options)
    trained_s = time.monotonic() - began_s
    run("evaluate", "--run", out, "--shards", shards, "--embedding", arguments.embedding,
        "--alone", "--clips", 1)  # fmt: skip
    print(f"{out}: trained in {trained_s:.0f} s", flush=True)
    return out


def run(*words: object) -> None:
    """Run a `model` command; end with its last words where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "model", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"model {words[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}")


@dataclass(frozen=True)
class Move:
    """How far a row is from the full model in one score, in percentage points.

    `paper` is None where the paper has no such score; ours is the paired difference over test
    segments with its interval over songs, and the p of "no difference" by flipping songs' signs.
    """

    row: str
    level: str
    score: str
    paper: float | None
    ours: float
    low: float
    high: float
    p: float

    @property
    def told(self) -> bool:
        """Whether the row can be told from the full model here."""
        return self.p <= LEVEL_OF_P

    def __str__(self) -> str:
        mark = ""
        if self.told and self.paper is not None:
            mark = " **=**" if self.paper * self.ours > 0 else " **≠**"
        elif self.told:
            mark = " **–**" if self.ours < 0 else " **+**"
        paper = "" if self.paper is None else f"{self.paper:+.1f}: "
        return f"{paper}{self.ours:+.1f} ({self.low:+.1f} … {self.high:+.1f}){mark}"


def moves(evaluations: Sequence[dict]) -> list[Move]:
    """Return, by row, level and score, how far it is from the full model in the paper and here.

    The onsets' F is no score of the paper, but one that tells models apart. A row of another window
    has no pairs and is left out.
    """
    finetuned = any(e["finetuned"] for e in evaluations)
    named = {
        (row_of(e["config"], e["window_s"], e["finetuned"], finetuned), e["level"]): e
        for e in evaluations
    }
    paper = {row.name: {"high": row.high, "low": row.low} for t in TABLES.values() for row in t}
    found = []
    for (name, level), e in named.items():
        full = named.get((FULL, level))
        if name == FULL or name not in paper or full is None or full["segments"] != e["segments"]:
            continue
        each, others = (x["rows"][x["row"]]["each"] for x in (e, full))
        figures = zip(PAPER, paper[name][level], paper[FULL][level], strict=True)
        theirs = {score: row - whole for score, row, whole in figures} | {ONSETS: None}
        for score in (score for score in theirs if score in each):
            pairs = (
                100 * np.array(each[score], float), 100 * np.array(others[score], float),
                e["songs" if score == ONSETS else "segment_songs"],
            )  # fmt: skip
            ours, p = paired_difference(*pairs), sign_flip_p(*pairs)
            found.append(Move(name, level, score, theirs[score], ours.mean, ours.low, ours.high, p))
    return found


def moves_table(found: Sequence[Move]) -> str:
    """Return the moves as a table; = and ≠ say whether they go the paper's way."""
    scores = list(dict.fromkeys(move.score for move in found))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for move in found:
        rows.setdefault((move.row, move.level), {})[move.score] = str(move)
    lines = [["row", "level", *(score.replace("_f", " F") for score in scores)]]
    lines += [[*key, *(cells.get(s, "") for s in scores)] for key, cells in rows.items()]
    told = sum(move.told for move in found)
    legend = (
        "paper: ours (95 % over songs), each minus the full model. Told apart here (p ≤ "
        f"{LEVEL_OF_P}, sign flips over songs): **=** moves as in the paper, **≠** does not; **–** "
        "worse and **+** better, where the paper has no figure. "
        f"{told} of {len(found)} are; were there no differences at all, "
        f"{len(found) * LEVEL_OF_P:.0f} would be by chance."
    )
    return f"**Moves, percentage points.** {legend}\n\n{markdown(lines)}"


def draw(found: Sequence[Move], path: Path) -> None:
    """Draw cover, hit and the onsets' F of each row against the full model's, a panel per level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(move.row for move in found))
    levels = list(dict.fromkeys(move.level for move in found))
    figure = Figure(figsize=(6.5 * len(levels), 0.55 * len(rows) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(levels), sharex=True, sharey=True, squeeze=False)[0]
    for panel, level in zip(panels, levels, strict=True):
        panel.axvline(0, color="0.6", linewidth=1)
        for i, (score, color) in enumerate(DRAWN.items()):
            kept = [m for m in found if (m.level, m.score) == (level, score)]
            at = [rows.index(m.row) + 0.22 * (i - 1) for m in kept]
            ours = [m.ours for m in kept]
            ends = [[m.ours - m.low for m in kept], [m.high - m.ours for m in kept]]
            label = score.replace("_f", " F")
            panel.errorbar(ours, at, xerr=ends, fmt="o", color=color, ms=4, label=f"{label}, ours")
            if any(m.paper is not None for m in kept):
                panel.plot([m.paper for m in kept], at, "x", color=color, label=f"{label}, paper")
        panel.set(title=f"{level} level", xlabel="minus the full model, percentage points")
        panel.set_yticks(range(len(rows)), rows)
        panel.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    panels[-1].legend(fontsize="small", loc="lower left")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    print_anything()
    main()
