"""The studio for scripts: one function over HTTP, `make`, for the client of Gradio."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from model.studio.desk import Desk
from model.studio.job import DONE, ENDED
from model.studio.runs import Choice, settings_of
from model.studio.users import Refused

POLL_S = 0.3


def add_api(desk: Desk) -> None:
    """Add `make`: a video, the name of a run, a seed and options in; addresses of files out."""
    studio = desk.studio
    with gr.Row(visible=False):
        video, run = gr.File(label="video"), gr.Textbox("", label="run")
        seed, options = gr.Number(0, label="seed", precision=0), gr.Textbox("", label="options")
        result, button = gr.JSON(label="result"), gr.Button()

    async def make(
        video: Any, run: str, seed: float, options: str, request: gr.Request
    ) -> dict[str, Any]:
        try:
            user = desk.user(request)
            path, name = desk.received(request, video)
            settings: dict[str, Any] = dict(settings_of(options or ""))
            length_s = float(settings.pop("length_s", 0)) or None
            genre = str(settings.pop("genre", ""))
            whole = int(seed or 0)
            chosen = run or next(iter(studio.runs))
            choice = Choice(chosen, whole, length_s, genre, settings=settings)
            upload = await asyncio.to_thread(studio.upload, user, path, name)
            job = studio.make(user, upload.id, choice)
            while job.state not in ENDED:
                await asyncio.sleep(POLL_S)
            if job.state != DONE:
                raise Refused(job.message)
            facts = studio.facts(user, job)
        except (Refused, ValueError, OverflowError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        return {
            "id": job.id,
            "title": job.title,
            "command": job.facts["command"],
            "labels": facts["labels"],
            "scores": dict(facts["scores"]),
            "dance_beats_s": facts["dance_beats_s"],
            **{kind: f"/media/{job.id}/{kind}" for kind in facts["files"]},
        }

    button.click(
        make, [video, run, seed, options], result, api_name="make", preprocess=False,
        show_progress="hidden",
    )  # fmt: skip
