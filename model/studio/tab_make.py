"""The first tab: bring a video, choose, make music, compare two results side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from model.studio import uploads
from model.studio.desk import PRIVATE, TICK_S, Desk
from model.studio.job import DONE, RUNNING, WAITING
from model.studio.runs import SLIDERS, STYLE, WORDS, Choice, RunFacts, settings_of
from model.studio.studio import LOOK, MAKE
from model.studio.users import Refused, User
from model.studio.views import LEGEND, alert, jobs_html, result_html


@dataclass
class Parts:
    """The components that handlers read, in the order of `choices`."""

    upload: gr.Dropdown
    run: gr.Dropdown
    seed: gr.Number
    length: gr.Number
    genre: gr.Dropdown
    words: gr.Textbox
    style: gr.Dropdown
    sliders: list[gr.Slider]
    more: gr.Textbox

    def choices(self) -> list[Any]:
        return [
            self.upload, self.run, self.seed, self.length, self.genre, self.words, self.style,
            *self.sliders, self.more,
        ]  # fmt: skip


def make_tab(desk: Desk, page: gr.Blocks) -> None:
    """Add the first tab's components and what they do."""
    studio = desk.studio
    first = next(iter(studio.runs.values()))
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            film = gr.Video(
                label="1. Your dance: a file, or record one",
                sources=["upload", "webcam"],
                include_audio=True,
                elem_id="film",
                height=330,
            )
            tests = studio.dataset.test_videos() if studio.dataset else []
            test = gr.Dropdown(
                ["", *tests], value="", visible=bool(tests), label="or one of the test split"
            )
            upload = gr.Dropdown([], label="2. The video to make music for", elem_id="upload")
            run = gr.Dropdown(
                list(studio.runs), value=next(iter(studio.runs)), label="3. Model", elem_id="run"
            )
            note = gr.HTML(_note(first))
            seed = gr.Number(0, label="Seed: another one gives other music", precision=0,
                             minimum=0, elem_id="seed")  # fmt: skip
            with gr.Accordion("More choices", open=False):
                length = gr.Number(None, label="Length in seconds (empty: all)", minimum=0)
                genre = gr.Dropdown([""], label="Genre", visible=False)
                words = gr.Textbox(
                    label="Words: * is the rhythm of the dance, @ its genre",
                    visible=False,
                    max_length=500,
                )
                song = gr.File(
                    label="Style song: sound like this", visible=False, file_count="single"
                )
                style = gr.Dropdown([""], value="", label="Style", visible=False)
                sliders = [
                    gr.Slider(low, high, step=0.05, label=name, visible=False)
                    for name, (low, high) in SLIDERS.items()
                ]
                more = gr.Textbox(label="Other options of the model, as NAME=VALUE", max_length=300)
        with gr.Column(scale=1, min_width=300):
            make = gr.Button("Make music", variant="primary", elem_id="make")
            with gr.Row():
                another = gr.Button("Same model, next seed", elem_id="another")
                other = gr.Button("Same seed, next model", elem_id="other")
                cancel = gr.Button("Cancel", elem_id="cancel")
            message = gr.HTML("", elem_id="message")
            progress = gr.HTML("", elem_id="progress")
            seen = gr.HTML("", elem_id="look")
    gr.Markdown("### Two results side by side")
    with gr.Row():
        sides = []
        for name in ("A", "B"):
            with gr.Column(min_width=300):
                chosen = gr.Dropdown([], label=name, elem_id=f"side-{name.lower()}")
                sides.append((chosen, gr.HTML("", elem_id=f"result-{name.lower()}")))
    gr.Markdown(LEGEND)
    delete = gr.Button("Delete all my files", variant="stop", size="sm")
    known, looked = gr.State([]), gr.State("")
    parts = Parts(upload, run, seed, length, genre, words, style, sliders, more)
    (side_a, shown_a), (side_b, shown_b) = sides

    def take(value: Any, request: gr.Request) -> tuple[Any, str]:
        return _taken(
            desk, request, lambda user: studio.upload(user, *desk.received(request, value))
        )

    def take_test(video_id: str, request: gr.Request) -> tuple[Any, str]:
        if not video_id:
            return gr.skip(), ""
        return _taken(desk, request, lambda user: studio.upload_of_test(user, video_id))

    def take_song(value: Any, request: gr.Request) -> tuple[Any, str]:
        try:
            user = desk.user(request)
            made = studio.upload(user, *desk.received(request, value), "song")
        except Refused as error:
            return gr.skip(), alert(str(error))
        return gr.Dropdown(_songs(user), value=made.id), ""

    def submit(request: gr.Request, values: tuple[Any, ...]) -> str:
        try:
            upload_id, choice, style_id = choice_of(studio.runs, values)
            studio.make(desk.user(request), upload_id, choice, style_id)
        except Refused as error:
            return alert(str(error))
        return ""

    def do_make(request: gr.Request, *values: Any) -> str:
        return submit(request, values)

    def do_another(request: gr.Request, *values: Any) -> tuple[Any, str]:
        values = (*values[:2], int(values[2] or 0) + 1, *values[3:])
        return values[2], submit(request, values)

    def do_other(request: gr.Request, *values: Any) -> str:
        names = list(studio.runs)
        following = names[(names.index(values[1]) + 1) % len(names)] if values[1] in names else ""
        plain = [None] * len(SLIDERS)
        return submit(request, (values[0], following, *values[2:4], "", "", "", *plain, ""))

    def do_cancel(request: gr.Request) -> str:
        try:
            user = desk.user(request)
            for job in studio.queue.of(user):
                if job.state in (WAITING, RUNNING):
                    studio.queue.cancel(user, job.id)
        except Refused as error:
            return alert(str(error))
        return ""

    def do_delete(request: gr.Request) -> tuple[Any, ...]:
        try:
            studio.queue.delete_all(desk.user(request))
        except Refused as error:
            return (*[gr.skip()] * 4, alert(str(error)))
        empty = gr.Dropdown([], value=None)
        return empty, empty, empty, [], alert("all your files are deleted")

    def choose_run(name: str) -> list[Any]:
        facts = studio.runs.get(name, first)
        return _controls(facts)

    def start(request: gr.Request) -> tuple[Any, ...]:
        try:
            user = desk.user(request)
        except Refused as error:
            return (*[gr.skip()] * 5, alert(str(error)))
        a, b, ids = _sides(desk, user, [], None, None)
        return _uploads(user), gr.Dropdown(_songs(user)), a, b, ids, ""

    def tick(
        request: gr.Request, ids: list[str], a: str, b: str, upload_id: str, look: str
    ) -> tuple[Any, ...]:
        try:
            user = desk.user(request)
            jobs = [job for job in studio.queue.of(user) if job.kind in (MAKE, LOOK)]
            looks = [j.id for j in jobs if (j.kind, j.state) == (LOOK, DONE)
                     and j.facts.get("upload") == upload_id]  # fmt: skip
            newest = looks[0] if looks else ""
            # A view that is sent again would start its film again.
            view = (gr.skip(), look) if newest == look else (result_of(desk, user, newest), newest)
            left, right, done = _sides(desk, user, ids, a, b)
        except Refused as error:  # such as files that were deleted meanwhile
            return (alert(str(error)), *[gr.skip()] * 5)
        return jobs_html(studio.queue, jobs), left, right, done, *view

    def show(job_id: str, request: gr.Request) -> str:
        try:
            return result_of(desk, desk.user(request), job_id)
        except Refused as error:
            return alert(str(error))

    gr.on([film.upload, film.stop_recording], take, film, [upload, message],
          preprocess=False, **PRIVATE)  # fmt: skip
    test.input(take_test, test, [upload, message], **PRIVATE)
    song.upload(take_song, song, [style, message], preprocess=False, **PRIVATE)
    run.change(choose_run, run, [note, genre, words, song, style, *sliders], **PRIVATE)
    make.click(do_make, parts.choices(), message, **PRIVATE)
    another.click(do_another, parts.choices(), [seed, message], **PRIVATE)
    other.click(do_other, parts.choices(), message, **PRIVATE)
    cancel.click(do_cancel, None, message, **PRIVATE)
    delete.click(do_delete, None, [upload, side_a, side_b, known, message], **PRIVATE)
    side_a.change(show, side_a, shown_a, **PRIVATE)
    side_b.change(show, side_b, shown_b, **PRIVATE)
    page.load(start, None, [upload, style, side_a, side_b, known, message], **PRIVATE)
    page.load(
        lambda: _controls(first), None, [note, genre, words, song, style, *sliders], **PRIVATE
    )
    gr.Timer(TICK_S).tick(
        tick, [known, side_a, side_b, upload, looked],
        [progress, side_a, side_b, known, seen, looked], **PRIVATE,
    )  # fmt: skip


def choice_of(runs: dict[str, RunFacts], values: tuple[Any, ...]) -> tuple[Any, Choice, Any]:
    """Return the video, the choice and the style song from the values of `Parts.choices`.

    A slider that stands at its default gives no option. Raises Refused for other kinds of values.
    """
    upload_id, run_name, seed, length_s, genre, words, style_id, *rest = values
    *levels, more = rest
    facts = runs.get(run_name or "")
    if not upload_id:
        raise Refused("first bring a video: drop a file above, or record one")
    if facts is None:
        raise Refused("choose a model")
    settings: dict[str, Any] = dict(settings_of(more or ""))
    for name, level in zip(SLIDERS, levels, strict=True):
        default = facts.default(name)
        if default is not None and level is not None and abs(level - default) > 1e-9:
            settings.setdefault(name, float(level))
    try:
        seed = int(seed or 0)
    except (ValueError, OverflowError):
        raise Refused(f"the seed is {seed!r:.40}; expected a whole number") from None
    choice = Choice(facts.name, seed, length_s or None, genre or "", words or "", settings)
    names = [name for name, one in runs.items() if one is facts]
    return upload_id, replace(choice, run=names[0]), style_id or None


def result_of(desk: Desk, user: User, job_id: str | None) -> str:
    """Return the HTML of a user's result; "" for none."""
    if not job_id:
        return ""
    job = desk.studio.queue.get(user, job_id)
    return result_html(job, desk.studio.facts(user, job))


def _taken(desk: Desk, request: gr.Request, add: Any) -> tuple[Any, str]:
    """Add a video and look at its dancer; return the list of videos and a message."""
    try:
        user = desk.user(request)
        made = add(user)
        desk.studio.look(user, made.id)
    except Refused as error:
        return gr.skip(), alert(str(error))
    return _uploads(user, made.id), ""


def _sides(
    desk: Desk, user: User, known: list[str], a: str | None, b: str | None
) -> tuple[Any, Any, list[str]]:
    """Return both lists of results; a new result goes to A if that is empty, else to B."""
    jobs = [job for job in desk.studio.queue.of(user, MAKE) if job.state == DONE]
    ids = [job.id for job in jobs]
    if ids == known:
        return gr.skip(), gr.skip(), known
    for made in reversed([one for one in ids if one not in known]):
        a, b = (made, b) if a not in ids else (a, made)
    choices = [(f"{job.title} ({number})", job.id) for number, job in _numbered(jobs)]
    left = gr.Dropdown(choices, value=a if a in ids else None)
    return left, gr.Dropdown(choices, value=b if b in ids else None), ids


def _numbered(jobs: list[Any]) -> list[tuple[int, Any]]:
    return [(len(jobs) - place, job) for place, job in enumerate(jobs)]


def _uploads(user: User, chosen: str = "") -> Any:
    found = uploads.listed(user)
    value = chosen or (found[0].id if found else None)
    return gr.Dropdown([(one.label, one.id) for one in found], value=value)


def _songs(user: User) -> list[tuple[str, str]]:
    return [("none", ""), *((one.label, one.id) for one in uploads.listed(user, "song"))]


def _controls(facts: RunFacts) -> list[Any]:
    """Return what a run's options look like: only what its family takes is shown."""
    genres = list(facts.genres) if facts.needs_genre else ["", *facts.genres]
    takes_style = STYLE in facts.options
    shown = [
        _note(facts),
        gr.Dropdown(genres, value=genres[0] if genres else "", visible=bool(facts.genres)),
        gr.Textbox(visible=WORDS in facts.options),
        gr.File(visible=takes_style),
        gr.Dropdown(visible=takes_style),
    ]
    for name, (lowest, _) in SLIDERS.items():
        default = facts.default(name)
        label = f"{name} (default {facts.options.get(name, '')})"
        # A hidden slider, too, is refused outside of its range.
        value = lowest if default is None else default
        shown.append(gr.Slider(value=value, visible=default is not None, label=label))
    return shown


def _note(facts: RunFacts) -> str:
    return f'<p class="studio-note">{escape(facts.note)}</p>' if facts.note else ""
