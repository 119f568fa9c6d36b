"""Processes of a job: how much memory they have together, and how all of them are ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def started_at(pid: int) -> int | None:
    """Return when a process started, in ticks since boot, or None if there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def memory_bytes(session: int) -> int:
    """Return the resident memory of all processes of a session: a job's command and its children.

    Memory that several of them share is counted for each.
    """
    total = 0
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        fields = _stat(int(path.name))
        if fields is not None and int(fields[3]) == session:
            total += int(fields[21]) * PAGE_BYTES
    return total


def end(pid: int, start: int | None) -> None:
    """Kill the process group of a command, if the process is still the one that was started."""
    if start is None or started_at(pid) != start:
        return
    for group in _groups(pid) | {pid}:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _groups(session: int) -> set[int]:
    """Return the process groups of a session."""
    found = set()
    for path in Path("/proc").iterdir():
        fields = _stat(int(path.name)) if path.name.isdecimal() else None
        if fields is not None and int(fields[3]) == session:
            found.add(int(fields[2]))
    return found


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name: state, parent, group, session, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
