"""A server on 127.0.0.1 with the layout of AIST++'s publishers: generated files, and faults."""

from __future__ import annotations

import io
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from builds import motion_file
from hostile_parts import box

from pipeline.sources.aist import CAMERAS, by_camera, dance, official_split

FRAMES = 132
"""Annotation frames of each dance: 2.2 s at 60 fps."""
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"
MAC = {"__MACOSX/motions/._a.pkl": b"\0\5\26\7", "motions/.DS_Store": b"\0"}
"""What a Mac adds to the archives that it writes."""


@dataclass
class Publisher:
    """What the server has, how it fails, and what it was asked."""

    files: dict[str, bytes]
    status: dict[str, int] = field(default_factory=dict)
    """The HTTP status with which requests of a file are refused, by its name."""
    breaks: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which the next answers break off, by the file's name."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, file name and Range of each request."""
    most: int = 0
    """The most requests at one time."""
    now: int = 0
    slow: threading.Event | None = None
    """If it is set, a body stops half-way until this event."""
    url: str = ""

    def gets(self) -> list[str]:
        """Return the names of the files whose content was asked for."""
        return [name for method, name, _ in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        made: Publisher = self.server.made
        name = Path(unquote(self.path)).name
        with self.lock:
            made.asked.append((self.command, name, self.headers.get("Range", "")))
            made.now += 1
            made.most = max(made.most, made.now)
        try:
            self._send(made, name, body)
        finally:
            with self.lock:
                made.now -= 1

    def _send(self, made: Publisher, name: str, body: bool) -> None:
        data = made.files.get(unquote(self.path))
        status = made.status.get(name, 404 if data is None else 200)
        self.close_connection = True
        if status != 200 or data is None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, tag = 0, f'"{hash(data):x}"'
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if span and self.headers.get("If-Range") == tag:
            start = int(span[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            breaks = made.breaks.get(name)
            end = start + breaks.pop(0) if breaks else len(data)
            middle = (start + end) // 2
            self.wfile.write(data[start:middle])
            if made.slow is not None:
                self.wfile.flush()
                made.slow.wait(30)
            self.wfile.write(data[middle:end])


@contextmanager
def served(made: Publisher) -> Iterator[Publisher]:
    """Serve the files; `made.url` is then the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.made = True, made
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dances(count: int) -> list[str]:
    """Return the first videos of the published split."""
    return list(official_split("aist"))[:count]


def publish(video: bytes, count: int, folder: Path) -> dict[str, bytes]:
    """Return what the publishers have of the first `count` dances, from all cameras, by path."""
    names = dances(count)
    pickles = {f"{dance(name)}.pkl": name for name in names}
    motions = {}
    for name in pickles:
        motion_file(folder / name, FRAMES)
        motions[name] = (folder / name).read_bytes()
    lists = {f"crossmodal_{part}.txt": b"" for part in ("train", "val", "test")}
    for name, part in official_split("aist").items():
        lists[f"crossmodal_{part}.txt"] += f"{dance(name)}\n".encode()
    solid = {"keypoints3d": np.zeros((FRAMES, 17, 3)), "keypoints3d_optim": np.zeros((1, 17, 3))}
    archives = {
        "motions": motions,
        "keypoints2d": {name: keypoints(k) for k, name in enumerate(pickles)},
        "keypoints3d": dict.fromkeys(pickles, pickle.dumps(solid)),
        "cameras": {"mapping.txt": b"a setting1\n", "setting1.json": b"[]"},
        "splits": lists,
    }
    files = {
        f"/notes/{name}.zip": zipped({f"{name}/{k}": v for k, v in inside.items()} | MAC)
        for name, inside in archives.items()
    }
    files["/notes/ignore_list.txt"] = f"{dance(names[0])}\n".encode()
    for k, name in enumerate(by_camera(dict.fromkeys(names, "train"), CAMERAS)):
        files[f"/video/10M/{name}.mp4"] = video + box(b"free", bytes(k))
    return files


def keypoints(number: int) -> bytes:
    """Return AIST++'s 2D keypoints: x says the frame, y the camera, the confidence the dance.

    The third frame of the second camera has no detection.
    """
    found = np.empty((len(CAMERAS), FRAMES, 17, 3), np.float32)
    found[..., 0] = np.arange(FRAMES)[:, None]
    found[..., 1] = 1 + np.arange(len(CAMERAS))[:, None, None]
    found[..., 2] = 0.5 + number / 100
    found[1, 2] = np.nan
    scores, times = np.ones((len(CAMERAS), FRAMES), np.float32), np.arange(FRAMES)
    raw = {"keypoints2d": found, "det_scores": scores, "timestamps": times}
    return pickle.dumps(raw, protocol=pickle.HIGHEST_PROTOCOL)


def zipped(files: Mapping[str, bytes], names: Sequence[str] = ()) -> bytes:
    """Return a zip archive; `names` are further members that hold a single byte each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()
