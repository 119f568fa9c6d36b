"""Tables of evaluations in Markdown: one run's rows, two runs, all runs beside the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from model.config import FREE, Config, to_dict
from model.evaluate.compare import paired_difference, sign_flip_p
from model.evaluate.paper import FULL, OTHERS, TABLES, TIKTOK, Row, row_of
from model.evaluate.score import OF_CLIPS, OF_SEGMENTS, OF_SETS, PAPER

PERCENT = {*PAPER, "codes", "tempo", "tempo_octave", "csd", "hsd"}
LOWER_IS_BETTER = ("kl", "frechet", "feature_kl")
TITLES = {
    "cover": "cover %", "hit": "hit %", "genre": "genre %", "loris_cover": "BCS (LORIS)",
    "loris_hit": "BHS (LORIS)", "kl": "KL", "codes": "codes %", "onset_f": "onset F",
    "beat_f": "beat F", "cemgil": "Cemgil", "tempo": "tempo %", "tempo_octave": "tempo, octaves %",
    "align": "align", "align_back": "align, back", "csd": "CSD %", "hsd": "HSD %",
    "loris_f1": "F1 (LORIS)", "frechet": "Fréchet", "feature_kl": "feature KL",
    "perplexity": "perplexity",
}  # fmt: skip
Evaluation = Mapping[str, Any]
"""What evaluation.json holds."""


def one_run(evaluation: Evaluation) -> str:
    """Return three tables: the paper's scores and codes, rhythm, and figures of the whole set."""
    found = [name for row in evaluation["rows"].values() for name in row["scores"]]
    blocks = []
    for names in (OF_CLIPS, OF_SEGMENTS, OF_SETS):
        names = [name for name in names if name in found]
        lines = [["music", *(TITLES[name] for name in names)]]
        for title, row in evaluation["rows"].items():
            lines.append([title, *(cell(row["scores"].get(name), name) for name in names)])
        blocks.append(markdown(lines))
    return "\n\n".join(blocks)


def cell(found: Mapping[str, Any] | None, name: str) -> str:
    """Return a figure with its interval, or a dash."""
    if found is None or found["value"] is None:
        return "–"
    scale, digits = (100, 1) if name in PERCENT else (1, 3)
    if name == "perplexity":
        digits = 0
    text = f"{scale * found['value']:.{digits}f}"
    if found["low"] is None:
        return text
    return f"{text} [{scale * found['low']:.{digits}f}, {scale * found['high']:.{digits}f}]"


def compared(a: Evaluation, b: Evaluation) -> str:
    """Return each score's paired difference of two runs on the same split, with interval and p.

    Raises ValueError where they were not evaluated on the same segments.
    """
    if a["segments"] != b["segments"]:
        raise ValueError(
            f"{a['run']} and {b['run']} were evaluated on other segments; evaluate both on the "
            "same shards and split"
        )
    ours, theirs = (e["rows"][e["row"]]["each"] for e in (a, b))
    lines = [["score", "difference", "95 % interval", "songs won", "p (sign flips)"]]
    for name in (*OF_SEGMENTS, *OF_CLIPS):
        if name not in ours or name not in theirs:
            continue
        songs = a["songs"] if name in OF_CLIPS else a["segment_songs"]
        x, y = (np.array(each[name], float) for each in (ours, theirs))
        if len({s for s, d in zip(songs, x - y, strict=True) if not np.isnan(d)}) < 2:
            continue
        found = paired_difference(x, y, songs)
        scale = 100 if name in PERCENT else 1
        won = found.groups - found.groups_won if name in LOWER_IS_BETTER else found.groups_won
        lines.append([
            TITLES[name] + (" (less is better)" if name in LOWER_IS_BETTER else ""),
            f"{scale * found.mean:+.3f}", f"{scale * found.low:+.3f} … {scale * found.high:+.3f}",
            f"{won} of {found.groups}", f"{sign_flip_p(x, y, songs):.3f}",
        ])  # fmt: skip
    return f"{a['run']} − {b['run']}\n\n{markdown(lines)}"


def beside_the_paper(evaluations: Sequence[Evaluation]) -> str:
    """Return the paper's tables with the runs that belong to their rows beside them.

    Each figure is cover / hit / genre in percent; ours with the interval of each. Runs that no row
    of the paper is about come last. What data and weights ours are from is said below.
    """
    finetuned = any(e["finetuned"] for e in evaluations)
    held: dict[str, dict[str, list[Evaluation]]] = {}
    for e in evaluations:
        name = row_of(e["config"], e["window_s"], e["finetuned"], finetuned)
        held.setdefault(name, {"high": [], "low": []})[e["level"]].append(e)
    blocks, shown = [], set()
    is_tiktok = {e["dataset"] for e in evaluations} == {"tiktok"}
    tables = {"TikTok": TIKTOK} if is_tiktok else TABLES
    for title, rows in tables.items():
        full = next(row for table in (TIKTOK, TABLES["AIST++"])[:: 1 if is_tiktok else -1]
                    for row in table if row.name == FULL)  # fmt: skip
        body = [] if rows[0].name == FULL else [full]
        lines = [["row", "paper, high", "ours, high", "paper, low", "ours, low"]]
        if title == "AIST++":
            lines += [[name, slashed(f), "", slashed(f), ""] for name, f in OTHERS.items()]
        for row in [*body, *rows]:
            lines.append(_row(row, held.get(row.name, {})))
            shown.add(row.name)
        blocks.append(f"**{title}**: cover / hit / genre, %\n\n{markdown(lines)}")
    extra = {name: runs for name, runs in held.items() if name not in shown}
    if extra:
        lines = [["row", "ours, high", "ours, low"]]
        lines += [[n, _ours(r["high"]), _ours(r["low"])] for n, r in sorted(extra.items())]
        blocks.append(f"**Not in the paper**\n\n{markdown(lines)}")
    blocks.append("\n".join(_sources(evaluations)))
    return "\n\n".join(blocks)


def _row(row: Row, runs: Mapping[str, Sequence[Evaluation]]) -> list[str]:
    cells = [row.name]
    for level, figures in (("high", row.high), ("low", row.low)):
        cells += [slashed(figures), _ours(runs.get(level, ()))]
    return cells


def _ours(runs: Iterable[Evaluation]) -> str:
    told = []
    for e in runs:
        scores = e["rows"][e["row"]]["scores"]
        told.append(" / ".join(cell(scores.get(name), name) for name in PAPER))
    return "; ".join(told) or "–"


def _sources(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say what ours are from: what is true of all once, then what is of each run its own."""
    facts = {}
    for e in evaluations:
        facts[e["run"]] = [
            f"{e['dataset']}, split {e['split']}, {len(e['segments'])} segments of "
            f"{len(set(e['songs']))} songs", e["level"], f"arch {e['config']['arch']}",
            f"step {e['step']}", f"batch {e['config']['batch_size']}", f"codec {e['codec']}",
            f"embedding {e['embedding']}", *(e["labels"] or ["published weights"]),
            *unlike_the_paper(e["config"]),
        ]  # fmt: skip
    first, *others = facts.values()
    common = [fact for fact in first if all(fact in other for other in others)]
    lines = [
        "Ours, which the paper's figures are not to be measured by unless data and weights are "
        "its (a setting, name=value, is one that is not the paper's):",
        f"- all: {'; '.join(common)}",
    ]
    own = {run: [fact for fact in said if fact not in common] for run, said in facts.items()}
    return lines + [f"- {run}: {'; '.join(said)}" for run, said in own.items() if said]


def unlike_the_paper(config: Mapping[str, Any]) -> list[str]:
    """Return the settings that decide what a model is and are not the default, the paper's."""
    said = FREE | {"level", "seed", "arch", "batch_size"}
    ours, papers = (
        {k: v for k, v in {**c, **c["weights"]}.items() if k not in {*said, "weights"}}
        for c in (config, to_dict(Config()))
    )
    return [f"{k}={v:g}" if type(v) is float else f"{k}={v}"
            for k, v in ours.items() if v != papers.get(k)]  # fmt: skip


def slashed(figures: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in figures)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the head, as a Markdown table."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])
