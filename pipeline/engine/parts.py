"""Append-only files of records, the parts of a ledger: each has one writer and many readers.

A part `<name>.results` holds records one after the other: a head with checksums, a note, a body.
Its `<name>.index` repeats heads and notes without the bodies, so that a reader learns of a million
records without reading their arrays. The part alone decides what is stored. The index only saves
time: where it ends (its writer was killed, or is still writing), a reader continues in the part.
An incomplete record at the end of either file is ignored.
"""

from __future__ import annotations

import os
import secrets
import struct
import sys
import time
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.places import Places

PART, INDEX = ".results", ".index"
PART_BYTES = 1 << 30
"""A part of this size gets no further record: its writer starts another one."""
RESULT, VOID = b"D2R1", b"D2V1"
"""First bytes of a record. A VOID says that the record which its note names is damaged."""
HEAD = struct.Struct("<4sI16sQIQId")
"""Kind, CRC-32 of the rest of head and note, key, offset in the part, bytes of the note, bytes and
CRC-32 of the body, and when the record was written (seconds since 1970)."""
READ_BYTES = 1 << 20
NOTE_BYTES = 1024
"""A lookup reads so many bytes at once: a head, and the usual note."""
MAX_OPEN = 64
TICK_S = 2.0
"""Two changes of a folder so shortly after each other may leave it the same time of change."""
IN_PART = 1 << 63
"""Set in a place if the record must be read from the part, because its index lacks it."""


@dataclass(frozen=True)
class Record:
    """Head and note of a record that starts at the byte `at` of its part."""

    kind: bytes
    key: bytes
    at: int
    note: bytes
    body_bytes: int
    body_crc: int
    written_s: float

    @property
    def head_bytes(self) -> int:
        return HEAD.size + len(self.note)

    @property
    def end(self) -> int:
        """The byte of the part after its last one."""
        return self.at + self.head_bytes + self.body_bytes

    def packed(self) -> bytes:
        """Return head and note."""
        facts = (self.key, self.at, len(self.note), self.body_bytes, self.body_crc, self.written_s)
        rest = HEAD.pack(self.kind, 0, *facts)[8:] + self.note
        return self.kind + zlib.crc32(rest).to_bytes(4, "little") + rest


def parsed(data: bytes, start: int = 0) -> Record | None:
    """Return the record whose head starts at `start`; None if it is incomplete or damaged."""
    if len(data) - start < HEAD.size:
        return None
    kind, crc, key, at, note_bytes, body_bytes, body_crc, written_s = HEAD.unpack_from(data, start)
    end = start + HEAD.size + note_bytes
    if kind not in (RESULT, VOID) or end > len(data) or zlib.crc32(data[start + 8 : end]) != crc:
        return None
    note = data[start + HEAD.size : end]
    return Record(kind, key, at, note, body_bytes, body_crc, written_s)


def read_record(file: int, at: int) -> Record | None:
    """Return the record whose head is at a byte of an open part or index; None if incomplete."""
    data = os.pread(file, HEAD.size + NOTE_BYTES, at)
    if len(data) < HEAD.size:
        return None
    missing = HEAD.size + HEAD.unpack_from(data)[4] - len(data)
    if missing > 0 and data[:4] in (RESULT, VOID):
        data += os.pread(file, missing, at + len(data))
    return parsed(data)


class Writer:
    """The only writer of one part; `size` is where the next record starts."""

    def __init__(self, folder: Path) -> None:
        """Make a part. Its name begins with the time, so that parts sort by age."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.name = f"{stamp}-{os.getpid()}-{secrets.token_hex(6)}"
        self.path, self.size, self._dirty = folder / f"{self.name}{PART}", 0, False
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._part = os.open(self.path, flags, 0o666)
        self._index = os.open(folder / f"{self.name}{INDEX}", flags, 0o666)
        _sync_folder(folder)

    @property
    def usable(self) -> bool:
        """Whether the part has room, and nobody changed the file or took it away."""
        try:
            here, there = os.fstat(self._part), os.stat(self.path)
        except OSError:
            return False
        return os.path.samestat(here, there) and here.st_size == self.size < PART_BYTES

    def append(self, kind: bytes, key: bytes, note: bytes, body: memoryview) -> Record:
        """Write a record at the end of the part, then its head and note at the end of the index."""
        record = Record(kind, key, self.size, note, len(body), zlib.crc32(body), time.time())
        head = record.packed()
        try:
            self._dirty = True
            _write(self._part, head)
            _write(self._part, body)
            _write(self._index, head)
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        self.size = record.end
        return record

    def sync(self) -> None:
        """Wait until all records are on the disk. The index can be made again from the part."""
        if not self._dirty:
            return
        try:
            os.fsync(self._part)
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        self._dirty = False

    def __del__(self) -> None:
        for file in (self._part, self._index):
            os.close(file)


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync_folder(folder: Path) -> None:
    """Make the names of new files durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@dataclass
class Known:
    """How far this process has read a part (`part_at`) and its index (`index_at`), in bytes."""

    name: str
    part_at: int = 0
    index_at: int = 0


class Parts:
    """The records of all parts in a folder, as far as this process has looked for them.

    In memory, a record is 16 bytes: half of its key, and its place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.alone = folder, 0  # blocks in which no other process writes
        self._files: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._forget()

    def __del__(self) -> None:
        while self._files:
            self._close(next(iter(self._files)))

    def _forget(self) -> None:
        self._known: list[Known] = []
        self._numbers: dict[str, int] = {}
        self._seen: set[str] = set()  # names of files
        self._places, self._void = Places(), set[tuple[str, int]]()
        self._folder_id: Any = None
        self.others = False  # whether the folder holds other things than parts
        while self._files:
            self._close(next(iter(self._files)))

    def find(self, key: bytes) -> Iterator[tuple[str, Record]]:
        """Yield the part and the head of each record with a key, the latest first.

        Whoever takes none of them gets those that other processes have written meanwhile, if there
        may be any.
        """
        self._check_folder()
        number, seen = int.from_bytes(key[:8], "big"), set()
        for again in (False,) if self.alone else (False, True):
            if again:
                self.refresh()
            for place in self._places.find(number):
                if place in seen:
                    continue
                seen.add(place)
                name, record = self._at(place)
                if record is None:
                    print(f"{self.folder / name}: damaged; computed again", file=sys.stderr)
                elif record.key == key and (name, record.at) not in self._void:
                    yield name, record

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Yield the part and the head of every record."""
        self._check_folder()
        self.refresh()
        for place in list(self._places):
            name, record = self._at(place)
            if record and (name, record.at) not in self._void:
                yield name, record

    def body(self, name: str, record: Record, read: bool = True) -> bytes:
        """Return the body of a record, b"" if `read` is False; ValueError if it is damaged."""
        file, at = self._opened(name)[1], record.at + record.head_bytes
        if os.fstat(file).st_size < record.end:
            raise ValueError("it is cut short")
        if not read:
            return b""
        data = b"".join(_pread(file, record.body_bytes, at))
        if len(data) != record.body_bytes or zlib.crc32(data) != record.body_crc:
            raise ValueError("its checksum is wrong")
        return data

    def written(self, writer: Writer, record: Record) -> None:
        """Add a record that this process has just written."""
        known = self._known[self._number(writer.name)]
        self._seen |= {f"{writer.name}{PART}", f"{writer.name}{INDEX}"}
        if known.part_at == record.at:
            self._add([(record, self._number(writer.name) << 40 | known.index_at)])
            known.part_at, known.index_at = record.end, known.index_at + record.head_bytes

    def refresh(self) -> None:
        """Read the records that were written since the last time."""
        try:
            listed = os.listdir(self.folder)
        except FileNotFoundError:
            return
        names = {name for name in listed if name.endswith((PART, INDEX))}
        if self._seen - names:
            self._forget()
        self._seen, self.others = names, len(names) < len(listed)
        for name in sorted(name for name in names if name.endswith(PART)):
            number = self._number(name.removesuffix(PART))
            if self._known[number].part_at < PART_BYTES:
                self._follow(number)

    def _follow(self, number: int) -> None:
        """Read what is new in a part: from its index, then from the part itself.

        Files are opened anew, because a network file system shows only then what is new.
        """
        known = self._known[number]
        path = self.folder / known.name
        with open(f"{path}{PART}", "rb", 0) as part:
            size = os.fstat(part.fileno()).st_size
            if size <= known.part_at:
                return
            try:
                with open(f"{path}{INDEX}", "rb", 0) as index:
                    self._follow_index(number, index.fileno())
            except FileNotFoundError:
                pass
            while known.part_at < size:
                record = read_record(part.fileno(), known.part_at)
                if record is None or record.at != known.part_at or record.end > size:
                    return
                self._add([(record, IN_PART | number << 40 | record.at)])
                known.part_at = record.end

    def _follow_index(self, number: int, file: int) -> None:
        known, rest = self._known[number], b""
        while data := os.pread(file, READ_BYTES, known.index_at + len(rest)):
            data, at, found, part_at = rest + data, 0, [], known.part_at
            while (record := parsed(data, at)) and record.at <= part_at:
                if record.at == part_at:  # else it was read from the part already
                    found.append((record, number << 40 | known.index_at + at))
                    part_at = record.end
                at += record.head_bytes
            self._add(found)
            known.index_at, known.part_at, rest = known.index_at + at, part_at, data[at:]
            if not at and len(rest) > READ_BYTES:
                return  # damaged

    def _add(self, found: list[tuple[Record, int]]) -> None:
        keys, places = array("Q"), array("Q")
        for record, place in found:
            if record.kind == VOID:
                name, _, at = record.note.decode().rpartition(" ")
                self._void.add((name, int(at)))
            else:
                keys.append(int.from_bytes(record.key[:8], "big"))
                places.append(place)
        self._places.add(keys, places)

    def _at(self, place: int) -> tuple[str, Record | None]:
        name = self._known[place >> 40 & 0x7FFFFF].name
        files = self._opened(name)
        return name, read_record(files[1 if place & IN_PART else 0], place & (1 << 40) - 1)

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._known)
            self._known.append(Known(name))
        return self._numbers[name]

    def _check_folder(self) -> None:
        """Forget everything if the folder is another one than before, or is gone."""
        if self.alone:
            return
        try:
            status = os.stat(self.folder)
        except FileNotFoundError:
            self._forget()
            return
        now = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if now != self._folder_id or time.time() - status.st_mtime < TICK_S:
            self.refresh()
            self._folder_id = now

    def _opened(self, name: str) -> tuple[int, int]:
        """Return the open index and part; of those used longest ago, some are closed."""
        if name in self._files:
            self._files.move_to_end(name)
        else:
            while len(self._files) >= MAX_OPEN:
                self._close(next(iter(self._files)))
            path = self.folder / name
            part = os.open(f"{path}{PART}", os.O_RDONLY | os.O_CLOEXEC)
            self._files[name] = (part, part)
            try:
                index = os.open(f"{path}{INDEX}", os.O_RDONLY | os.O_CLOEXEC)
                self._files[name] = (index, part)
            except FileNotFoundError:
                pass
        return self._files[name]

    def _close(self, name: str) -> None:
        for file in set(self._files.pop(name)):
            os.close(file)


def _pread(file: int, size: int, at: int) -> Iterator[bytes]:
    """Yield `size` bytes of a file, or those that it has: one call reads at most 2 GB."""
    while size > 0 and (data := os.pread(file, min(size, 1 << 30), at)):
        yield data
        size, at = size - len(data), at + len(data)
