"""Find a folder for Ray's sockets: its path must be short, and its disk must allow sockets."""

from __future__ import annotations

import os
import socket
import tempfile

SOCKET = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest socket name inside Ray's folder. A socket's path is limited to about 100 bytes."""
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Folders with short paths, used if Ray's usual folder cannot hold sockets."""


def folder_for_sockets() -> str | None:
    """Return a new private folder for Ray, or None if Ray's usual folder can hold its sockets.

    Ray uses the folder in RAY_TMPDIR or TMPDIR. On some clusters that path is too long, does not
    exist, is not writable, or is on a disk that does not allow sockets.

    Raises OSError, with advice, if no folder can hold the sockets.
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
        "sockets; set TMPDIR to a folder with a short path (at most 30 letters) on a disk of this "
        "machine that you can write to, or use --engine local"
    )


def holds_sockets(folder: str) -> bool:
    """Return whether sockets can be created in `folder`, which need not exist yet."""
    existing = folder if os.path.isdir(folder) else os.path.dirname(folder)
    try:
        with (
            tempfile.TemporaryDirectory(dir=existing) as made,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            longer = len(os.fsencode(os.path.join(folder, SOCKET))) - len(os.fsencode(made)) - 1
            probe.bind(os.path.join(made, "s" * longer))
            return True
    except OSError:
        return False
