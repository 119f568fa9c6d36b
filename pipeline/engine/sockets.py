"""Where Ray's sockets fit: a folder with a short path, on a disk that can hold them."""

from __future__ import annotations

import os
import socket
import tempfile

SOCKET = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest name of a socket in Ray's folder: a path has room for about 100 bytes."""
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Short ones, for a folder of Ray's in place of one that cannot hold its sockets."""


def folder_for_sockets() -> str | None:
    """Return a new, private folder where Ray's own cannot hold its sockets, None where it can.

    Ray puts them where RAY_TMPDIR or TMPDIR says: too long a path on some clusters, not there or
    not writable on others, or on a disk without sockets.

    Raises OSError, saying what to do, where no folder can hold them.
    """
    usual = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    if os.path.isabs(usual) and holds_sockets(os.path.join(usual, "ray")):
        return None
    for place in FOLDERS:
        try:
            made = tempfile.mkdtemp(prefix="d2m-ray-", dir=place)
        except OSError:
            continue
        if holds_sockets(made):
            return made
        os.rmdir(made)
    raise OSError(
        f"Ray did not start: neither TMPDIR ({usual}) nor {', '.join(FOLDERS)} can hold its "
        "sockets; set TMPDIR to a folder with a short path (30 letters) on a disk of this machine "
        "that you can write to, or use --engine local"
    )


def holds_sockets(folder: str) -> bool:
    """Return whether Ray, with this as its folder, which may not be there yet, has its sockets."""
    there = folder if os.path.isdir(folder) else os.path.dirname(folder)
    try:
        with (
            tempfile.TemporaryDirectory(dir=there) as made,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            longer = len(os.fsencode(os.path.join(folder, SOCKET))) - len(os.fsencode(made)) - 1
            probe.bind(os.path.join(made, "s" * longer))
            return True
    except OSError:
        return False
