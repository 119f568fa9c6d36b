"""Notes or noise? Runs beside the truth, the codec's copy, random codes and other songs' dances.

    python benchmarks/notes.py --shards DIR --runs RUN [RUN ...] [--out FOLDER] [--verdict]

Evaluates each run that has no evaluation yet (`model evaluate`, embedding mel-statistics), then
prints for each level a table of the runs and their controls, the share of what the codec leaves of
the truth that each run reaches, and how many songs the dance helps. With --out, it draws the
spectrograms of three songs' clips for each run beside the truth: look at them before you believe a
figure. With --verdict, it prints which measures order random codes, a D2M-GAN run, the codec's copy
and the truth as they must. Intervals are of 95 %, by bootstrap over songs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.baselines.base import TRUTH
from model.contract.kinds import D2M_GAN
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.terminal import print_anything
from model.contract.wav import decode_wav
from model.evaluation.evaluate import NAME, evaluate, folder_of, load
from model.evaluation.tables import markdown, of_notes
from model.generation.run import load_run
from model.measures.base import recorded
from model.measures.bootstrap import interval

RANDOM = "random codes"
JUDGED = ("notes", "held", "upper", "genre_heard", "genre", "frechet", "onset_f", "beat_f", "kl")
"""Measures that may order the rows of --verdict."""


def main() -> None:
    """Evaluate what is missing, print the tables, draw the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    parser.add_argument("--verdict", action="store_true", help="judge the measures, not the runs")
    arguments = parser.parse_args()
    evaluations = []
    for folder in arguments.runs:
        if not (folder_of(folder, arguments.split) / NAME).exists():
            options = {"split": arguments.split, "embedding": "mel-statistics"}
            evaluate(load_run(folder), arguments.shards, **options)
        evaluations.append(load(folder, arguments.split))
    for level in dict.fromkeys(e["level"] for e in evaluations):
        ours = [e for e in evaluations if e["level"] == level]
        print(f"\n## Level {level}\n\n{markdown(of_notes(without_repeats(ours)))}")
        print(f"\nShare of the codec's copy:\n\n{markdown(shares(ours))}")
        if len(lines := gains(ours)) > 1:
            print(f"\nSongs of which the dance tells something:\n\n{markdown(lines)}")
    if arguments.verdict:
        for e in evaluations:
            if e["family"] == D2M_GAN:
                print(f"\nRandom codes, {e['run']}, copy, truth:\n\n{markdown(verdict(e))}")
    if arguments.out:
        for e in evaluations:
            draw(e, folder_of(Path(e["run"]), e["split"]), arguments.out)


def without_repeats(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations, those after the first without the rows that it has as well."""
    first = evaluations[0]["rows"]
    found = [{**evaluations[0]}]
    for e in evaluations[1:]:
        rows = {}
        for name, row in e["rows"].items():
            known = first[name]["scores"] if name in first else {}
            if name.startswith(e["row"]) or row["scores"].keys() - known.keys():
                rows[name] = row
        found.append({**e, "rows": rows})
    return found


def copy_of(evaluation: Mapping[str, Any]) -> str:
    return f"reconstruction, {evaluation['level']}"


def shares(evaluations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of a table: each run's mean over that of the codec's copy, with interval."""
    names = ("onset_f", "notes", "held", "upper", "genre_heard")
    found = [n for n in names if all(n in e["rows"][e["row"]]["each"] for e in evaluations)]
    lines = [["run", *found]]
    for e in evaluations:
        cells = []
        for name in found:
            measure = recorded(e)[name]
            songs = e["songs"] if measure.of == "clip" else e["segment_songs"]
            own, copy = (np.array(e["rows"][row]["each"][name], float)
                         for row in (e["row"], copy_of(e)))  # fmt: skip
            known = ~np.isnan(own + copy)
            own, copy, songs = own[known], copy[known], np.asarray(songs)[known]
            ratio = interval(
                lambda at, own=own, copy=copy: float(own[at].mean() / copy[at].mean()), songs
            )
            cells.append(f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
        lines.append([e["run"], *cells])
    return lines


def gains(evaluations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of a table: songs whose own dance, and other songs' dances, save bits."""
    lines = [["run", "level", "own dance helps", "others' dances help"]]
    for e in evaluations:
        each, songs = e["rows"][e["row"]]["each"], np.asarray(e["segment_songs"])
        for name in (name for name in each if name.startswith("gain_")):
            if name.startswith("gain_others_"):
                continue
            level, cells = name.removeprefix("gain_"), []
            for which in (name, f"gain_others_{level}"):
                values = np.array(each.get(which, [None] * len(songs)), float)
                helped = sum(values[songs == song].mean() > 0 for song in set(songs))
                cells.append(f"{helped} of {len(set(songs))}")
            lines.append([e["run"], level, *cells])
    return lines


def verdict(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of a table: how each measure orders four rows that are known to be ordered.

    Two rows are apart if their intervals are; the copy may be anywhere at or below the truth.
    """
    rows = [RANDOM, evaluation["row"], copy_of(evaluation), TRUTH]
    lines = [["measure", *rows, "random < GAN", "GAN < copy", "copy ≤ truth"]]
    for name in JUDGED:
        scores = [evaluation["rows"][row]["scores"].get(name) for row in rows]
        if any(score is None for score in scores):
            continue
        measure = recorded(evaluation)[name]
        sign = -1 if measure.lower_is_better else 1
        ends = [sorted(sign * score[end] for end in ("low", "high")) for score in scores]
        below = [ends[i][1] < ends[i + 1][0] for i in range(2)]
        below.append(ends[2][0] <= ends[3][1])
        cells = [f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in scores]
        lines.append([measure.title, *cells, *("yes" if each else "NO" for each in below)])
    return lines


def draw(evaluation: Mapping[str, Any], page: Path, out: Path) -> None:
    """Draw the clips of an evaluation's page up to 4 kHz: truth, codec's copy and the run."""
    import librosa
    from matplotlib.figure import Figure

    rows = [TRUTH, copy_of(evaluation), evaluation["row"]]
    places = [list(evaluation["rows"]).index(row) + 1 for row in rows]
    clips = sorted({path.name.split("-")[1] for path in page.glob("clip-*.wav")}, key=int)[:3]
    figure = Figure((5 * len(clips), 2.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(clips), squeeze=False)
    for column, clip in enumerate(clips):
        for line, (row, place) in enumerate(zip(rows, places, strict=True)):
            path = page / f"clip-{clip}-{place:02d}.wav"
            audio = decode_wav(path.read_bytes(), path.name)
            power = np.abs(librosa.stft(audio, n_fft=4096, hop_length=512)) ** 2
            shown = librosa.power_to_db(power[: int(4000 / SAMPLE_RATE_HZ * 4096)], ref=1.0)
            axes[line, column].imshow(
                shown, origin="lower", aspect="auto", vmin=-40, vmax=40,
                extent=(0, len(audio) / SAMPLE_RATE_HZ, 0, 4),
            )  # fmt: skip
            axes[line, column].set(title=f"{row}, clip {clip}", ylabel="kHz")
    out.mkdir(parents=True, exist_ok=True)
    name = f"notes-{Path(evaluation['run']).name}.jpg"
    figure.savefig(out / name, dpi=70)
    print(f"\n{out / name}")


if __name__ == "__main__":
    print_anything()
    main()
