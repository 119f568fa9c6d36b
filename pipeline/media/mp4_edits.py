"""Find out which edit lists of an mp4 cannot be played with exact timing, and which move no frame.

An edit list says which parts of a stream are shown, when, and how fast. libavformat plays a list
with one part correctly. If a list joins several parts, it places the later ones up to two frames
off, by different amounts for sound and picture. It ignores the speed of an edit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipeline.media.mp4_boxes import MP4_BOXES, TABLES, boxes_at, size_of

MAX_BOXES = 1024
"""At most this many edits are read from a list."""
MAX_FRAMES = 3_000_000
"""At most this many frames are looked up in the tables of a track: 13 hours of 60 a second."""
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
    for kind, track in _tracks(file):
        if kind in (b"vide", b"soun"):
            for start, stop in boxes_at(file, (b"edts", b"elst"), *track):
                if problem := _problem(file, start, stop):
                    return problem
    return None


def edits_begin_at_first_frames(file: BinaryIO) -> bool:
    """Return whether the tables of an mp4 show that no edit list leaves out the start of a picture.

    False where they do not tell: for fragments, whose frames are not in the tables, for edit lists
    of several parts, and for damaged tables.
    """
    tracks = list(_tracks(file))
    kinds = {kind for kind, _ in tracks}
    if b"" in kinds or b"vide" not in kinds:
        return False
    for kind, track in tracks:
        if kind != b"vide":
            continue
        lists = boxes_at(file, (b"edts", b"elst"), *track)
        edits = [edit for span in lists for edit in _edits(file, *span)]
        begins = [since for since, _ in edits if since >= 0]
        first = _first_frame(file, track)
        if first is None or len(begins) != len(lists) or any(since > first for since in begins):
            return False
    return True


def _first_frame(file: BinaryIO, track: tuple[int, int]) -> int | None:
    """Return when the first frame is shown, in ticks of the track; None if the tables do not tell.

    A frame is shown at the sum of the durations (stts) before it, plus its own offset (ctts).
    """
    path = TABLES[2:]
    durations = [_runs(file, *span) for span in boxes_at(file, (*path, b"stts"), *track)]
    offsets = [_runs(file, *span) for span in boxes_at(file, (*path, b"ctts"), *track)]
    if len(durations) != 1 or len(offsets) > 1:
        return None
    counts, ticks = durations[0].T
    frames = counts.sum()
    if not 0 < frames <= MAX_FRAMES:
        return None
    lasting = np.repeat(ticks, counts)
    shown = lasting.cumsum() - lasting
    if offsets:
        counts, ticks = offsets[0].T
        if counts.sum() != frames:
            return None
        shown += np.repeat(ticks, counts)
    return int(shown.min())


def _runs(file: BinaryIO, start: int, stop: int) -> np.ndarray:
    """Return a table of runs, int64 (n, 2): version, flags, number, then (count, ticks) per run."""
    file.seek(start)
    number = int.from_bytes(file.read(8)[4:], "big")
    table = np.frombuffer(file.read(8 * min(number, max(stop - start - 8, 0) // 8)), ">u4,>i4")
    return np.stack([table["f0"], table["f1"]], axis=1).astype(np.int64)


def _problem(file: BinaryIO, start: int, stop: int) -> str | None:
    """Return what cannot be played in one edit list, or None."""
    parts = []
    for index, (since, rate) in enumerate(_edits(file, start, stop)):
        if since >= 0 and rate != ONCE:
            return f"plays a part at {rate / ONCE:g} times the normal speed"
        if since >= 0 or index:
            parts.append(since)
    return f"joins {len(parts)} parts" if len(parts) > 1 else None


def _edits(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield media time and rate of each edit: version, flags, number, then those and a duration."""
    file.seek(start)
    head = file.read(8)
    wide = 8 if head[:1] == b"\1" else 4
    count = min(int.from_bytes(head[4:8], "big"), (stop - start - 8) // (2 * wide + 4), MAX_BOXES)
    for _ in range(count):
        file.read(wide)
        since = int.from_bytes(file.read(wide), "big", signed=True)
        yield since, int.from_bytes(file.read(4), "big")


def _tracks(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the type of each track, as `_handler` returns it, and its (start, stop) in bytes."""
    for track in boxes_at(file, (b"moov", b"trak"), 0, size_of(file)):
        yield _handler(file, track), track


def _handler(file: BinaryIO, track: tuple[int, int]) -> bytes:
    """Return the type of a track: `vide` (video), `soun` (audio) or another one."""
    for start, _ in boxes_at(file, (b"mdia", b"hdlr"), *track):
        file.seek(start + 8)
        return file.read(4)
    return b""
