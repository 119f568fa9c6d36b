"""One holder at a time: by the kernel's lock on a file, or where a disk has none, by a file's name.

`flock` is let go of by the kernel, however its holder ends. Lustre without `-o flock`, and some NFS
and FUSE mounts, have none; there a file made with O_EXCL says who holds the place. Such a file
outlives a killed holder: its process's start tells whether it still runs, on the same machine. From
another machine that cannot be told, so the error says what to look at and what to delete.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM}
"""How disks answer that have no `flock`."""
WRITING_S = 2.0
"""Longer than a holder needs to write its name into the file that it has just made."""


class HeldError(ValueError):
    """Another process holds it; the message says which, where that is known, "" where not."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold `path`, a file that is made where there is none, for this process.

    Raises HeldError where another holds it, and OSError where the file cannot be opened.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                error.filename = str(path)
                raise
        else:
            yield
            return
    with _named(path.with_name(f"{path.name}.held")):
        yield


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Hold a place by the file `path`, which names the holder, and is deleted at the end."""
    ours = json.dumps(_holder(os.getpid())).encode()
    while True:
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear(path)
        else:
            break
    try:
        with open(file, "wb") as writer:
            writer.write(ours)
        yield
    finally:
        if _content(path) in (ours, b""):
            path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Take the file of a holder that has ended out of the way; raise HeldError for any other."""
    content = _content(path)
    deadline_s = time.monotonic() + WRITING_S
    while content == b"" and time.monotonic() < deadline_s:
        time.sleep(0.05)
        content = _content(path)
    if content is None and not path.is_symlink():
        return
    try:
        there = json.loads(content or b"")  # a link to nothing names no process either
        pid, host, machine, start = (there[name] for name in ("pid", "host", "machine", "start"))
        started = _start(int(pid)) if machine == _machine() else ""
    except (ValueError, TypeError, KeyError, OverflowError):
        raise HeldError(
            f"{path} is there and names no process; if no other command writes there, delete it"
        ) from None
    if machine != _machine():
        raise HeldError(
            f"process {pid} on {host}, as {path} says; if it runs there no more, delete that file"
        )
    if started == start:
        raise HeldError(f"process {pid} on this machine")
    # Where several processes see this at once, only one can rename the file; by then it may be
    # another process's new one, which is put back.
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _content(aside) == content:
        aside.unlink(missing_ok=True)
    else:
        os.rename(aside, path)


def _holder(pid: int) -> dict[str, object]:
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "machine": _machine(),
        "start": _start(pid),
    }


def _machine() -> str:
    """Return what tells machines apart, and containers on one: their processes' numbers differ."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> str | None:
    """Return when a process of this machine started, None where there is none of that number.

    Numbers are used again, a number with a start is not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *facts = stat.rpartition(")")[2].split()
    except OSError:
        return ""
    return None if state in "ZX" else facts[18]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
