"""The server of the listening test: one page and five requests; listeners see only their own data.

A cookie with a secret identifies a listener. The server reads the plan and writes answers. The key
with the meaning of the clips is outside the served folder, and the server never opens it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.listening.plan import PARTS, Plan, answers_file, load_plan, media, minutes
from model.listening.store import NotNow, NotYours, Store

BODY_BYTES = 1024
COOKIE_S = 90 * 24 * 3600
STOP_S = 2
"""Seconds that Ctrl-C waits for open responses: a browser may never finish reading a video."""
CONTENT_TYPES = {".mp4": "video/mp4", ".wav": "audio/wav"}
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    POLICY + "; media-src 'self'; connect-src 'self'; img-src data:; "
    "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
)


class Body(BaseModel):
    """The body of a request: exactly the declared fields, with exactly their types."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Join(Body):
    invitation: str = Field(max_length=100)


class Heard(Body):
    item: str = Field(max_length=100)


class Rating(Body):
    item: str = Field(max_length=100)
    score: int = Field(ge=1, le=5)


AnyBody = TypeVar("AnyBody", bound=Body)


class GuardHeaders:
    """Adds to every response the headers that restrict what a browser may do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *HEADERS]
                names = {name for name, _ in headers}
                if b"content-security-policy" not in names:
                    headers.append((b"content-security-policy", POLICY.encode()))
                if b"cache-control" not in names:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, guarded)


def create_app(folder: Path, clock: Callable[[], float] = time.time) -> FastAPI:
    """Return the application that serves the set in `folder`; `app.state.store` has the answers.

    A listener who joins again before finishing the test continues at the same place.
    """
    plan = load_plan(folder)
    store = Store(answers_file(folder), plan)
    page = resources.files("model.listening").joinpath("page.html").read_text(encoding="utf-8")
    cookie = f"listener-{plan.set_id[:8]}"
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GuardHeaders)
    app.state.store = store

    async def listener(request: Request) -> int:
        token = request.cookies.get(cookie, "")
        rater = await run_in_threadpool(store.rater, token)
        if rater is None:
            raise HTTPException(401, "join first")
        return rater

    @app.exception_handler(NotYours)
    async def not_yours(_: Request, error: NotYours) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    @app.exception_handler(NotNow)
    async def not_now(_: Request, error: NotNow) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @app.exception_handler(sqlite3.Error)
    async def not_stored(_: Request, error: sqlite3.Error) -> JSONResponse:
        print(
            f"{answers_file(folder)}: {error}; check that its disk has free space",
            file=sys.stderr,
            flush=True,
        )
        return JSONResponse({"detail": "not stored; ask again"}, 503)

    @app.get("/")
    async def index() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = PAGE_POLICY.format(nonce=nonce)
        return HTMLResponse(
            page.replace("{{nonce}}", nonce), headers={"Content-Security-Policy": policy}
        )

    @app.get("/api/state")
    async def state(request: Request) -> dict[str, Any]:
        rater = await run_in_threadpool(store.rater, request.cookies.get(cookie, ""))
        if rater is None:
            return {"joined": False, **outline(plan, plan.orders[0])}
        standing = await run_in_threadpool(store.standing, rater)
        return {"joined": True, **outline(plan, plan.orders[rater]), **describe(plan, *standing)}

    @app.post("/api/join")
    async def join(request: Request) -> JSONResponse:
        body = await read_body(request, Join)
        expected = store.invitation.encode()
        if not secrets.compare_digest(body.invitation.encode(), expected):
            raise HTTPException(403, "this address lacks the invitation; ask for the complete link")
        held = request.cookies.get(cookie, "")
        token = await run_in_threadpool(store.join, clock(), held)
        if token is None:
            raise HTTPException(409, "the test is full: all places are taken")
        response = JSONResponse({"joined": True})
        response.set_cookie(
            cookie, token, max_age=COOKIE_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    @app.api_route("/media/{item}", methods=["GET", "HEAD"])
    async def clip(item: str, request: Request) -> FileResponse:
        rater = await listener(request)
        await run_in_threadpool(store.send, rater, item, clock())
        file = plan.items[item].file
        return FileResponse(media(folder) / file, media_type=CONTENT_TYPES[Path(file).suffix])

    @app.post("/api/heard")
    async def heard(request: Request) -> dict[str, Any]:
        rater = await listener(request)
        body = await read_body(request, Heard)
        await run_in_threadpool(store.hear, rater, body.item, clock())
        return {"heard": body.item}

    @app.post("/api/answer")
    async def answer(request: Request) -> dict[str, Any]:
        rater = await listener(request)
        body = await read_body(request, Rating)
        await run_in_threadpool(store.answer, rater, body.item, body.score, clock())
        return describe(plan, *await run_in_threadpool(store.standing, rater))

    return app


async def read_body(request: Request, form: type[AnyBody]) -> AnyBody:
    """Return the request's JSON as `form`; HTTP 413, 415 or 422 if it is too long or invalid."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES:
            raise HTTPException(413, "too long")
    try:
        return form.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise HTTPException(422, f"{where}: {first['msg']}") from None


def outline(plan: Plan, order: list[str]) -> dict[str, Any]:
    """Return an overview of the test for a listener: number of clips, minutes, parts, beeps."""
    items = [plan.items[name] for name in order]
    parts = [part for part in PARTS if any(item.part == part for item in items)]
    found = {"total": len(items), "minutes": minutes(plan, order), "parts": parts}
    return {**found, "beeps": plan.beeps}


def describe(plan: Plan, done: int, following: str | None, heard: bool) -> dict[str, Any]:
    """Return a listener's progress and the next clip, or None at the end."""
    if following is None:
        return {"done": done, "item": None}
    item = plan.items[following]
    shown = {
        "id": following,
        "part": item.part,
        "url": f"media/{following}",
        "duration_s": item.duration_s,
        "practice": item.practice,
        "heard": heard,
    }
    return {"done": done, "item": shown}


def addresses(host: str) -> list[str]:
    """Return the addresses for other machines; for a wildcard, all addresses of this machine."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    family, outside = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )
    found = []
    # Connecting a datagram socket sends nothing, but selects the local address of the route.
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((outside, 9))
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [row[4][0] for row in socket.getaddrinfo(socket.gethostname(), None, family)]
    known = [a for a in dict.fromkeys(found) if not a.startswith(("127.", "::1", "fe80:"))]
    return known or [socket.gethostname()]


def serve(folder: Path, host: str, port: int) -> None:
    """Serve the set until interrupted; print the links for listeners."""
    app = create_app(folder)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(f"{host}, port {port}: {error}; give another --host or --port") from None
    with opened as listening:
        bound, number = listening.getsockname()[:2]
        for count, address in enumerate(addresses(bound)):
            shown = f"[{address}]" if ":" in address else address
            link = f"http://{shown}:{number}/?invitation={app.state.store.invitation}"
            print(f"{'or' if count else 'give listeners this link:'} {link}")
        found = f"answers: {answers_file(folder)}; stop with Ctrl-C, continue with the same command"
        print(found, flush=True)
        options = uvicorn.Config(
            app, access_log=False, log_level="warning", server_header=False,
            timeout_graceful_shutdown=STOP_S,
        )  # fmt: skip
        try:
            uvicorn.Server(options).run(sockets=[listening])
        finally:
            app.state.store.close()
