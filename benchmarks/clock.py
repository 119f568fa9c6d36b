"""Measure the clock: how far sound and picture of every kind of file lie from where they were put.

    python benchmarks/clock.py [DIR] [--fps 25 30000/1001 60] [--seconds 4.2] [--only WORDS]

Writes the files of the clock list (tests/support/clock_list.py) into DIR, builds them with the
local engine, and compares the segments' sound and the visual stage's frames with the truth. Prints
a table, the largest error over all frame rates in each row; exits 1 where an error is over its
limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from clock_errors import Row, measure
from clock_films import write_film
from clock_list import Case, case_list, encoders

from model.contract.terminal import print_anything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="kept; default: none")
    parser.add_argument(
        "--fps", type=Fraction, nargs="+", default=[Fraction(25), Fraction(30000, 1001), 60]
    )
    parser.add_argument("--seconds", type=Fraction, default=Fraction(21, 5))
    parser.add_argument("--only", default="", help="cases whose name holds these words")
    options = parser.parse_args()
    cases = [c for c in case_list() if options.only.lower() in f"{c.about} {c.name}".lower()]
    with tempfile.TemporaryDirectory(prefix="dance2music-") as scratch:
        folder = options.folder or Path(scratch)
        found = [run(cases, folder / f"{float(fps):.2f}", fps, options.seconds)
                 for fps in options.fps]  # fmt: skip
    print(
        "| | file | clicks, frames | sound (samples) | picture (frames) | beyond the nearest |"
        "\n|---|---|---|---|---|---|"
    )
    about, good = "", True
    for case in cases:
        rows = [each[case] for each in found if case in each]
        line, fine = describe(case, rows)
        print(f"| {case.about if case.about != about else ''} | {case.name} | {line} |")
        about, good = case.about, good and fine
    raise SystemExit(0 if good else 1)


def run(cases: list[Case], folder: Path, fps: Fraction, seconds: Fraction) -> dict[Case, Row]:
    """Write, build and measure the cases whose encoders the ffmpeg program has."""
    folder.mkdir(parents=True, exist_ok=True)
    able = [case for case in cases if case.encoders <= encoders()]
    films = [write_film(case, folder / "films", Fraction(fps), seconds) for case in able]
    return {row.case: row for row in measure(films, folder)}


def describe(case: Case, rows: list[Row]) -> tuple[str, bool]:
    """Return the rest of the table's row and whether it is within the limits."""
    if not rows:
        return f"not run: no {', '.join(sorted(case.encoders - encoders()))} | | | ", True
    good = all(row.good for row in rows)
    unread = sum(row.unread for row in rows)
    picture = " | ".join(
        f"{max(errors):.3f}"
        for errors in ([r.picture_error for r in rows], [r.beyond for r in rows])
    )
    counts = f"{sum(row.clicks for row in rows)}, {sum(row.looks for row in rows)}"
    ends = sorted({row.outcome for row in rows if row.outcome})
    sound = ", ".join(f"`{end}`" for end in ends) or f"{max(r.sound_error for r in rows):.2f}"
    notes = "" if good else f" **not good**: {unread} unread {[r.message for r in rows]}"
    return f"{counts} | {sound} | {picture}{notes}", good


if __name__ == "__main__":
    print_anything()
    main()
