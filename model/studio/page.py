"""The page: three tabs and the interface for scripts."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from model.studio.api import add_api
from model.studio.desk import Desk
from model.studio.studio import Studio
from model.studio.tab_data import clips_tab, data_tab
from model.studio.tab_make import make_tab

HEAD = """<script>
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("video, audio"))
    if (other !== event.target) other.pause();
}, true);
</script>"""
"""Only one film plays at a time."""
TITLE = "dance2music studio"
INTRODUCTION = """
<h1>dance2music studio</h1>
<p>Music for a dance video: bring a video, choose a model, and hear the result under the picture.
Everything is computed on the machine that serves this page, and nothing leaves it.</p>
"""


def create_page(studio: Studio, owns: Callable[[str, str], bool]) -> gr.Blocks:
    """Return the page of a studio."""
    desk = Desk(studio, owns)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(INTRODUCTION)
        with gr.Tabs():
            with gr.Tab("Make music"):
                make_tab(desk, page)
            if studio.dataset is not None:
                with gr.Tab("Data set"):
                    data_tab(desk, studio.dataset)
            if studio.curated is not None:
                with gr.Tab("Curated clips"):
                    clips_tab(desk, studio.curated)
        add_api(desk)
    return page
