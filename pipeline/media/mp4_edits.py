"""What an mp4's edit lists ask for that no decoder here plays to the frame and the sample.

libavformat honours a list that shows one part of a stream, from some time on. Where a list joins
several parts it places the later ones up to two frames off, sound and picture by different amounts,
and it takes no notice of an edit that plays faster or slower.
"""

from __future__ import annotations

from typing import BinaryIO

from pipeline.media.mp4_boxes import MP4_BOXES, boxes_at, size_of

MAX_BOXES = 1024
"""Boxes looked at on each level of a file's header."""
ONCE = 0x10000
"""The rate of an edit that plays as fast as it was taken."""


def unplayable_edits(file: BinaryIO) -> str | None:
    """Return, in words, what is wrong with the edits of a picture or sound track of an mp4 or mov.

    None for one part of each stream, possibly after an empty edit, and for any other format.
    """
    file.seek(0)
    if file.read(8)[4:] not in MP4_BOXES:
        return None
    for track in boxes_at(file, (b"moov", b"trak"), 0, size_of(file)):
        if _handler(file, track) in (b"vide", b"soun"):
            for start, stop in boxes_at(file, (b"edts", b"elst"), *track):
                if words := _wrong(file, start, stop):
                    return words
    return None


def _wrong(file: BinaryIO, start: int, stop: int) -> str | None:
    """Read an edit list: version, flags, count, then (duration, media time, rate) each."""
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
            return f"plays a part at {rate / ONCE:g} times its speed"
        if since >= 0 or index:
            parts.append(since)
    return f"joins {len(parts)} parts" if len(parts) > 1 else None


def _handler(file: BinaryIO, track: tuple[int, int]) -> bytes:
    """Return what a track holds: `vide`, `soun` or something else."""
    for start, _ in boxes_at(file, (b"mdia", b"hdlr"), *track):
        file.seek(start + 8)
        return file.read(4)
    return b""
