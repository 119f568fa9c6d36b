"""A server of weights, and an entry of the table that stands for what it sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from weight_server import BODY, Handler, Script, sha256

import pipeline.weights.table
from pipeline.weights.table import Weight


@pytest.fixture
def script(tmp_path, monkeypatch) -> Iterator[Script]:
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script = Script(url=f"http://127.0.0.1:{server.server_port}/w.pth")
    server.script.target = tmp_path / "weights" / "w.pth"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def weight(script, monkeypatch) -> Weight:
    """Return an entry of the table that stands for BODY on the server."""
    entry = Weight(
        name="toy",
        purpose="tests",
        file="w.pth",
        url=script.url,
        licence="none",
        sha256=sha256(BODY),
        size_bytes=len(BODY),
    )
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (entry,))
    return entry
