"""Check complete downloads, and put them, or what an archive contains, in place."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.contract.files import write_atomic
from model.contract.segment import is_hidden
from pipeline.fetch.base import Wanted, WrongBytes
from pipeline.weights.download import discard, place

PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.I)
MAX_MEMBER_BYTES = 256 << 20
MAX_UNPACKED_BYTES = 16 << 30
"""Limits of an archive: a small file can claim, and unpack to, any size."""


def check_no_page(part: Path) -> None:
    """Raise WrongBytes if a download is empty, or a web page in place of a file."""
    with open(part, "rb") as file:
        head = file.read(512)
    if not head:
        raise WrongBytes("the server sent an empty file; run again later")
    if PAGE.match(head):
        raise WrongBytes(
            "the server sent a web page: open the address in a browser to see what it wants (a "
            "login, another address), and name another address if the file has moved"
        )


@dataclass(frozen=True)
class OneFile(Wanted):
    """A file that is kept as it was sent, at `path`. `check` raises WrongBytes."""

    path: Path
    check: Callable[[Path], None]

    def put(self, part: Path) -> list[Path]:
        self.check(part)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        place(part, self.path)
        return [self.path]

    def put_by_hand(self) -> list[Path]:
        try:
            self.check(self.path)
        except (WrongBytes, OSError):
            return []
        return [self.path]


@dataclass(frozen=True)
class Archive(Wanted):
    """A zip archive, of which the files with one of `suffixes` are put into `folder`."""

    folder: Path
    suffixes: Sequence[str]

    def put(self, part: Path) -> list[Path]:
        return unpack(part, self.folder, self.suffixes)


def check_video(path: Path) -> None:
    """Raise WrongBytes if a file is no complete video.

    Its structure and its packets are read, and its first frame is decoded.
    """
    from pipeline.media.container import MediaError
    from pipeline.media.reader import probe

    check_no_page(path)
    try:
        probe(path)
    except MediaError as error:
        reason = str(error).replace(f"{path}: ", "")
        raise WrongBytes(f"{reason}; run again, the server may send the complete file") from None


def unpack(part: Path, folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Write the files of a zip archive with one of `suffixes` into `folder`; delete the archive.

    Only their names are used, not their folders in the archive, so none is written elsewhere.
    Hidden files, such as those that a Mac adds, are left out. Each file is complete under its name,
    and its checksum was compared.

    Raises WrongBytes if the archive is damaged or has no such files.
    """
    check_no_page(part)
    for left in folder.glob("*.part"):  # of a run that was killed
        left.unlink()
    found: list[Path] = []
    with ExitStack() as opened:
        with _damage():
            archive = opened.enter_context(zipfile.ZipFile(part))
            members = _members(archive, suffixes)
        for info in members:
            path = folder / PurePosixPath(info.filename).name
            with _damage():
                data = archive.read(info)
            write_atomic(path, data)
            found.append(path)
    discard(part)
    return found


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what zipfile raises for a damaged archive, which may be anything, into WrongBytes."""
    try:
        yield
    except (WrongBytes, MemoryError):
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise WrongBytes(
            f"the archive is damaged ({reason:.200}); run again to fetch it from its first byte"
        ) from None


def _members(archive: zipfile.ZipFile, suffixes: Sequence[str]) -> list[zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        aside = any(is_hidden(Path(part)) for part in path.parts)
        if info.is_dir() or aside or path.suffix not in suffixes:
            continue
        if path.name in found:
            raise WrongBytes(f"the archive has two files named {path.name!r:.80}")
        if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,100}", path.name):
            raise WrongBytes(f"the archive has a file with the strange name {path.name!r:.80}")
        found[path.name] = info
    sizes = [info.file_size for info in found.values()]
    if max(sizes, default=0) > MAX_MEMBER_BYTES or sum(sizes) > MAX_UNPACKED_BYTES:
        raise WrongBytes(f"the archive claims to unpack to {sum(sizes):,} bytes, which is too much")
    if not found:
        raise WrongBytes(f"the archive has no file with the suffix {' or '.join(suffixes)}")
    return list(found.values())
