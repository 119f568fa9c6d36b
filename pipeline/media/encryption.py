"""Detect encrypted videos. The errors of a decoder never say that a video is encrypted.

Common Encryption (ISO/IEC 23001-7) and FairPlay use sample entries with names such as `encv` and
`drmi` in an mp4. Matroska and WebM have a ContentEncryption element in the track (RFC 9559).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from pipeline.media.mp4_boxes import (
    EBML,
    MP4_BOXES,
    SEGMENT,
    TABLES,
    boxes_at,
    boxes_named,
    ebml_size,
    size_of,
)

ENTRIES = (b"encv", b"enca", b"drmi", b"drms")
"""Names of the mp4 sample entries of encrypted video and audio."""
TRACKS, TRACK, ENCODINGS, ENCODING, ENCRYPTION = 0x1654AE6B, 0xAE, 0x6D80, 0x6240, 0x5035
"""Matroska element ids (RFC 9559)."""
MAX_ELEMENTS = 1024
"""At most this many elements are read on each level of a Matroska file."""


def is_encrypted(file: BinaryIO) -> bool:
    """Return whether a track of an mp4, mov, mkv or webm is encrypted; False for other formats."""
    size_bytes = size_of(file)
    file.seek(0)
    head = file.read(8)
    if head[4:] in MP4_BOXES:
        return any(
            True
            for start, stop in boxes_at(file, (*TABLES, b"stsd"), 0, size_bytes)
            for name in ENTRIES  # after 8 bytes: version, flags and count
            for _ in boxes_named(file, name, start + 8, stop)
        )
    if int.from_bytes(head[:4], "big") == EBML:
        file.seek(4)
        header_bytes = ebml_size(file)
        if header_bytes is not None:
            spans = [(file.tell() + header_bytes, size_bytes)]
            for name in (SEGMENT, TRACKS, TRACK, ENCODINGS, ENCODING, ENCRYPTION):
                spans = [inner for span in spans for inner in _elements(file, name, *span)]
            return bool(spans)
    return False


def _elements(file: BinaryIO, name: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) in bytes of the content of each Matroska element with the id `name`."""
    for _ in range(MAX_ELEMENTS):
        file.seek(start)
        first = file.read(1)
        if start >= stop or not first or not first[0]:
            return
        found = int.from_bytes(first + file.read(8 - first[0].bit_length()), "big")
        size_bytes = ebml_size(file)
        begin = file.tell()
        end = stop if size_bytes is None else begin + size_bytes
        if end > stop:
            return
        if found == name:
            yield begin, end
        start = end
