"""The second and third tab: segments of a data set, and curated clips with their overrides."""

from __future__ import annotations

from typing import Any

import gradio as gr

from model.studio.curated import OVERRIDES, Curated
from model.studio.data_sets import ALL, DataSet
from model.studio.desk import PRIVATE, TICK_S, Desk
from model.studio.job import CANCELLED, DONE, FAILED
from model.studio.studio import CLIP, SEGMENT
from model.studio.tab_make import result_of
from model.studio.users import Refused
from model.studio.views import alert, inputs_html, jobs_html

MOST = 500
"""So many names are listed at once; filters reach the others."""


def data_tab(desk: Desk, dataset: DataSet) -> None:
    """Add the data set: filters, a list of segments, and the segment that is chosen."""
    facts = dataset.dataset
    gr.Markdown(f"**{facts.name}**, segments of {facts.window_s} s")
    with gr.Row():
        filters = [
            gr.Dropdown(dataset.choices(name), value=ALL, label=name.capitalize(), min_width=120)
            for name in ("split", "song", "genre")
        ]
        outcome = gr.Dropdown(dataset.outcomes(), value="ok", label="Outcome", min_width=120)
    segment = gr.Dropdown(_keys(dataset.find()), value=None, label="Segment", elem_id="segment")
    table, view, shown = gr.HTML(""), gr.HTML("", elem_id="segment-view"), gr.State("")

    def narrow(split: str, song: str, genre: str, wanted: str) -> tuple[Any, str]:
        if wanted != "ok":
            return gr.Dropdown([], value=None), inputs_html(
                dataset.failed(wanted, split, song, genre)
            )
        found = dataset.find(split, song, genre)
        count = f"<p>{len(found)} segments, {min(len(found), MOST)} listed</p>"
        return gr.Dropdown(_keys(found), value=None), count

    for one in (*filters, outcome):
        one.input(narrow, [*filters, outcome], [segment, table], **PRIVATE)
    _viewer(desk, segment, view, shown, SEGMENT)


def clips_tab(desk: Desk, curated: Curated) -> None:
    """Add the curated clips: a filter, a list, the clip, and the buttons that write the CSV."""
    decision = gr.Dropdown(curated.decisions(), value=ALL, label="Decision")
    clip = gr.Dropdown(_labels(curated, ALL), value=None, label="Clip", elem_id="clip")
    with gr.Row():
        keep = gr.Button("Keep", elem_id="keep")
        reject = gr.Button("Reject", elem_id="reject")
        song = gr.Textbox(label="Name of its song, for its whole group", max_length=80)
        rename = gr.Button("Name the song")
        forget = gr.Button("As the program decided")
    written, view, shown = gr.HTML(""), gr.HTML("", elem_id="clip-view"), gr.State("")

    def write(clip_id: str, verdict: str, wanted: str) -> tuple[Any, str]:
        try:
            known = curated.override(clip_id, verdict)
        except (Refused, OSError) as error:
            return gr.skip(), alert(str(error))
        text = (
            f"{len(known)} overrides in {curated.folder.name}/{OVERRIDES}: "
            "pipeline curate --decide-only --overrides takes them"
        )
        return gr.Dropdown(_labels(curated, wanted), value=clip_id), alert(text)

    for button, verdict in ((keep, "keep"), (reject, "reject"), (forget, "")):
        button.click(
            lambda clip_id, wanted, verdict=verdict: write(clip_id, verdict, wanted),
            [clip, decision], [clip, written], **PRIVATE,
        )  # fmt: skip
    rename.click(write, [clip, song, decision], [clip, written], **PRIVATE)
    decision.input(
        lambda wanted: gr.Dropdown(_labels(curated, wanted), value=None), decision, clip, **PRIVATE
    )
    _viewer(desk, clip, view, shown, CLIP)


def _viewer(desk: Desk, item: gr.Dropdown, view: gr.HTML, shown: gr.State, kind: str) -> None:
    """Draw what is chosen in `item` as a job, and show it when it is done."""
    studio = desk.studio

    def choose(name: str, request: gr.Request) -> tuple[str, str]:
        if not name:
            return "", ""
        try:
            user = desk.user(request)
            job = studio.segment(user, name) if kind == SEGMENT else studio.clip(user, name)
            if job.state == DONE:
                return result_of(desk, user, job.id), ""
        except Refused as error:
            return alert(str(error)), ""
        return jobs_html(studio.queue, [job]), job.id

    def tick(waited: str, request: gr.Request) -> tuple[Any, Any]:
        if not waited:
            return gr.skip(), gr.skip()
        try:
            user = desk.user(request)
            job = studio.queue.get(user, waited)
            if job.state == DONE:
                return result_of(desk, user, job.id), ""
        except Refused:
            return "", ""
        return jobs_html(studio.queue, [job]), "" if job.state in (FAILED, CANCELLED) else waited

    item.change(choose, item, [view, shown], **PRIVATE)
    gr.Timer(TICK_S).tick(tick, shown, [view, shown], **PRIVATE)


def _keys(found: list[Any]) -> list[tuple[str, str]]:
    rows = [(s, ", ".join(filter(None, (s.key, s.split, s.song, s.genre)))) for s in found[:MOST]]
    return [(label, segment.key) for segment, label in rows]


def _labels(curated: Curated, wanted: str) -> list[tuple[str, str]]:
    overrides = curated.overrides()
    rows = []
    for clip in curated.find(wanted)[:MOST]:
        facts = (clip.id, clip.decision, clip.reason, clip.song)
        by_hand = overrides.get(clip.id)
        label = ", ".join(filter(None, facts)) + (f" → {by_hand}" if by_hand else "")
        rows.append((label, clip.id))
    return rows
