"""The parts of the page that are HTML: progress, a result, a segment. All text is escaped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Any

from model.studio.job import CANCELLED, DONE, FAILED, RUNNING, STAGES, WAITING, Job
from model.studio.queue import Queue

STYLE = """
.gradio-container { max-width: 1200px !important }
.studio-jobs { list-style: none; margin: 0; padding: 0 }
.studio-jobs li { margin: .3em 0; padding: .5em .7em; border-left: 4px solid #8a8a8a;
  background: var(--background-fill-secondary); overflow-wrap: anywhere }
.studio-jobs li.running { border-color: #2a78d6 } .studio-jobs li.failed { border-color: #c33 }
.studio-jobs progress { width: 100%; height: .8em }
.studio-result video { width: 100%; max-height: 24em; background: #000; border-radius: 4px }
.studio-result img { width: 100%; display: block; background: #fff }
.studio-result table { border-collapse: collapse; margin: .5em 0; font-size: 90% }
.studio-result td { padding: .15em .8em .15em 0; border-bottom: 1px solid #8884 }
.studio-result td + td { text-align: right; font-variant-numeric: tabular-nums }
.studio-result pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6em;
  background: var(--background-fill-secondary); user-select: all; font-size: 90% }
.studio-note { border-left: 4px solid #d08020; padding: .3em .7em; margin: .4em 0 }
.studio-result a { margin-right: 1.2em; text-decoration: underline }
footer { display: none !important }
/* Gradio trims videos by a program that it loads from another machine: not offered here. */
#film button[aria-label^="Trim video"], #film button[title^="Trim video"] { display: none }
"""
LEGEND = (
    "Spectrogram: orange ticks above are the dancer's kinematic beats; white lines are the beats "
    "of the music; red dots below are its onsets. In the film the frame lights up at each "
    "kinematic beat."
)


def alert(text: str) -> str:
    """Return a message as HTML, read aloud by a screen reader."""
    return f'<p role="alert" class="studio-note">{escape(text)}</p>'


def jobs_html(queue: Queue, jobs: Sequence[Job], now: float | None = None) -> str:
    """Return the jobs that wait, run, or have just failed, each with its stage and time left."""
    now = time.time() if now is None else now
    shown = [job for job in jobs if job.state == RUNNING]
    shown += [job for job in reversed(jobs) if job.state == WAITING]
    shown += [j for j in jobs if j.state in (FAILED, CANCELLED) and now - j.ended < 600][:5]
    if not shown:
        return '<p role="status">nothing is being made</p>'
    rows = "".join(_job_html(queue, job, now) for job in shown)
    return f'<ul class="studio-jobs" role="status">{rows}</ul>'


def _job_html(queue: Queue, job: Job, now: float) -> str:
    title = escape(job.title)
    if job.state == WAITING:
        ahead = queue.ahead(job)
        return f'<li class="waiting">{title}: waiting, {ahead} before it</li>'
    if job.state != RUNNING:
        return f'<li class="{escape(job.state)}">{title}: {escape(job.message)}</li>'
    if job.stage not in job.stages:
        return f'<li class="running">{title}: starting</li>'
    number = job.stages.index(job.stage) + 1
    taken, left = now - job.stage_began, queue.rates.left_s(job, now)
    expected = queue.rates.expected_s(job, job.stage)
    words = f"{number} of {len(job.stages)}, {STAGES[job.stage]}: {taken:.0f} s"
    if left is None:
        bar = ""  # a bar without an end would keep a processor busy with its animation
        words += "; time left is known after the first time"
    else:
        share = min(0.99, taken / expected) if expected else 0.0
        bar = f'<progress max="1" value="{share:.3f}"></progress>'
        words += f"; about {left:.0f} s left in all"
    return f'<li class="running">{title}: {words}{bar}</li>'


def result_html(job: Job | None, facts: dict[str, Any] | None) -> str:
    """Return a finished job: film, spectrogram, measures, labels, downloads and its command."""
    if job is None or facts is None or job.state != DONE:
        return ""
    address, files = f"/media/{job.id}", facts["files"]
    parts = [f"<p><b>{escape(job.title)}</b></p>"]
    if note := job.facts.get("note"):
        parts.append(f'<p class="studio-note">{escape(note)}</p>')
    parts += [
        f'<p class="studio-note">{escape(label)}</p>'
        for label in facts["labels"]
        if label != job.facts.get("note")
    ]
    parts.append(
        f'<video controls playsinline preload="metadata" src="{address}/preview" '
        f'aria-label="{escape(job.title)}"></video>'
    )
    if "picture" in files:
        parts.append(
            f'<img src="{address}/picture" alt="spectrogram with onsets and beats" '
            f'title="{escape(LEGEND)}">'
        )
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts["scores"])
    parts.append(f"<table>{rows}</table>")
    links = {"mp4": "video with music (mp4)", "wav": "music (wav)", "mid": "notes (MIDI)"}
    downloads = "".join(
        f'<a href="{address}/{kind}?download=1" download>{words}</a>'
        for kind, words in links.items()
        if kind in files
    )
    if downloads:
        parts.append(f"<p>Download: {downloads}</p>")
    if command := job.facts.get("command"):
        parts.append(f"<p>The same again, by a command:</p><pre>{escape(command)}</pre>")
    return f'<div class="studio-result">{"".join(parts)}</div>'


def inputs_html(rows: Sequence[Any], most: int = 200) -> str:
    """Return a table of inputs that gave no segments, with their outcomes and messages."""
    if not rows:
        return "<p>no such inputs</p>"
    lines = "".join(
        f"<tr><td>{escape(row.video_id)}</td><td>{escape(row.outcome)}</td>"
        f"<td>{escape(row.message)}</td></tr>"
        for row in rows[:most]
    )
    more = f"<p>and {len(rows) - most} others</p>" if len(rows) > most else ""
    return f'<div class="studio-result"><table>{lines}</table>{more}</div>'
