"""Table 1 in small: every method that the paper compares with, trained and scored on one data set.

    python benchmarks/table1.py --shards shards/synthetic [--runs runs/table1] [--d2m-gan RUN ...]

Trains the baselines with the preset tiny, makes CMT's music once more with one instrument, scores
all of them and the D2M-GAN runs given, and prints the paper's tables with ours beside, then the
measures that Table 1 has not: how well onsets and beats are met, and by music for other dances.
The data set needs codes and notes (`pipeline notes`). Again with the same options it goes on where
it was. Intervals are of 95 %, by bootstrap over songs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tables import run

from model.contract.kinds import NOTE_FAMILIES
from model.contract.terminal import print_anything
from model.evaluation.evaluate import NAME, folder_of, load
from model.evaluation.tables import beside_the_paper, cell, markdown
from model.measures.base import recorded

MEASURED = ("cover", "hit", "genre", "onset_f", "beat_f", "align", "notes", "loudness_db")
ONE = "CMT, one instrument"


def main() -> None:
    """Train and evaluate what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=Path, required=True, help="with codes and notes")
    parser.add_argument("--runs", type=Path, default=Path("runs/table1"))
    parser.add_argument("--d2m-gan", type=Path, nargs="*", default=[], metavar="RUN")
    parser.add_argument("--families", nargs="+", choices=NOTE_FAMILIES, default=NOTE_FAMILIES)
    parser.add_argument("--embedding", default="mel-statistics")
    arguments = parser.parse_args()
    shards, done = arguments.shards, [*arguments.d2m_gan]
    for family in arguments.families:
        done.append(out := arguments.runs / family)
        if not (out / "music" / "generated.json").exists():
            began_s = time.monotonic()
            options = ["--resume"] if (out / "last.pt").exists() else []
            run("baseline", family, "--shards", shards, "--preset", "tiny", "--out", out, *options)
            print(f"{out}: trained and played in {time.monotonic() - began_s:.0f} s", flush=True)
    if "cmt" in arguments.families:
        done.append(one := arguments.runs / "cmt-one")
        if not (one / "generated.json").exists():
            run("generate", "--run", arguments.runs / "cmt", "--shards", shards, "--out", one,
                "--set", "instruments=one")  # fmt: skip
    for number, folder in enumerate(done):
        if not (folder_of(folder) / NAME).exists():
            subject = ["--run", folder] if (folder / "last.pt").exists() else [
                "--music", f"{ONE}={folder}"]  # fmt: skip
            # The rows that depend on no run are scored beside the first alone.
            alone = ["--alone"] if number else []
            run("evaluate", *subject, "--shards", shards, "--embedding", arguments.embedding,
                "--clips", 3, *alone)  # fmt: skip
    evaluations = [load(folder) for folder in done]
    print(f"\n{beside_the_paper(evaluations)}\n")
    measures = recorded(evaluations[0])
    names = [name for name in MEASURED if name in measures]
    lines = [["row", *(measures[name].title for name in names)]]
    for e in evaluations:
        for title, row in e["rows"].items():
            scores = row["scores"]
            if "cover" in scores:
                lines.append([title, *(cell(scores.get(name), measures[name]) for name in names)])
    print(markdown(lines))


if __name__ == "__main__":
    print_anything()
    main()
