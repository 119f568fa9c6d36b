"""WebDataset tars, written atomically and deterministically: equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast

import numpy as np

from model.contract.dataset import Shard
from model.contract.files import atomic_file, sha256_of
from model.contract.segment import SPLITS

MADE_AGAIN = "delete it, and run again the command that made it"


class TarWriter:
    """Writes one tar of segments with fixed owner, mode and time: equal content, equal bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._hash = _HashingFile(file)
        stream = cast(BinaryIO, self._hash)  # tarfile only writes to a stream
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT)
        self.segments = 0

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Add one segment: its members under `<key>.<suffix>`, in the order given."""
        for suffix, data in members.items():
            self.add_member(f"{key}.{suffix}", data)
        self.segments += 1

    def add_member(self, name: str, data: bytes) -> None:
        """Add one member under its full name."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        self._tar.addfile(info, io.BytesIO(data))

    def finish(self, name: str) -> Shard:
        """Close the tar and return its entry for dataset.json."""
        self._tar.close()
        return Shard(name, self.segments, self._hash.bytes, self._hash.hexdigest())


def write_shard(path: Path, segments: Iterable[tuple[str, Mapping[str, bytes]]]) -> Shard:
    """Write (key, members) pairs as one tar, atomically."""
    with atomic_file(path) as file:
        writer = TarWriter(file)
        for key, members in segments:
            writer.add(key, members)
        return writer.finish(path.name)


def read_shard(path: Path) -> Generator[tuple[str, dict[str, bytes]], None, None]:
    """Yield (key, members) of a tar in order.

    Raises ValueError, with file and member, if a member is not a regular file named
    `<key>.<suffix>`, if a key or member appears twice, or if a member is larger than the tar (a
    sparse file, which would unpack to zeros).
    """
    size_bytes = path.stat().st_size
    seen: set[str] = set()
    key = ""
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, mode="r|") as tar:
            for info in tar:
                name, _, suffix = info.name.partition(".")
                if not info.isfile() or "/" in info.name or not suffix:
                    raise ValueError(f"{path.name}: member {info.name!r} is not <key>.<suffix>")
                if not 0 <= info.size <= size_bytes:
                    raise ValueError(
                        f"{path.name}: member {info.name!r} claims {info.size} bytes, the tar has "
                        f"{size_bytes}"
                    )
                if name != key:
                    if members:
                        yield key, members
                    if name in seen:
                        raise ValueError(f"{path.name}: key {name} appears twice")
                    seen.add(name)
                    key, members = name, {}
                if suffix in members:
                    raise ValueError(f"{path.name}: member {info.name!r} appears twice")
                content = tar.extractfile(info)
                assert content is not None, "a plain file has content"
                members[suffix] = content.read()
    except tarfile.TarError as error:
        raise ValueError(f"{path}: truncated or invalid tar after key {key!r}: {error}") from None
    if members:
        yield key, members


def check_whole(path: Path, shard: Shard, name: str = "", again: str = MADE_AGAIN) -> None:
    """Raise ValueError if a tar is missing, or differs from its entry in dataset.json.

    In the message, `name` is the name of the file (default: its path) and `again` is the advice.
    """
    name = name or str(path)
    if not path.is_file():
        raise ValueError(f"{name}: missing, but listed in dataset.json; {again}")
    size_bytes = path.stat().st_size
    if size_bytes != shard.bytes or sha256_of(path) != shard.sha256:
        raise ValueError(
            f"{name}: {size_bytes} bytes do not match dataset.json ({shard.bytes} bytes, sha256 "
            f"{shard.sha256[:12]}…): damaged, or another file of that name; {again}"
        )


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array, of any shape and any dtype except object, as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_npy(data: bytes) -> np.ndarray:
    """Return the array in the bytes of a .npy file; ValueError if they are invalid."""
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (EOFError, OSError, MemoryError, SyntaxError, TypeError, TokenError) as error:
        raise ValueError(f"not a valid array ({error!r:.300})") from None


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON in ASCII, keys sorted: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode()


def shard_name(split: str, number: int) -> str:
    """Return the file name of a split's tar with a number, counted from 0."""
    return f"{split}-{number:06d}.tar"


def is_shard_name(name: str) -> bool:
    """Return whether a file name is that of a shard; other tars in the folder are the user's."""
    return bool(re.fullmatch(rf"({'|'.join(SPLITS)})-\d{{6,}}\.tar", name))


class _HashingFile:
    """Counts and hashes what is written through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._sha.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()
