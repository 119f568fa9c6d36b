"""Results of a listening test: mean opinion scores, intervals, agreement, excluded listeners."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from model.contract.files import write_atomic
from model.listening.plan import (
    ANCHOR,
    CHECK,
    PARTS,
    TEST,
    TRUTH,
    Key,
    Plan,
    answers_file,
    load_key,
    load_plan,
)
from model.listening.stats import FEW, alpha, interval
from model.listening.store import Answer, read_answers

PAPER = {
    "coherence": {
        TRUTH: 4.6, "high": 3.5, "low": 3.3, "cmt": 3.0, "foley": 2.8, "dance2music": 2.8,
        "random": 2.0,
    },
    "quality": {TRUTH: 4.8, "low": 3.7, "high": 3.5, "reconstruction": 3.5},
}  # fmt: skip
"""The paper's mean opinion scores, on its own clips and listeners, under the names used here."""
CHECKS_RIGHT = 0.75
ALIKE = 8
"""A listener who rated at least this many clips, all with the same score, is excluded."""


@dataclass(frozen=True)
class Listener:
    """A listener who joined. `reasons` say why the answers are not counted; empty if they are."""

    number: int
    answered: int
    of: int
    checks: int
    checks_right: int
    decided_s: float | None
    reasons: list[str]


def report(folder: Path) -> dict[str, Any]:
    """Read the set's answers, write report.json, report.csv and answers.csv; return the report."""
    plan, key = load_plan(folder, answered=True), load_key(folder)
    if plan.set_id != key.set_id:
        raise ValueError(f"{folder}: key.json belongs to another set than the plan")
    joined, answers = read_answers(answers_file(folder), plan.set_id)
    by_rater: dict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_rater[answer.rater].append(answer)
    listeners = [judge(rater, by_rater[rater], plan, key) for rater in range(joined)]
    counted = {listener.number - 1 for listener in listeners if not listener.reasons}
    kept = [a for a in answers if a.rater in counted and key.items[a.item].kind == TEST]
    parts = [part for part in PARTS if part in {m.part for m in key.items.values()}]
    found = {
        "set_id": plan.set_id,
        "listeners": {
            "joined": joined,
            "counted": len(counted),
            "each": [listener.__dict__ for listener in listeners],
        },
        "intervals": "95 %, bootstrap over listeners and clips together, and over each alone",
        "agreement": "Krippendorff's alpha over clips",
        "parts": {part: part_report(part, kept, key) for part in parts},
        "systems": key.systems,
        "settings": key.settings,
        "notes": key.notes,
    }
    write_atomic(folder / "report.json", (json.dumps(found, indent=1) + "\n").encode())
    write_atomic(folder / "report.csv", table(list(score_rows(found))))
    write_atomic(folder / "answers.csv", table(list(answer_rows(answers, plan, key, counted))))
    return found


def judge(rater: int, answers: list[Answer], plan: Plan, key: Key) -> Listener:
    """Return the statistics of a listener, with all reasons to exclude them."""
    meanings = [(key.items[a.item], a.score) for a in answers]
    checks = [m.answer == score for m, score in meanings if m.kind == CHECK]
    scores = [score for m, score in meanings if m.kind == TEST]
    of = len(plan.orders[rater])
    reasons = []
    if len(answers) < of / 2:
        reasons.append(f"stopped after {len(answers)} of {of} clips")
    if sum(checks) < CHECKS_RIGHT * len(checks):
        reasons.append(f"missed {len(checks) - sum(checks)} of {len(checks)} attention checks")
    if len(scores) >= ALIKE and len(set(scores)) == 1:
        reasons.append(f"gave all {len(scores)} clips the score {scores[0]}")
    decided = [a.answered_at - a.heard_at for a in answers]
    seconds = round(median(decided), 2) if decided else None
    return Listener(rater + 1, len(answers), of, len(checks), sum(checks), seconds, reasons)


def part_report(part: str, answers: list[Answer], key: Key) -> dict[str, Any]:
    """Return the scores of each system and anchor in one part, and the listeners' agreement."""
    scores: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)
    for answer in answers:
        meaning = key.items[answer.item]
        if meaning.part == part:
            scores[meaning.system][answer.rater, meaning.clip] = answer.score
    rows = [
        {"system": name, **mean_score(scores[name]), "paper": PAPER[part].get(name)}
        for name in (TRUTH, *key.systems, ANCHOR)
    ]
    units = {
        name: list(by_clip(scores[name]).values()) for name in (TRUTH, *key.systems, ANCHOR)
    }  # fmt: skip
    everything = [unit for name in units for unit in units[name]]
    ours = [unit for name in key.systems for unit in units[name]]
    high, low = (rows[place]["mos"] for place in (0, -1))
    return {
        "systems": rows,
        "agreement": {
            "alpha_ordinal": alpha(everything, "ordinal"),
            "alpha_interval": alpha(everything, "interval"),
            "alpha_ordinal_without_anchors": alpha(ours, "ordinal"),
        },
        "anchors_apart": None if high is None or low is None else high > low,
        "paper_only": {n: v for n, v in PAPER[part].items() if n not in units},
    }


def by_clip(scores: dict[tuple[int, str], int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for (_, clip), score in scores.items():
        found[clip].append(score)
    return found


def mean_score(scores: dict[tuple[int, str], int]) -> dict[str, Any]:
    """Return the mean of {(listener, clip): score}, its standard deviation and its intervals."""
    raters, clips = (sorted({place[axis] for place in scores}) for axis in (0, 1))
    matrix = np.full((len(raters), len(clips)), np.nan)
    for (rater, clip), score in scores.items():
        matrix[raters.index(rater), clips.index(clip)] = score
    values = list(scores.values())
    return {
        "answers": len(values),
        "listeners": len(raters),
        "clips": len(clips),
        "mos": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "interval": interval(matrix),
        "interval_listeners": interval(matrix, clips=False),
        "interval_clips": interval(matrix, raters=False),
    }


def score_rows(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a flat row for each part and system."""
    for part, content in found["parts"].items():
        for row in content["systems"]:
            flat: dict[str, Any] = {"part": part}
            for name, value in row.items():
                if name.startswith("interval"):
                    ends = value or (None, None)
                    flat |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
                else:
                    flat[name] = value
            yield {k: round(v, 4) if isinstance(v, float) else v for k, v in flat.items()}


def answer_rows(
    answers: list[Answer], plan: Plan, key: Key, counted: set[int]
) -> Iterator[dict[str, Any]]:
    """Yield every answer, unblinded."""
    for answer in answers:
        meaning = key.items[answer.item]
        yield {
            "listener": answer.rater + 1,
            "place": plan.orders[answer.rater].index(answer.item) + 1,
            "part": meaning.part,
            "kind": meaning.kind,
            "clip": meaning.clip,
            "system": meaning.system,
            "score": answer.score,
            "right_answer": meaning.answer or None,
            "decided_s": round(answer.answered_at - answer.heard_at, 2),
            "counted": int(answer.rater in counted and meaning.kind == TEST),
        }


def table(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as CSV with a header; empty if there are no rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the printed report."""
    people = found["listeners"]
    yield f"listeners  {people['joined']} joined, {people['counted']} counted"
    for listener in people["each"]:
        if listener["reasons"]:
            yield f"left out   listener {listener['number']}: {'; '.join(listener['reasons'])}"
    for part, content in found["parts"].items():
        yield ""
        yield f"{part:<20}{'MOS':>6}{'95 %':>15}{'answers':>9}{'paper':>7}"
        for row in content["systems"]:
            mos = "–" if row["mos"] is None else f"{row['mos']:.2f}"
            ends = "–" if row["interval"] is None else "{:.2f} to {:.2f}".format(*row["interval"])
            paper = "–" if row["paper"] is None else f"{row['paper']:.1f}"
            yield f"{row['system']:<20}{mos:>6}{ends:>15}{row['answers']:>9}{paper:>7}"
        if others := content["paper_only"]:
            yield "only in the paper: " + ", ".join(f"{n} {v}" for n, v in others.items())
        alphas = content["agreement"]
        agreement = {k: "–" if v is None else f"{v:.2f}" for k, v in alphas.items()}
        yield (
            f"agreement: Krippendorff's alpha {agreement['alpha_ordinal']} (ordinal), "
            f"{agreement['alpha_interval']} (interval), "
            f"{agreement['alpha_ordinal_without_anchors']} (ordinal, systems alone)"
        )
        ranged = [row for row in content["systems"] if row["interval"]]
        if any(min(row["listeners"], row["clips"]) < FEW for row in ranged):
            yield f"note: {part}: fewer than {FEW} listeners or clips: its intervals are too narrow"
        if content["anchors_apart"] is False:
            yield f"note: {part}: the low anchor is not below the truth; do not trust this part"
    yield ""
    yield f"note: intervals: {found['intervals']}; the paper's scores: its own clips and listeners"
    yield from (f"note: {note}" for note in found["notes"])
    for name, facts in found["systems"].items():
        yield from (f"note: {name}: {label}" for label in facts["labels"])
