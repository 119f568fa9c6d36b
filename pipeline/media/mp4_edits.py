"""Find edit lists of an mp4 that cannot be played with exact timing.

An edit list says which parts of a stream are shown, when, and how fast. libavformat plays a list
with one part correctly. If a list joins several parts, it places the later ones up to two frames
off, by different amounts for sound and picture. It ignores the speed of an edit.
"""

from __future__ import annotations

from typing import BinaryIO

from pipeline.media.mp4_boxes import MP4_BOXES, boxes_at, size_of

MAX_BOXES = 1024
"""At most this many edits are read from a list."""
ONCE = 0x10000
"""The rate of an edit at normal speed (16.16 fixed point)."""


def unplayable_edits(file: BinaryIO) -> str | None:
    """Return what cannot be played in the edit lists of an mp4 or mov (video and audio tracks).

    Returns None if each list has one part, possibly after an empty edit, and for other formats. The
    result continues the sentence "its edit list ...".
    """
    file.seek(0)
    if file.read(8)[4:] not in MP4_BOXES:
        return None
    for track in boxes_at(file, (b"moov", b"trak"), 0, size_of(file)):
        if _handler(file, track) in (b"vide", b"soun"):
            for start, stop in boxes_at(file, (b"edts", b"elst"), *track):
                if problem := _problem(file, start, stop):
                    return problem
    return None


def _problem(file: BinaryIO, start: int, stop: int) -> str | None:
    """Check one edit list: version, flags, count, then (duration, media time, rate) per edit."""
    file.seek(start)
    head = file.read(8)
    wide = 8 if head[:1] == b"\1" else 4
    count = min(int.from_bytes(head[4:8], "big"), (stop - start - 8) // (2 * wide + 4), MAX_BOXES)
    parts = []
    for index in range(count):
        file.read(wide)
        since = int.from_bytes(file.read(wide), "big", signed=True)
        rate = int.from_bytes(file.read(4), "big")
        if since >= 0 and rate != ONCE:
            return f"plays a part at {rate / ONCE:g} times the normal speed"
        if since >= 0 or index:
            parts.append(since)
    return f"joins {len(parts)} parts" if len(parts) > 1 else None


def _handler(file: BinaryIO, track: tuple[int, int]) -> bytes:
    """Return the type of a track: `vide` (video), `soun` (audio) or another one."""
    for start, _ in boxes_at(file, (b"mdia", b"hdlr"), *track):
        file.seek(start + 8)
        return file.read(4)
    return b""
