"""The server of the studio: Gradio's page behind the guard, and the files of results."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from model.contract.lock import HeldError, held
from model.studio.curated import Curated
from model.studio.data_sets import DataSet
from model.studio.guard import USER, Guard
from model.studio.limits import MB, Limits
from model.studio.queue import Queue
from model.studio.runs import describe_all
from model.studio.studio import Studio
from model.studio.users import Refused, Users

LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Settings of Gradio, and of what it imports, that keep them from asking other machines."""


@contextmanager
def opened(
    work: Path, limits: Limits, runs: list[str], shards: Path | None, curated: Path | None
) -> Iterator[Studio]:
    """Yield a studio whose queue runs; its work folder is locked.

    Raises ValueError if another studio uses the folder, or a run or a data set cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    try:
        with held(work / "lock"):
            found = describe_all(runs)
            dataset = None if shards is None else DataSet(shards)
            clips = None if curated is None else Curated(curated)
            users = Users(work, limits)
            studio = Studio(users, Queue(users), found, dataset, clips)
            studio.queue.start()
            try:
                yield studio
            finally:
                studio.queue.close()
    except HeldError:
        raise ValueError(
            f"{work}: another studio uses this folder; choose another --work"
        ) from None


def create_app(studio: Studio, hosts: tuple[str, ...] | None = LOOPBACK) -> Guard:
    """Return the application: the page, its requests, and the files of results."""
    os.environ.update(QUIET)
    os.environ["GRADIO_TEMP_DIR"] = str(studio.users.received)
    import gradio

    from model.studio.page import HEAD, create_page
    from model.studio.views import STYLE

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/media/{job}/{name}", methods=["GET", "HEAD"])
    def media(job: str, name: str, request: Request) -> Response:
        try:
            user = studio.users.user(request.scope[USER])
            path, kind = studio.file(user, job, name)
        except Refused as error:
            return PlainTextResponse(str(error), 404)
        shown = "attachment" if "download" in request.query_params else "inline"
        return FileResponse(
            path, media_type=kind, filename=path.name, content_disposition_type=shown
        )

    body_bytes = round(studio.users.limits.upload_mb * MB) + MB
    guard: list[Guard] = []
    page = create_page(studio, lambda token, path: guard[0].owns(token, path))
    page.queue(default_concurrency_limit=None, max_size=1000)
    mounted: ASGIApp = gradio.mount_gradio_app(
        app,
        page,
        path="/",
        allowed_paths=[],
        show_error=True,
        max_file_size=round(studio.users.limits.upload_mb * MB),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        theme=_theme(gradio),
        css=STYLE,
        head=HEAD,
    )
    guard.append(Guard(mounted, hosts, body_bytes))
    return guard[0]


def serve(studio: Studio, host: str, port: int) -> None:
    """Serve the studio until Ctrl-C, and print its address. Raises OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise OSError(
                f"{host}:{port}: {error.strerror}; choose another --port, or 0 for a free one"
            ) from None
        app = create_app(studio, LOOPBACK if host in LOOPBACK else None)
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=2, ws="none", server_header=False
        )
        listener.listen(128)  # whoever reads the address may ask at once
        shown = f"[{host}]" if ":" in host else host
        print(f"studio: http://{shown}:{listener.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def _theme(gradio: Any) -> Any:
    """Return a theme whose fonts are those of the reader's machine: no font is fetched."""
    fonts, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gradio.themes.Base(font=fonts, font_mono=mono)
