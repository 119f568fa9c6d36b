"""What strangers may send, and what a reader of it may do."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from places import ROOT

from pipeline.engine.time_limit import TimeLimit, time_limit

ASKED = os.environ.get("D2M_FUZZ_EXAMPLES", "")
HANG_S = 30
"""A reader that takes so long for a few kilobytes hangs."""

fuzz = settings(
    max_examples=int(ASKED or 40),
    derandomize=not ASKED,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # a long search for a shorter example is for hands
    suppress_health_check=list(HealthCheck),
)


# --- what a reader may do ------------------------------------------------------------------------


class Watch:
    """Hears what Python opens, starts and changes while a reader works (audit hooks stay for good,
    so there is one for all tests)."""

    CHANGES = (
        "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen",
        "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
        "os.chmod", "shutil.rmtree", "socket.connect", "socket.bind", "pty.spawn",
    )  # fmt: skip
    FREE = ("/proc", "/sys", "/dev", sys.prefix, sys.base_prefix, str(ROOT))

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in self.CHANGES:
            self.seen.append(f"{event} {values!r:.200}")
        elif event == "open" and isinstance(values[0], str | bytes):
            path = os.path.realpath(os.fsdecode(values[0]))
            wrote = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
            if wrote or not path.startswith((str(self.folder), *self.FREE)):
                self.seen.append(f"open {path} {values[1]}")

    @contextlib.contextmanager
    def of(self, folder: Path) -> Iterator[None]:
        self.folder, self.seen = Path(os.path.realpath(folder)), []
        try:
            yield
        finally:
            self.folder = None
        assert not self.seen, self.seen


def check(watch: Watch, read: Callable[[], Any], fits: Callable[[Any], None], path: Path) -> bool:
    """Read; return whether a value came, which fits, or an error that names the file."""
    try:
        with watch.of(path.parent), time_limit(HANG_S):
            value = read()
    except (ValueError, OSError) as error:
        assert path.name in str(error), repr(error)
        assert len(str(error)) < 20_000, f"{len(str(error))} characters of message"
        return False
    except TimeLimit:
        pytest.fail(f"{path.name}: still reading after {HANG_S} s")
    fits(value)
    return True


# --- what strangers may send ---------------------------------------------------------------------

BYTES = st.binary(max_size=12) | st.sampled_from(
    [b"\0", b"\0" * 8, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8, b"\n", b'"',
     b"-1", b"1e999", b"nan", b"9" * 40, b"../", b"\xed\xa0\x80", b",", b"[", b"}"]
)  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "put", "insert", "delete", "copy", "swap", "cut"]),
        st.integers(0, 1 << 20) | st.integers(0, 600),
        st.integers(0, 1 << 20) | st.integers(0, 600),
        st.integers(1, 64) | st.integers(1, 4096),
        BYTES,
    ),
    min_size=1,
    max_size=5,
)


def edited(data: bytes, edits: list[tuple[str, int, int, int, bytes]]) -> bytes:
    """Return the bytes with each edit done; places count from the front, or the end if odd."""
    out = bytearray(data)
    for kind, place, other, length, new in edits:
        if not out:
            break
        a, b = (x // 2 % len(out) if x % 2 == 0 else len(out) - 1 - x // 2 % len(out)
                for x in (place, other))  # fmt: skip
        if kind == "flip":
            out[a] ^= 1 << other % 8
        elif kind == "put":
            out[a : a + len(new)] = new
        elif kind == "insert":
            out[a:a] = new
        elif kind == "delete":
            del out[a : a + length]
        elif kind == "copy":
            out[b:b] = out[a : a + length]
        elif kind == "swap":
            out[a : a + length], out[b : b + length] = out[b : b + length], out[a : a + length]
        elif kind == "cut" and length < 16:
            del out[a:]
    return bytes(out)


ODD = st.sampled_from(
    ["", "../x", "/etc/passwd", "a/b", "nan", "1/0", "-1", "1e400", "9" * 5000, "\0", "é" * 90,
     "train", "[", 10**400, -(10**400), 1 << 63, -1, 0, 1, 0.5, math.nan, math.inf,
     -math.inf, 1e300]
)  # fmt: skip
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | ODD
JUNK = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a nested structure, outermost first."""
    found, todo = [], [value]
    for one in todo:
        keys = list(one) if isinstance(one, dict) else range(len(one))
        found += [(one, key) for key in keys]
        todo += [one[key] for key in keys if isinstance(one[key], dict | list)]
    return found


@st.composite
def changed(draw: st.DrawFn, value: Any, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """Return a nested structure with values replaced, dropped, renamed and exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = places(value)
        if not found:
            break
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        kind = draw(st.sampled_from(["replace", "replace", "drop", "exchange", "rename"]))
        if kind == "replace":
            holder[key] = draw(junk)
        elif kind == "drop":
            del holder[key]
        elif kind == "exchange":
            other, place = found[draw(st.integers(0, len(found) - 1))]
            holder[key], other[place] = copy.deepcopy((other[place], holder[key]))
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6) | ODD.filter(lambda x: isinstance(x, str)))] = (
                holder.pop(key)
            )
    return value
