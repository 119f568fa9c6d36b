"""A lock with one holder at a time: `flock` on a file, or a lock file where `flock` is missing.

The kernel releases a `flock` whenever its holder ends. Lustre without `-o flock`, and some NFS and
FUSE mounts, do not support it. There, a lock file created with O_EXCL names the holder. A lock file
stays behind when its holder is killed. On the same machine, the recorded start time of the process
shows whether the holder still runs. From another machine this cannot be decided, so the error
message says what to check and which file to delete.
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
"""Error numbers of file systems that do not support `flock`."""
WRITING_S = 2.0
"""Longer than a holder needs to write its name into the lock file that it has just created."""


class HeldError(ValueError):
    """Another process holds the lock. The message names it; it is empty if it is not known."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock on the file `path` for this process; the file is created if it is missing.

    Raises HeldError if another process holds the lock, and OSError if the file cannot be opened.
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
    """Hold a lock by the lock file `path`, which names the holder and is deleted at the end."""
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
    """Remove the lock file of a holder that no longer runs; raise HeldError for any other."""
    content = _content(path)
    deadline_s = time.monotonic() + WRITING_S
    while content == b"" and time.monotonic() < deadline_s:
        time.sleep(0.05)
        content = _content(path)
    if content is None and not path.is_symlink():
        return
    try:
        there = json.loads(content or b"")  # None: a broken link, handled like an empty file
        pid, host, machine, start = (there[name] for name in ("pid", "host", "machine", "start"))
        started = _start(int(pid)) if machine == _machine() else ""
    except (ValueError, TypeError, KeyError, OverflowError):
        raise HeldError(
            f"lock file {path} names no process; if no other command writes there, delete it"
        ) from None
    if machine != _machine():
        raise HeldError(
            f"process {pid} on {host}, according to {path}; if it no longer runs, delete that file"
        )
    if started == start:
        raise HeldError(f"process {pid} on this machine")
    # If several processes get here at once, only one can rename the file. By then it may be the new
    # lock file of another process, which is put back.
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
    """Return an id of this machine, and of the container on it, as each has its own process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> str | None:
    """Return when a process of this machine started; None if no process with this id runs.

    Process ids are reused; the pair of id and start time is unique.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # the process belongs to another user
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
