"""What a file's boxes tell before a demuxer sees them: whether it was cut short, or is a bomb.

A file that was cut short is told from a shorter one by the sizes its own containers declare.
Demuxers take a cut at the edge of a packet for the end of the file, and say nothing. A fragmented
mp4 cut exactly between two fragments cannot be told from a whole one. Bytes behind the last sample
(a tag, a camera maker's notes) are no part of the video, and harmless.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
MP4_BOXES = frozenset(
    b"ftyp moov mdat moof mfra free skip wide pnot udta meta uuid sidx ssix styp prft emsg pdin"
    b" bloc".split()
)
COMPRESSED = b"dcomzlib"
"""What QuickTime's compressed header (`cmov`) holds before the size it claims to unpack to."""
SEARCHED_BYTES = 1 << 20
BIG = b"\x08"
"""The first byte of the size of a box of 128 MB: no fragment is as large, so bytes from this one on
begin no box but something that was appended, such as a text."""
TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
"""The boxes that lead to a track's tables of samples."""
MAX_NAMED = 1024
"""Boxes looked at on each level of a file's header."""
MAX_BOXES = 4_000_000
"""A three-hour stream with a fragment for each frame has 1.3 million; more is an attack."""


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def truncation(file: BinaryIO) -> str | None:
    """Return how a file is shorter than it says, or None where nothing tells of it.

    Knows mp4 and mov (top-level boxes), Matroska and WebM (the segment), and RIFF.
    """
    size_bytes = size_of(file)
    file.seek(0)
    head = file.read(64)
    if head[4:8] in MP4_BOXES:
        return _mp4(file, size_bytes)
    if len(head) < 64:
        return None
    end = size_bytes
    if int.from_bytes(head[:4], "big") == EBML:
        end = _matroska_end(file) or size_bytes
    elif head[:4] == b"RIFF":
        declared = int.from_bytes(head[4:8], "little")
        # 0 and all ones are what a program that could not seek back leaves.
        end = 8 + declared if declared not in (0, 0xFFFFFFFF) else size_bytes
    return f"{size_bytes} bytes, its header says {end}" if end > size_bytes else None


def compressed_header(file: BinaryIO) -> bool:
    """Return whether an mp4 or mov has a zlib-packed header: 2 MB of it can ask for 2 GB.

    What no demuxer takes for boxes (the samples, in `mdat`) is not searched.
    """
    size_bytes, at = size_of(file), 0
    for _ in range(MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        known = name in MP4_BOXES and 8 <= length <= size_bytes - at
        if not (known and name == b"mdat") and _holds(file, at, length if known else -1):
            return True
        if not known:
            return False
        at += length
        if at == size_bytes:
            return False
    return False


def _holds(file: BinaryIO, at: int, length: int) -> bool:
    """Return whether `length` bytes from `at` on (all, for -1) hold a compressed header."""
    file.seek(at)
    before = b""
    while length and (
        block := file.read(min(SEARCHED_BYTES, length) if length > 0 else SEARCHED_BYTES)
    ):
        if COMPRESSED in before + block:
            return True
        before = block[-len(COMPRESSED) + 1 :]
        length -= len(block) if length > 0 else 0
    return False


def _mp4(file: BinaryIO, size_bytes: int) -> str | None:
    """Walk the top-level boxes: each is a size (4 bytes, or 8 more), a name and a body.

    What follows the last sample is no part of the video: bytes that some program appended may look
    like half a box.
    """
    at, name, header_span, seen = 0, b"", None, set()
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        short = len(head) < 8
        if short and not any(head) and name != b"moof":
            return None
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if not short and length == 1:
            length = int.from_bytes(head[8:16], "big")
        if not short and (length == 0 or name not in MP4_BOXES):
            # A box up to the end of the file, one that is not known here, or something appended.
            whole = header_span is None or b"moof" in seen
            if whole or _all_before(file, header_span, size_bytes):
                return None
            return f"its header lists samples behind its {size_bytes} bytes"
        if short or length < 8 or at + length > size_bytes:
            if b"moof" in seen:  # in pieces; `mfra`, where there is one, lies behind the last
                appended = b"mfra" in seen or (short and head[:1] >= BIG)
            else:
                appended = _all_before(file, header_span, at)
            return None if appended else _cut_words(size_bytes, at, length, name)
        seen.add(name)
        header_span = (at, at + length) if name == b"moov" else header_span
        at += length
    return f"more than {MAX_BOXES} boxes"


def _cut_words(size_bytes: int, at: int, length: int, name: bytes) -> str:
    if len(name) < 4:
        return f"it ends after {size_bytes} bytes, where another box begins"
    if length < 8:
        return f"the box at byte {at} says it has {length} bytes, fewer than its header"
    return f"{size_bytes} bytes, its {name.decode()} box ends at {at + length}"


def _all_before(file: BinaryIO, header: tuple[int, int] | None, at: int) -> bool:
    """Return whether every chunk of samples that a header (`moov`) lists begins before `at`."""
    if header is None:
        return False
    last = -1
    for name, width in ((b"stco", 4), (b"co64", 8)):
        for start, stop in boxes_at(file, (*TABLES, name), *header):
            file.seek(start + 8)  # behind version, flags and count
            offsets = file.read(max(0, stop - start - 8))
            starts = np.frombuffer(offsets[: len(offsets) // width * width], f">u{width}")
            last = max(last, int(starts.max(initial=0)) if len(starts) else -1)
    return 0 <= last < at


def boxes_at(
    file: BinaryIO, names: Sequence[bytes], start: int, stop: int
) -> list[tuple[int, int]]:
    """Return where the bodies of all boxes begin and end that a path of names leads to."""
    spans = [(start, stop)]
    for name in names:
        spans = [inner for outer in spans for inner in boxes_named(file, name, *outer)]
    return spans


def boxes_named(file: BinaryIO, name: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield where the bodies of the boxes called `name` begin and end, of those in a span."""
    for _ in range(MAX_NAMED):
        file.seek(start)
        header = file.read(16)
        size, body = int.from_bytes(header[:4], "big"), start + 8
        if size == 1:
            size, body = int.from_bytes(header[8:16], "big"), start + 16
        end = start + size if size else stop
        if len(header) < 8 or not body <= end <= stop:
            return
        if header[4:8] == name:
            yield body, end
        start = end


def _matroska_end(file: BinaryIO) -> int | None:
    """Return where the segment ends; None where the file does not say (a live recording)."""
    file.seek(4)
    header_bytes = ebml_size(file)
    if header_bytes is None:
        return None
    file.seek(header_bytes, 1)
    if int.from_bytes(file.read(4), "big") != SEGMENT:
        return None
    segment_bytes = ebml_size(file)
    return None if segment_bytes is None else file.tell() + segment_bytes


def ebml_size(file: BinaryIO) -> int | None:
    """Read an element's variable-length size: leading zeros tell its bytes, all ones "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
