"""Parts of files made to harm: boxes of mp4, objects of pickles, members of tars."""

from __future__ import annotations

import os
import struct
import tarfile
from pathlib import Path

import numpy as np


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


class Touch:
    """Unpickles as a call that leaves a folder behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def nested(depth: int) -> list:
    """Return a list of a few bytes that has 10 ** depth numbers when written out."""
    value: list = [0.0] * 10
    for _ in range(depth - 1):
        value = [value] * 10
    return value


class Vast:
    """Unpickles as an array of 80 GB that was never in the file."""

    def __reduce__(self):
        return np.ndarray, ((10**10 // 72, 72),)


def member(name: str, data: bytes = b"RIFF", kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the bytes of one tar member, its header as hostile as its name."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
    if kind != tarfile.REGTYPE:
        info.size, data = 0, b""
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
