"""A server of weights on 127.0.0.1 that drops, cuts, changes and lies, as a test asks it to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from pipeline.weights.fetch import fetch
from pipeline.weights.table import Weight

BODY = b"PK\x03\x04" + bytes(i * i % 251 for i in range(300_000))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Script:
    """How the server behaves, and what it was asked."""

    body: bytes = BODY
    etag: str = '"one"'
    drop_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, one entry for each."""
    ranges: bool = True
    heeds_if_range: bool = True
    shift: int = 0
    """By how much a partial answer starts too late."""
    status: int = 0
    target: Path = Path("absent")
    asked: list[dict[str, str]] = field(default_factory=list)
    placed_early: bool = False
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        script: Script = self.server.script
        script.asked.append(dict(self.headers))
        script.placed_early |= script.target.exists()
        body, start = script.body, 0
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == script.etag or not script.heeds_if_range
        if script.status:
            self.send_response(script.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if span and script.ranges and same:
            start = int(span[1]) + script.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if script.etag:
            self.send_header("ETag", script.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + script.drop_after.pop(0) if script.drop_after else len(body)
        self.wfile.write(body[start:end])
        self.close_connection = True


def get(weight: Weight, url: str = "", also: Sequence[Weight] = ()) -> list[str]:
    """Fetch, and return what the user was told."""
    told: list[str] = []
    fetch(weight, url, told.append, pause_s=0, also=also)
    return told


def left(script: Script) -> list[str]:
    return sorted(path.name for path in script.target.parent.iterdir())
