"""What stands before Gradio: who asks, which paths there are, and what a browser may load.

Gradio serves every file that it has received to whoever names its path. Here a received file is
served only to the user who sent it, and only the requests that the page needs are answered.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.studio.users import COOKIE, is_token, new_token

COOKIE_S = 180 * 24 * 3600
USER = "studio_user"
"""The key of the user's secret in an ASGI scope."""
API = "/gradio_api"
PATHS = frozenset(
    {"/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"}
    | {f"{API}/{name}" for name in ("info", "info/", "theme.css", "startup-events", "app_id")}
    | {f"{API}/{name}" for name in ("upload", "upload_progress", "queue/join", "queue/data")}
    | {f"{API}/{name}" for name in ("cancel", "reset", "reset/")}
)
FOLDERS = ("/assets/", "/static/", "/svelte/", "/media/", f"{API}/heartbeat/", f"{API}/call/")
FILE = f"{API}/file="
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
REPLY_BYTES = 1_000_000
"""An answer to an upload, a list of paths, is never longer."""


class Guard:
    """ASGI middleware. `hosts` are the names under which the server may be asked; None: any.

    A check of the name keeps another site from reaching a local server through its own name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None, body_bytes: int) -> None:
        self.app, self.body_bytes = app, body_bytes
        self.hosts = None if hosts is None else frozenset(hosts)
        self.received: dict[str, set[str]] = defaultdict(set)

    def owns(self, token: str, path: str) -> bool:
        """Return whether this user has sent the file at a path, since the server was started."""
        return path in self.received.get(token, ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no web socket
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        token = cookie_of(headers.get("cookie", b"").decode("latin-1"))
        fresh = not token
        scope[USER] = token = token or new_token()
        if fresh:  # so that a first request, too, has a user
            kept = headers.get("cookie", b"")
            cookie = b"; ".join(filter(None, [kept, f"{COOKIE}={token}".encode()]))
            others = [item for item in scope["headers"] if item[0] != b"cookie"]
            scope["headers"] = [*others, (b"cookie", cookie)]
        refusal = self._refusal(scope, headers, token)
        uploads = scope["path"] == f"{API}/upload"
        reply = bytearray()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [item for item in message["headers"] if item[0] not in dict(HEADERS)]
                given += HEADERS
                if not any(name == b"cache-control" for name, _ in given):
                    given.append((b"cache-control", b"no-store"))
                if fresh:
                    secure = "; Secure" if scope.get("scheme") == "https" else ""
                    value = f"{COOKIE}={token}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax"
                    given.append((b"set-cookie", (value + secure).encode()))
                message = {**message, "headers": given}
            elif uploads and len(reply) < REPLY_BYTES:
                reply.extend(message.get("body", b""))
                if not message.get("more_body"):
                    self._remember(token, bytes(reply))
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, guarded)
        else:
            await self.app(scope, self._bounded(receive), guarded)

    def _refusal(
        self, scope: Scope, headers: dict[str, bytes], token: str
    ) -> PlainTextResponse | None:
        """Return the answer to a request that is not allowed, or None."""
        host = headers.get("host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]")
        if self.hosts is not None and host not in self.hosts:
            return PlainTextResponse("this server is not called by this name", 421)
        length = headers.get("content-length", b"0")
        if not length.isdigit() or int(length) > self.body_bytes:
            megabytes = self.body_bytes / 1e6
            return PlainTextResponse(f"too large: at most {megabytes:.0f} MB are taken here", 413)
        path = unquote(unquote(scope["path"]))
        raw = (scope.get("raw_path") or b"").decode("latin-1").lower()
        if path.startswith(FILE):
            if not self.owns(token, scope["path"].removeprefix(FILE)):
                return PlainTextResponse("no such file", 403)
            return None
        parts = path.replace("\\", "/").split("/")
        odd = ".." in parts or "\0" in path or "//" in path or "\\" in path
        encoded = any(mark in raw for mark in ("%2f", "%5c", "%2e", "%00", "%25"))
        if odd or encoded or not (path in PATHS or path.startswith(FOLDERS)):
            return PlainTextResponse("not found", 404)
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """Return a receiver that ends a body without a length when it becomes too long."""
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return {"type": "http.disconnect"} if taken > self.body_bytes else message

        return bounded

    def _remember(self, token: str, reply: bytes) -> None:
        try:
            paths = json.loads(reply)
        except ValueError:
            return
        if isinstance(paths, list):
            self.received[token].update(path for path in paths if isinstance(path, str))


def cookie_of(text: str) -> str:
    """Return the user's secret of a Cookie header, "" if it has none of the right form."""
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None and is_token(found.value) else ""
