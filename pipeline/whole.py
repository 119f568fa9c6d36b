"""What a file's boxes tell before a demuxer sees them: whether it was cut short, or is a bomb.

A file that was cut short is told from a shorter one by the sizes its own containers declare.
Demuxers take a cut at the edge of a packet for the end of the file, and say nothing. A fragmented
mp4 cut exactly between two fragments cannot be told from a whole one.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
MP4_BOXES = frozenset(
    b"ftyp moov mdat moof mfra free skip wide pnot udta meta uuid sidx ssix styp prft emsg pdin"
    b" bloc".split()
)
COMPRESSED = b"dcomzlib"
"""What QuickTime's compressed header (`cmov`) holds before the size it claims to unpack to."""
SEARCHED_BYTES = 1 << 20
MAX_BOXES = 4_000_000
"""A three-hour stream with a fragment for each frame has 1.3 million; more is an attack."""


def missing(path: Path) -> str | None:
    """Return how a file is shorter than it says, or None where nothing tells of it.

    Knows mp4 and mov (top-level boxes), Matroska and WebM (the segment), and RIFF.
    """
    size_bytes = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        if head[4:8] in MP4_BOXES:
            return _mp4(file, size_bytes)
    if len(head) < 64:
        return None
    end = size_bytes
    if int.from_bytes(head[:4], "big") == EBML:
        end = _matroska_end(path) or size_bytes
    elif head[:4] == b"RIFF":
        declared = int.from_bytes(head[4:8], "little")
        # 0 and all ones are what a program that could not seek back leaves.
        end = 8 + declared if declared not in (0, 0xFFFFFFFF) else size_bytes
    return f"{size_bytes} bytes, its header says {end}" if end > size_bytes else None


def compressed_header(path: Path) -> bool:
    """Return whether an mp4 or mov has a zlib-packed header: 2 MB of it can ask for 2 GB.

    What no demuxer takes for boxes (the samples, in `mdat`) is not searched.
    """
    size_bytes = path.stat().st_size
    with open(path, "rb") as file:
        at = 0
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
    """Walk the top-level boxes: each is a size (4 bytes, or 8 more), a name and a body."""
    at, name = 0, b""
    for _ in range(MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            # A box that holds only its name's beginning, or an index of samples that never came.
            cut = any(header) or name == b"moof"
            return f"it ends after {size_bytes} bytes, where another box begins" if cut else None
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0 or name not in MP4_BOXES:
            return None  # a box up to the end of the file, or something appended to the video
        if length < 8:
            return f"the box at byte {at} says it has {length} bytes, fewer than its header"
        at += length
        if at > size_bytes:
            return f"{size_bytes} bytes, its {name.decode()} box ends at {at}"
    return f"more than {MAX_BOXES} boxes"


def _matroska_end(path: Path) -> int | None:
    """Return where the segment ends; None where the file does not say (a live recording)."""
    with open(path, "rb") as file:
        file.seek(4)
        header_bytes = _size(file)
        if header_bytes is None:
            return None
        file.seek(header_bytes, 1)
        if int.from_bytes(file.read(4), "big") != SEGMENT:
            return None
        segment_bytes = _size(file)
        return None if segment_bytes is None else file.tell() + segment_bytes


def _size(file: BinaryIO) -> int | None:
    """Read a variable-length size: leading zeros tell its bytes, all ones mean "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
