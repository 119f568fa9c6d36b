"""Check the structure of a media file before a demuxer opens it: truncation, compressed header.

Containers consist of nested parts (in mp4: boxes) that declare their own sizes. A truncated file is
recognised by these sizes. Demuxers do not report a cut between two packets: for them it is the end
of the file. A fragmented mp4 that is cut exactly between two fragments looks like a complete one
and is not recognised. Bytes after the last sample (a tag, notes of a camera maker) are not part of
the video and are harmless.
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
"""The bytes in QuickTime's compressed header (`cmov`) before the unpacked size that it declares."""
SEARCHED_BYTES = 1 << 20
"""Size of the blocks in which a file is searched."""
BIG = b"\x08"
"""The first byte of the size field of a box of 128 MB or more. No fragment is that large, so bytes
that start with this value or a higher one are not a box but appended data, such as text."""
TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
"""The path of boxes to the sample tables of a track."""
MAX_NAMED = 1024
"""At most this many boxes are read on each level of a file's header."""
MAX_BOXES = 4_000_000
"""A three-hour stream with one fragment per frame has 1.3 million boxes; more is an attack."""


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def truncation(file: BinaryIO) -> str | None:
    """Return a message that says how a file is truncated, or None if no truncation was found.

    Supports mp4 and mov (top-level boxes), Matroska and WebM (the segment), and RIFF.
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
        # A program that cannot seek back leaves 0 or all ones here.
        end = 8 + declared if declared not in (0, 0xFFFFFFFF) else size_bytes
    return (
        f"the file has {size_bytes} bytes, expected {end} (from its header)"
        if end > size_bytes
        else None
    )


def compressed_header(file: BinaryIO) -> bool:
    """Return whether an mp4 or mov has a zlib-compressed header: 2 MB of it can expand to 2 GB.

    The samples (in `mdat`) are not searched, because no demuxer reads boxes there.
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
    """Return whether `length` bytes from `at` on hold a compressed header (-1: up to the end)."""
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
    """Return how an mp4 or mov is truncated, or None.

    This walks the top-level boxes. Each is a size (4 bytes, or 8 further ones), a name and a body.
    Bytes after the last sample are not part of the video: bytes that some program appended may look
    like an incomplete box.
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
            # A box up to the end of the file, an unknown box, or appended data.
            unlisted = header_span is None or b"moof" in seen
            if unlisted or _all_before(file, header_span, size_bytes):
                return None
            return f"the file has {size_bytes} bytes, but its header lists samples after them"
        if short or length < 8 or at + length > size_bytes:
            if b"moof" in seen:  # fragmented; an optional `mfra` box follows the last fragment
                appended = b"mfra" in seen or (short and head[:1] >= BIG)
            else:
                appended = _all_before(file, header_span, at)
            return None if appended else _cut_message(size_bytes, at, length, name)
        seen.add(name)
        header_span = (at, at + length) if name == b"moov" else header_span
        at += length
    return f"more than {MAX_BOXES} boxes"


def _cut_message(size_bytes: int, at: int, length: int, name: bytes) -> str:
    if len(name) < 4:
        return f"the file has {size_bytes} bytes and ends inside the header of a box"
    if length < 8:
        return f"the box at byte {at} declares {length} bytes, fewer than its own header has"
    return f"the file has {size_bytes} bytes, expected {at + length} (box {name.decode()})"


def _all_before(file: BinaryIO, header: tuple[int, int] | None, at: int) -> bool:
    """Return whether every chunk of samples in the header (`moov`) starts before byte `at`."""
    if header is None:
        return False
    last = -1
    for name, width in ((b"stco", 4), (b"co64", 8)):
        for start, stop in boxes_at(file, (*TABLES, name), *header):
            file.seek(start + 8)  # after version, flags and count
            offsets = file.read(max(0, stop - start - 8))
            starts = np.frombuffer(offsets[: len(offsets) // width * width], f">u{width}")
            last = max(last, int(starts.max(initial=0)) if len(starts) else -1)
    return 0 <= last < at


def boxes_at(
    file: BinaryIO, names: Sequence[bytes], start: int, stop: int
) -> list[tuple[int, int]]:
    """Return (start, stop) of the body of every box that the path `names` leads to, in bytes."""
    spans = [(start, stop)]
    for name in names:
        spans = [inner for outer in spans for inner in boxes_named(file, name, *outer)]
    return spans


def boxes_named(file: BinaryIO, name: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the body of each box called `name` in the span, in bytes."""
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
    """Return the byte at which the segment ends; None if it is not declared (a live recording)."""
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
    """Read the variable-length size of an element; None if it is invalid or unknown (all ones).

    The number of leading zero bits gives the number of bytes.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
