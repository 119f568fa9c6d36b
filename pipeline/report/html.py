"""report.html: one page with the outcome of every input. It loads nothing from other addresses.

Every number on it comes from report.json. The examples are read from the shards.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

from model.contract.dataset import load_dataset
from model.contract.files import write_atomic
from pipeline.report.examples import figures
from pipeline.report.report import Report, printable
from pipeline.report.tally import Tally
from pipeline.sources.listing import others_words

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em;
       color: #222 }
h1 { font-size: 1.6em; margin-bottom: .2em } h2 { font-size: 1.2em; margin: 2em 0 .4em }
table { border-collapse: collapse; margin: .6em 0; font-size: 13px; width: 100% }
th, td { padding: .3em .6em; border-bottom: 1px solid #ddd; text-align: right;
         vertical-align: top }
th { background: #f3f3f3; font-weight: 600 }
td:first-child, th:first-child { text-align: left } .left, .left td, .left th { text-align: left }
td.words { text-align: left; overflow-wrap: anywhere }
.note { background: #fff3d6; padding: .5em .8em; border-left: 4px solid #d08020 }
.lead { color: #555; margin: .2em 0 } small, figcaption, .missing { font-size: 12px; color: #555 }
code { font-size: 12px; overflow-wrap: anywhere } ul { margin: 0; padding-left: 1.1em }
.bar { display: flex; height: 22px; border-radius: 3px; overflow: hidden; margin: .6em 0;
       background: #eee; min-width: 9em }
.thin { height: 12px; margin: .25em 0 } .ok, .busy { background: #3a8f5c }
.filtered, .setup { background: #d9a441 } .failed { background: #c0453c }
.left-over, .listed { background: #999 } .idle { background: #d7dbe0 }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .9em;
       border-radius: 2px }
.columns { display: flex; align-items: flex-end; gap: 2px; height: 9em; margin-top: 1.2em }
.columns div { flex: 1; background: #5b82b5; position: relative; min-height: 1px }
.columns b { position: absolute; top: -1.4em; left: 0; right: 0; text-align: center;
             font: 11px sans-serif; color: #555 }
.axis { display: flex; gap: 2px; font-size: 11px; color: #555; border-top: 1px solid #999 }
.axis span { flex: 1; overflow: hidden; white-space: nowrap }
.segments { display: grid; grid-template-columns: repeat(auto-fill, minmax(34em, 1fr)); gap: 1em }
.segment { margin: 0; padding: .7em; border: 1px solid #ddd; border-radius: 4px; display: grid;
           grid-template-columns: 42% 1fr; gap: .5em .8em; align-items: start }
.segment figcaption { grid-column: 1 / -1; overflow-wrap: anywhere }
.segment small { display: block } .missing { margin: 0; padding: 1em; background: #f3f3f3 }
.look, .bands { position: relative; line-height: 0 } .look img { width: 100%;
       max-height: 15em; object-fit: contain }
.look svg, .bands svg { position: absolute; inset: 0; width: 100%; height: 100% }
svg line { stroke: #2c6db0; stroke-width: 2px; stroke-linecap: round;
           vector-effect: non-scaling-stroke }
.look svg line { stroke: #ffd400 } .poses { width: 100%; max-height: 9em; background: #f6f8fa }
.sound { grid-column: 1 / -1 } .sound img { width: 100%; height: 7em }
.bands path { stroke: #5fe0ff; stroke-width: 1.2px; vector-effect: non-scaling-stroke }
""".strip()

NICE_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MAX_COLUMNS = 20


def save_page(out: Path, report: Report) -> Path | None:
    """Write `out`/report.html and return its path, or None if it could not be written.

    The report and the shards exist already: a failed page is reported, but the build succeeds.
    """
    path = out / "report.html"
    try:
        write_atomic(path, page(out, report).encode("utf-8", "backslashreplace"))
    except OSError as error:
        print(f"{path}: not written ({error}); pipeline report --html tries again", file=sys.stderr)
        return None
    return path


def save_report(out: Path, report: Report, with_page: bool = True) -> Report:
    """Write the report and, if wanted, its page; return the report."""
    report.save(out)
    if with_page:
        save_page(out, report)
    return report


def page(out: Path, report: Report) -> str:
    """Return the page of the data set in `out`. It uses only `report` and the shards there."""
    facts = report.as_dict()
    shown: Mapping[str, Sequence[str]] = {}
    name, made = out.resolve().name, ""
    if not report.stopped:
        dataset = load_dataset(out)
        shown = figures(out, dataset)
        name = dataset.name
        settings = ", ".join(f"{key} {value}" for key, value in sorted(dataset.build.items()))
        made = f"From {dataset.source}; {settings}."
    parts = [
        f"<h1>{_text(name)}: the outcome of every input</h1>",
        f'<p class="lead">{_text(made)}</p>' if made else "",
        _ends_bar(facts),
        *(f'<p class="note">{_text(note)}</p>' for note in _notes(facts)),
        _material(facts),
        _ends(facts, "failed", "What failed, and why"),
        _ends(facts, "filtered", "What was left out, and why"),
        _durations(facts, report.tally),
        _stages(facts),
        _examples(shown),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{_text(name)}: report</title><style>{STYLE}</style>'
        f"</head><body>{''.join(parts)}<p class=lead>The same data as JSON: "
        "<code>report.json</code>, or <code>pipeline report --json</code>.</p></body></html>\n"
    )


def _notes(facts: Mapping[str, Any]) -> list[str]:
    notes = [f"STOPPED: {facts['stopped']}"] if facts["stopped"] else []
    notes += [f"UNTRAINED: {note}; the results mean nothing" for note in facts["untrained"]]
    notes += facts["notes"]
    notes += [text] if (text := others_words(facts["others"])) else []
    return notes + [f"CODEC {name}: {note}" for name, note in facts["codecs"].items() if note]


def _ends_bar(facts: Mapping[str, Any]) -> str:
    counts, total = facts["counts"], facts["inputs"]
    looks = {"ok": "ok", "filtered": "filtered", "failed": "failed", "left": "left-over"}
    there = [(status, look) for status, look in looks.items() if counts.get(status)]
    bars = [(look, counts[status] / total, f"{status}: {counts[status]}") for status, look in there]
    keys = [
        f'<i class="key {look}"></i>{counts[status]} {status} ({counts[status] / total:.1%})'
        for status, look in there
    ]
    return (
        f"<p><b>{total} input{'' if total == 1 else 's'}</b>{''.join(keys)}</p>{_bar(bars)}"
        f'<p class="lead">The command that wrote this page took {_span(facts["seconds"])}.</p>'
    )


def _material(facts: Mapping[str, Any]) -> str:
    if not facts["material"]:
        return ""
    head = ("split", "inputs", "segments", "hours", "songs", "by genre", "by dancers seen")
    rows = []
    for split, held in facts["material"].items():
        genres = ", ".join(f"{name} {count}" for name, count in held["genres"].items())
        hours = f"{held['hours']:.4g}"
        songs = held["songs"] or "not known"
        dancers = ", ".join(
            f"{count}: {segments}" for count, segments in held.get("dancers_seen", {}).items()
        )
        known = (genres or "not known", dancers or "not counted")
        rows.append((split, held["inputs"], held["segments"], hours, songs, *known))
    tail = (
        f"Segments of {float(Fraction(facts['window_s'])):g} s, counted by their genre and by the "
        "number of dancers in them; "
        f"{facts['dropped_tail_s']} s at the ends of videos were too short for another segment."
    )
    if (silent := facts["silent"])["segments"]:
        done = "left out" if silent["left_out"] else "in the shards (--drop-silent leaves them out)"
        tail += f" {silent['segments']} segments of {silent['inputs']} inputs are silent: {done}."
    if several := facts["several_audio_tracks"]:
        tail += f" {several} inputs have several sound tracks (--audio-track N chooses one)."
    for split, counts in facts["listed"].items():
        tail += (
            f" Of the {counts['listed']} segments that the published list has for {split}, "
            f"{counts['missing']} are missing; {counts['unlisted']} others were left out, because "
            "it does not have them."
        )
    return f'<h2>Segments of each split</h2>{_table(head, rows)}<p class="lead">{_text(tail)}</p>'


def _ends(facts: Mapping[str, Any], status: str, title: str) -> str:
    rows_file = facts.get("rows_in", "report.json")
    found = [end for end in facts["ends"] if end["status"] == status]
    if not found:
        return f'<h2>{title}</h2><p class="lead">Nothing.</p>'
    head = ("stage", "code", "inputs", "meaning", "examples and their messages")
    rows = []
    for end in found:
        again = "; the same command tries it again" if end["retryable"] else ""
        shown = "".join(
            f"<li><b>{_text(one['path'])}</b> {_text(_without_path(one))}</li>"
            for one in end["examples"]
        )
        rest = end["count"] - len(end["examples"])
        more = f"<small>and {rest} more, all in {rows_file}</small>" if rest else ""
        rows.append(
            f"<tr><td>{_text(end['stage'])}</td><td><code>{_text(end['code'])}</code></td>"
            f"<td>{end['count']}</td><td>{_text(end['meaning'] + again)}</td>"
            f'<td class="words"><ul>{shown}</ul>{more}</td></tr>'
        )
    cells = "".join(f"<th>{word}</th>" for word in head)
    return f'<h2>{title}</h2><table class="left"><tr>{cells}</tr>{"".join(rows)}</table>'


def _without_path(example: Mapping[str, Any]) -> str:
    """Return a message without the path at its start, which the page shows already."""
    message = str(example["message"])
    at = message.find(f"{example['path']}: ")
    return message[at + len(example["path"]) + 2 :] if at >= 0 else message


def _durations(facts: Mapping[str, Any], tally: Tally) -> str:
    """Return a histogram of how many seconds of picture and sound the good inputs have."""
    if not facts["window_s"]:
        return ""
    window_s = float(Fraction(facts["window_s"]))
    pairs = zip(tally.segments, tally.dropped, strict=True)
    lengths_s = array("d", (segments * window_s + dropped_s for segments, dropped_s in pairs))
    if not lengths_s:
        return ""
    longest_s = max(lengths_s)
    wide_s = next((s for s in NICE_S if longest_s / s < MAX_COLUMNS), None)
    wide_s = wide_s or 3600 * math.ceil(longest_s / 3600 / MAX_COLUMNS)
    counts = [0] * (int(longest_s / wide_s) + 1)
    for length_s in lengths_s:
        counts[int(length_s / wide_s)] += 1
    columns = "".join(
        f'<div style="height:{100 * count / max(counts):.1f}%"><b>{count or ""}</b></div>'
        for count in counts
    )
    axis = "".join(f"<span>{k * wide_s:g} s</span>" for k in range(len(counts)))
    ok = len(lengths_s)
    text = f"Inputs that are ok ({ok}), by the seconds in which they have picture and sound."
    return (
        f'<h2>Durations of the inputs</h2><p class="lead">{text}</p><div class="columns">{columns}'
        f'</div><div class="axis">{axis}</div>'
    )


def _stages(facts: Mapping[str, Any]) -> str:
    title = "<h2>Where the time went</h2>"
    if not facts["stages"]:
        text = "All results existed before this command, so no stage ran."
        return f'{title}<p class="lead">{text}</p>'
    head = ("stage", "workers", "items", "items/s", "ran for", "working", "loading", "idle", "")
    rows = []
    for stage in facts["stages"]:
        spent = {name: stage[f"{name}_s"] for name in ("busy", "setup", "idle")}
        total_s = sum(spent.values()) or 1.0
        bar = _bar([(n, s / total_s, f"{s / total_s:.0%}") for n, s in spent.items()], "thin")
        cells = [
            stage["stage"], stage["workers"], stage["items"], f"{stage['items_per_s']:.3g}",
            *(_span(s) for s in (stage["wall_s"], *spent.values())),
        ]  # fmt: skip
        row = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        rows.append(f'<tr>{row}<td class="words">{bar}</td></tr>')
    headings = "".join(f"<th>{word}</th>" for word in head)
    text = (
        "Working, loading models and idle are sums over a stage's workers: together, workers × the "
        "time it ran. Stages in one run share the processor; an idle worker waits to start, for "
        "an item, or for a free place in the next stage. The times do not include starting Ray, "
        "hashing the inputs, and the work of earlier commands."
    )
    keys = "".join(
        f'<i class="key {look}"></i>{word}'
        for look, word in {"busy": "working", "setup": "loading", "idle": "idle"}.items()
    )
    return (
        f'{title}<p class="lead">{text}</p><p>{keys}</p>'
        f"<table><tr>{headings}</tr>{''.join(rows)}</table>"
    )


def _examples(shown: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for split, drawn in shown.items():
        parts.append(f"<h2>{_text(split)}: {len(drawn)} of its segments</h2>")
        parts.append(f'<div class="segments">{"".join(drawn)}</div>')
    if parts:
        text = (
            "The picture is the middle frame of the segment, with its 2D pose if there is one. "
            "Blue lines in the spectrogram mark the onsets (the strongest rises)."
        )
        parts.append(f'<p class="lead">{text}</p>')
    return "".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["".join(f"<th>{_text(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _bar(parts: Sequence[tuple[str, float, str]], kind: str = "") -> str:
    """Return a bar made of (CSS class, share, tooltip)."""
    drawn = "".join(
        f'<div class="{look}" style="width:{100 * share:.2f}%" title="{_text(words)}"></div>'
        for look, share, words in parts
    )
    return f'<div class="bar {kind}">{drawn}</div>'


def _span(seconds: float) -> str:
    """Return seconds as text: 0.4 s, 3 min 20 s, 5 h 02 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest_s:02d} s"


def _text(words: object) -> str:
    """Return text as HTML, with control characters escaped.

    File names come from strangers and may contain anything.
    """
    return escape(printable(str(words)))
