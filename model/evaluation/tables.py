"""Tables of evaluations in Markdown: of one run, of two runs, of all runs beside the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from model.contract.kinds import D2M_GAN, MASKED
from model.evaluation.cdcd import CDCD, CONDITIONS, D2M_GAN_ROW, variant_of
from model.evaluation.cells import cell, markdown, slashed
from model.evaluation.paper import AIST, OTHERS, TABLES, TIKTOK, Figures, Row, row_of
from model.evaluation.score import PAPER, set_figures
from model.evaluation.subject import OUTSIDE
from model.evaluation.textual_inversion import beside_textual_inversion, is_inversion
from model.families.d2m_gan.config import MAY_CHANGE_ON_RESUME, Config
from model.listening.report import PAPER as OPINIONS
from model.measures.base import MEASURED, Measure, recorded
from model.measures.bootstrap import paired_difference, set_difference, sign_flip_p
from model.measures.embeddings import SIMILARITY
from model.runtime.settings import to_dict, with_todays_names

OPINION = Measure("opinion", "clip", digits=2)
Evaluation = Mapping[str, Any]
"""The content of evaluation.json."""


def one_run(evaluation: Evaluation) -> str:
    """Return three tables: measures of clips, of segments, and of the entire set."""
    found = [name for row in evaluation["rows"].values() for name in row["scores"]]
    measures = recorded(evaluation)
    blocks = []
    for of in ("clip", "segment", "set"):
        names = [name for name, measure in measures.items() if measure.of == of and name in found]
        lines = [["music", *(measures[name].title for name in names)]]
        for title, row in evaluation["rows"].items():
            cells = (cell(row["scores"].get(name), measures[name]) for name in names)
            if row["scores"].keys() & set(names):
                lines.append([title, *cells])
        blocks.append(markdown(lines))
    return "\n\n".join([*blocks, *unscored(evaluation)])


def unscored(evaluation: Evaluation) -> list[str]:
    """Return a line with the number of clips and segments without scores; none if all have one."""
    missing: dict[str, set[str]] = {}
    measures = recorded(evaluation)
    for row in evaluation["rows"].values():
        for name, each in row["each"].items():
            if count := each.count(None):
                unit = f"{measures[name].of}s"
                title = measures[name].title
                missing.setdefault(f"{count} of {len(each)} {unit}", set()).add(title)
    found = "; ".join(f"{', '.join(sorted(names))}: {of}" for of, names in sorted(missing.items()))
    return [f"Left out, because the score is undefined: {found}."] if found else []


def compared(
    a: Evaluation, b: Evaluation, sets_a: Mapping[str, np.ndarray], sets_b: Mapping[str, np.ndarray]
) -> str:
    """Return the difference of two runs on the same split for each score, with interval and p.

    `sets_a` and `sets_b` are results of `load_sets`. Scores that the two evaluations computed
    differently are left out and listed in notes. Raises ValueError if they were not evaluated on
    the same segments.
    """
    if any(a[fact] != b[fact] for fact in ("dataset", "split", "window_s", "segments")):
        raise ValueError(
            f"{a['run']} and {b['run']} were evaluated on different segments; evaluate both on the "
            "same shards and split"
        )
    notes, without = unlike_measures(a, b)
    ours, theirs = (_as_scores(e, without) for e in (a, b))
    lines = [["score", "difference", "95 % interval", "songs won", "p"]]
    measures = recorded(b) | recorded(a)
    for name, measure in measures.items():
        if name not in ours or name not in theirs:
            continue
        songs = a["songs"] if measure.of == "clip" else a["segment_songs"]
        x, y = ours[name], theirs[name]
        if len({s for s, d in zip(songs, x - y, strict=True) if not np.isnan(d)}) < 2:
            continue
        found = paired_difference(x, y, songs)
        won = found.groups_won
        if measure.lower_is_better:
            won = found.groups - found.groups_tied - won
        tied = f", {found.groups_tied} equal" if found.groups_tied else ""
        p = sign_flip_p(x, y, songs)
        lines.append(_difference(measure, found.mean, found.low, found.high,
                                 f"{won} of {found.groups}{tied}", p))  # fmt: skip
    if "codes" not in without and "codes" in sets_a and "codes" in sets_b:
        ours["of codes"], theirs["of codes"] = sets_a["codes"], sets_b["codes"]
    if "kl" not in without and "patches" in sets_a and "patches" in sets_b:
        ours["patches"], theirs["patches"] = sets_a["patches"], sets_b["patches"]
    if len(set(a["segment_songs"])) > 1:
        figures, other = (set_figures(s, sets_a.get("truth"), a["bins"]) for s in (ours, theirs))
        for name in (name for name in figures if name in other):
            (x, statistic), (y, _) = figures[name], other[name]
            apart, p = set_difference(x, y, statistic, a["segment_songs"])
            if np.isnan(apart.value):
                continue
            lines.append(_difference(measures[name], apart.value, apart.low, apart.high, "–", p))
    notes += ["p: two-sided permutation test over songs; of twenty scores without a true "
              "difference, one is below 0.05 by chance"]  # fmt: skip
    table = f"{a['run']} − {b['run']}\n\n{markdown(lines)}"
    return table + "\n\n" + "\n".join(f"note: {note}" for note in notes)


def unlike_measures(a: Evaluation, b: Evaluation) -> tuple[list[str], set[str]]:
    """Return how two evaluations measured differently: as notes, and as the scores concerned."""
    notes, without = [], set()
    if a["embedding"] != b["embedding"]:
        notes.append(f"embeddings {a['embedding']} and {b['embedding']}: no genre, KL, Fréchet")
        without |= {"genre", "kl"}
    if a["train_data"] != b["train_data"]:
        notes.append("training splits in different shards: no genre, no copied run")
        without |= {"genre", "genre_heard", "copied"}
    if (a["codes_id"], a["level"]) != (b["codes_id"], b["level"]):
        notes.append(f"codes of {a['codes_id']}, {a['level']}, and {b['codes_id']}, {b['level']}: "
                     "no codes, perplexity, copied run")  # fmt: skip
        without |= {"codes", "copied"}
    if a["codes_id"] != b["codes_id"]:
        without |= {name for name in recorded(a) if name.startswith(("bits_", "gain_"))}
    if a["data"] != b["data"]:
        notes.append("the segments have the same names, but the shards differ")
    return notes, without


def _as_scores(evaluation: Evaluation, without: set[str]) -> dict[str, np.ndarray]:
    each = evaluation["rows"][evaluation["row"]]["each"]
    return {name: np.array(v, float) for name, v in each.items() if name not in without}


def _difference(
    measure: Measure, mean: float, low: float, high: float, won: str, p: float
) -> list[str]:
    scale = 100 if measure.percent else 1
    title = measure.title + (" (lower is better)" if measure.lower_is_better else "")
    ends = f"{scale * low:+.3f} … {scale * high:+.3f}"
    return [title, f"{scale * mean:+.3f}", ends, won, "<0.001" if p < 0.001 else f"{p:.3f}"]


def beside_the_paper(evaluations: Sequence[Evaluation]) -> str:
    """Return the paper's tables, with our runs in the matching rows.

    Cells are cover / hit / genre in percent, ours with intervals. Runs on TikTok are in the paper's
    TikTok table, all others in its AIST++ tables. Runs without a row in the paper are in the last
    table, but masked models are in tables of their own, beside CDCD's. If a run is of textual
    inversion, all runs are in its paper's tables, too. Below the tables are the data and weights of
    our runs.
    """
    others_than_masked = [e for e in evaluations if e.get("family") != MASKED]
    tiktok = [e for e in others_than_masked if e["dataset"] == "tiktok"]
    aist = [e for e in others_than_masked if e["dataset"] != "tiktok"]
    blocks = []
    if aist:
        blocks += _tables(aist, TABLES, TABLES[AIST][0], OTHERS)
    if tiktok:
        blocks += _tables(tiktok, {"TikTok": TIKTOK}, TIKTOK[0], {})
    for name in CDCD:
        of_set = [e for e in evaluations if (e["dataset"] == "tiktok") == (name == "TikTok")]
        if any(e.get("family") == MASKED for e in of_set):
            blocks.append(beside_cdcd(of_set, name))
    if any(is_inversion(e) for e in evaluations):
        blocks.append(beside_textual_inversion(evaluations))
    blocks.append(f"**Notes, sound and likelihood**\n\n{markdown(of_notes(evaluations))}")
    return "\n\n".join([*blocks, "\n".join(_sources(evaluations))])


def beside_cdcd(evaluations: Sequence[Evaluation], name: str) -> str:
    """Return CDCD's table of a data set, with our masked models and D2M-GAN at the high level.

    A column each for one vector as the condition (of D2M-GAN: `arch: paper`) and an aligned one.
    """
    held: dict[str, dict[str, list[Evaluation]]] = {row: {} for row in CDCD[name]}
    for e in evaluations:
        config = e["config"]
        if is_d2m_gan(e) and e["level"] == "high":
            row, kind = D2M_GAN_ROW, CONDITIONS[config["arch"] != "paper"]
        elif e.get("family") == MASKED:
            row, kind = variant_of(config), config["condition"]
            row += "" if e["level"] == "high" else f", {e['level']}"
        else:
            continue
        held.setdefault(row, {}).setdefault(kind, []).append(e)
    lines = [["row", "CDCD", "MOS, CDCD", *(f"ours, {kind}" for kind in CONDITIONS)]]
    for row, runs in held.items():
        figures, opinion = CDCD[name].get(row, ((), None))
        published = [slashed(figures) or "–", "–" if opinion is None else f"{opinion:.1f}"]
        lines.append([row, *published, *(_ours(runs.get(kind, ())) for kind in CONDITIONS)])
    scores = " / ".join(PAPER[:-1] if name == "TikTok" else PAPER)
    return f"**CDCD, {name}**: {scores}, %\n\n{markdown(lines)}"


NOTES = (
    "onset_f",
    "loudness_db",
    "notes",
    "held",
    "upper",
    "genre_heard",
    "frechet",
    "diversity",
    "copied",
)
BY_NAME = (SIMILARITY, "bits_", "gain_")
"""What the names of measures begin with that have one for each embedding or level."""


def of_notes(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Return the rows of a table of what the paper does not measure: of runs and their controls.

    Rows beside a run are those of its evaluation, named with the run.
    """
    known = {name: measure for e in evaluations for name, measure in recorded(e).items()}
    found = {name for e in evaluations for row in e["rows"].values() for name in row["scores"]}
    names = [name for name in NOTES if name in found]
    names += [name for name in known if name.startswith(BY_NAME) and name in found]
    lines = [["run", "music", *(known[name].title for name in names)]]
    for e in evaluations:
        for title, row in e["rows"].items():
            if row["scores"].keys() & set(names):
                cells = (cell(row["scores"].get(name), known[name]) for name in names)
                lines.append([e["run"], title, *cells])
    return lines


def _tables(
    evaluations: Sequence[Evaluation],
    tables: Mapping[str, Sequence[Row]],
    full: Row,
    others: Mapping[str, Figures],
) -> list[str]:
    finetuned = any(e["finetuned"] for e in evaluations)
    held: dict[str, dict[str, list[Evaluation]]] = {}
    for e in evaluations:
        name = e["row"].removesuffix(f", {e['level']}")
        if is_d2m_gan(e):
            name = row_of(e["config"], e["window_s"], e["finetuned"], finetuned)
        held.setdefault(name, {}).setdefault(e["level"], []).append(e)
    blocks, shown = [], set()
    for title, rows in tables.items():
        has_full = rows[0] == full
        lines = [["row", "paper, high", "ours, high", "paper, low", "ours, low"]]
        for name, figures in others.items() if has_full else ():
            # They have no level: the same figures stand at both.
            of_any_level = chain.from_iterable(held.get(name, {}).values())
            cells = [slashed(figures), _ours(of_any_level)]
            lines.append([name, *cells, *cells])
            shown.add(name)
        for row in [*([] if has_full else [full]), *rows]:
            lines.append(_row(row, held.get(row.name, {})))
            shown.add(row.name)
        scores = " / ".join(PAPER[: len(full.high)])
        blocks.append(f"**{title}**: {scores}, %\n\n{markdown(lines)}")
    extra = {name: runs for name, runs in held.items() if name not in shown}
    if extra:
        lines = [["row", "ours, high", "ours, low"]]
        for name, runs in sorted(extra.items()):
            unnamed = [e for level, found in runs.items() if level not in ("high", "low")
                       for e in found]  # fmt: skip
            high = [*runs.get("high", ()), *unnamed]
            lines.append([name, _ours(high), _ours(runs.get("low", ()))])
        blocks.append(f"**Not in the paper**\n\n{markdown(lines)}")
    return blocks


def _row(row: Row, runs: Mapping[str, Sequence[Evaluation]]) -> list[str]:
    cells = [row.name]
    for level, figures in (("high", row.high), ("low", row.low)):
        cells += [slashed(figures), _ours(runs.get(level, ()))]
    return cells


def _ours(runs: Iterable[Evaluation]) -> str:
    found = []
    for e in runs:
        scores = e["rows"][e["row"]]["scores"]
        names = PAPER[:-1] if e["dataset"] == "tiktok" else PAPER
        found.append(" / ".join(cell(scores.get(name), MEASURED[name]) for name in names))
    return "; ".join(found) or "–"


def _sources(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return lines about data and weights of our runs: facts of all runs, then those of some."""
    facts: dict[str, list[str]] = {}
    runs = [e["run"] for e in evaluations]
    for e in evaluations:
        for fact in [
            f"{e['dataset']}, split {e['split']}, {len(e['segments'])} segments of "
            f"{len(set(e['songs']))} songs",
            f"arch {e['config']['arch']}" if is_d2m_gan(e) else f"family {e['family']}",
            *([] if e.get("family") == OUTSIDE else
              [f"step {e['step']}", f"batch {e['config']['batch_size']}"]), f"codec {e['codec']}",
            f"decoder {'' if e['finetuned'] else 'not '}fine-tuned", "not denoised",
            f"embedding {e['embedding']}", *(e["labels"] or ["published weights"]),
            *(unlike_the_paper(e["config"]) if is_d2m_gan(e) else []),
            *(f"{key}={value}" for key, value in e.get("generation", {}).items()),
        ]:  # fmt: skip
            facts.setdefault(fact, []).append(e["run"])
    levels = sorted({e["level"] for e in evaluations})
    pools = {level: [e["run"] for e in evaluations if e["level"] == level] for level in levels}
    pools["all"] = runs
    facts_of: dict[str, list[str]] = {"all": []}
    for fact, of in facts.items():
        name, pool = min(
            (p for p in pools.items() if set(of) <= set(p[1])), key=lambda p: len(p[1])
        )
        without = [run for run in pool if run not in of]
        whose = ", ".join(of)
        if len(without) < len(of):
            name = "all" if pool == runs else f"all of level {name}"
            whose = f"{name} except {', '.join(without)}" if without else name
        facts_of.setdefault(whose, []).append(fact)
    lines = [
        "Our runs are comparable with the paper only if data and weights are the same "
        "(name=value is a setting that differs from the paper's):",
    ]
    return lines + [f"- {whose}: {'; '.join(found)}" for whose, found in facts_of.items() if found]


def is_d2m_gan(evaluation: Evaluation) -> bool:
    """Return whether a run is of the paper's family, as are all runs of earlier versions."""
    return evaluation.get("family", D2M_GAN) == D2M_GAN


def unlike_the_paper(config: Mapping[str, Any]) -> list[str]:
    """Return the settings that affect the model and differ from their defaults, the paper's."""
    skipped = MAY_CHANGE_ON_RESUME | {"level", "seed", "arch", "batch_size"}
    ours, papers = (
        {k: v for k, v in {**c, **c["weights"]}.items() if k not in {*skipped, "weights"}}
        for c in (with_todays_names(config, Config, "evaluation"), to_dict(Config()))
    )
    return [f"{k}={v:g}" if type(v) is float else f"{k}={v}"
            for k, v in ours.items() if v != papers.get(k)]  # fmt: skip


def opinions(heard: Mapping[str, Any] | None) -> str:
    """Return a table of the paper's mean opinion scores and those of a listening test's report.

    Rows are systems of the paper and of the test; equal names share a row.
    """
    ours: dict[str, dict[str, str]] = {}
    for part, content in (heard["parts"] if heard else {}).items():
        for row in content["systems"]:
            found = {"value": row["mos"], "low": None}
            if row["interval"]:
                found |= dict(zip(("low", "high"), row["interval"], strict=True))
            ours.setdefault(row["system"], {})[part] = cell(found, OPINION)
    lines = [["music", *(f"{part}, {whose}" for part in OPINIONS for whose in ("paper", "ours"))]]
    for name in dict.fromkeys([*(n for part in OPINIONS.values() for n in part), *ours]):
        line = [name]
        for part, theirs in OPINIONS.items():
            paper = f"{theirs[name]:.1f}" if name in theirs else "–"
            line += [paper, ours.get(name, {}).get(part, "–")]
        lines.append(line)
    whose = "from the listening test" if heard else "missing: use `model mos` and --listening DIR"
    return f"**Mean opinion scores**, 1 to 5; ours {whose}\n\n{markdown(lines)}"
