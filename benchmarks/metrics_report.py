"""Names, tables and picture of benchmarks/metrics.py."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

RHYTHM = ("onset_f", "beat_f", "cemgil", "tempo", "tempo_octave", "align", "align_back")
SEGMENTS = ("cover", "hit", "loris_cover", "loris_hit", "genre", "kl", "codes")
SETS = ("frechet", "feature_kl", "csd", "hsd", "perplexity")

DISCRIMINATING = (*RHYTHM, "genre", "kl", "codes")
"""Those that must put the truth first and the shuffled music last, intervals apart."""
LOWER_IS_BETTER = ("kl", "frechet", "feature_kl")

TRUTH, SHUFFLED, METRONOME = "ground truth", "shuffled", "metronome, 120 BPM"


def tables(results: dict) -> str:
    """Return the results as Markdown."""
    arms, lines = results["arms"], []

    def table(title: str, names: Iterable[str], source: dict, form: str) -> None:
        names = list(names)
        lines.extend(
            ["", title, "", f"| music | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
        )
        for arm, scores in source.items():
            ends = ([scores[n][end] for end in ("value", "low", "high")] for n in names)
            cells = (f"{v:{form}} ({low:{form}}…{high:{form}})" for v, low, high in ends)
            lines.append(f"| {arm} | {' | '.join(cells)} |")

    table("Rhythm", RHYTHM, arms, ".2f")
    table("Segments", SEGMENTS, arms, ".2f")
    table("Sets", SETS, results["sets"], ".3g")
    lines += [
        "",
        "| measure | truth first | shuffled last | intervals apart | p |",
        "|---|---|---|---|---|",
    ]
    for name, said in results["verdict"].items():
        cells = " | ".join("yes" if value else "NO" for value in said.values())
        lines.append(f"| {name} | {cells} | {results['p'][name]:.4f} |")
    for key in ("late", "fast"):
        steps = [at["step"] for at in results[key]["beat_f"]]
        lines += ["", f"| {key} | {' | '.join(map(str, steps))} |", "|---" * (1 + len(steps)) + "|"]
        lines += [
            f"| {name} | "
            + " | ".join(f"{at['value']:.2f}" for at in course_)
            + " | "
            + ("falls |" if results["falls"][key][name]["falls"] else "RISES |")
            for name, course_ in results[key].items()
        ]
    lines += ["", "denoised:"]
    for name, scores in results["denoising"].items():
        before = arms[name.partition(";")[0]]
        changes = (f"{n} {before[n]['value']:.3f}→{scores[n]:.3f}" for n in before)
        taken = f"{scores['removed_share']:.1%} of the energy"
        lines.append(f"- {name}: {taken}; " + ", ".join(changes))
    lines += [
        "",
        f"flags: {results['flags']}",
        f"tracker late: {results['tracker_late_ms']:.1f} ms",
    ]
    return "\n".join([*lines, *(f"note: {label}" for label in results["labels"] if label)])


def draw(results: dict, path: Path) -> None:
    """Draw truth against shuffled, and what a shift in time and in tempo cost."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    names = [name for name in DISCRIMINATING if name not in LOWER_IS_BETTER]
    arms = results["arms"]
    shown = {TRUTH: "tab:green", "through the codec, high": "tab:olive", SHUFFLED: "tab:red"}
    for row, (arm, colour) in enumerate(shown.items()):
        at = [arms[arm][name] for name in names]
        ends = np.array([[a["value"] - a["low"], a["high"] - a["value"]] for a in at]).T
        places = np.arange(len(names))[::-1] + 0.2 * (1 - row)
        left.errorbar([a["value"] for a in at], places, xerr=np.abs(ends), fmt="o", ms=4,
                      capsize=2, color=colour, label=arm)  # fmt: skip
    left.set_yticks(np.arange(len(names))[::-1], names)
    left.set(xlim=(-0.02, 1.02), title="truth and shuffled music, 95 % over songs")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3)
    for axes, key, unit in ((middle, "late", "ms late"), (right, "fast", "% too fast")):
        for name, course_ in results[key].items():
            x = [at["step"] for at in course_]
            (line,) = axes.plot(x, [at["value"] for at in course_], "o-", ms=3, label=name)
            axes.fill_between(x, [at["low"] for at in course_], [at["high"] for at in course_],
                              color=line.get_color(), alpha=0.12, lw=0)  # fmt: skip
        axes.set(xlabel=unit, ylim=(-0.02, 1.05), title=f"the true music, {unit}")
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)
