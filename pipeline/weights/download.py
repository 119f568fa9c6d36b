"""Download one file over HTTP, so that a dropped connection loses only what was in transit.

The received bytes are in `<file>.part`. `<file>.part.json` records the URL and the version of the
file, which the server names by a validator (a strong ETag, otherwise Last-Modified). The next
request asks for the remaining bytes with Range and If-Range (RFC 9110, sections 13.1.5 and 14.2).
The answer is accepted only if it starts at the end of the part and has the same version and length.
In all other cases the download starts again from the first byte.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from model.contract.lock import HeldError, held
from pipeline.engine.progress import byte_progress

CHUNK_BYTES = 1 << 20
MAX_BYTES = 4 << 30
"""Limit on the size of any file.

It prevents a server that never stops sending from filling the disk.
"""
TIMEOUT_S = 30.0
TRANSIENT = {408, 429, 500, 502, 503, 504}
"""HTTP statuses after which another try makes sense."""


class DownloadError(OSError):
    """The file could not be downloaded from its URL; the received bytes are kept."""


class StatusError(DownloadError):
    """The server answered with an HTTP status that another try would not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _DroppedError(Exception):
    """The request failed before the file was complete; another try can continue."""


class _UnreachableError(_DroppedError):
    """There was no connection to the server."""


@dataclass(frozen=True)
class _Version:
    """The version of the file whose first bytes are in the part."""

    url: str
    validator: str
    total_bytes: int | None


class _SameSecurity(urllib.request.HTTPRedirectHandler):
    """Follow HTTP redirects, but never from https to a less secure protocol."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new != old and new != "https":
            raise DownloadError(f"{req.full_url} redirects from {old} to {newurl}: not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.method = req.get_method()  # urllib turns HEAD into GET
        return request


Show = Callable[[Iterable[bytes], str, int | None, int], Iterable[bytes]]
"""Passes the chunks of one file on and shows them: chunks, name, size if known, bytes before."""


def download(
    url: str,
    path: Path,
    size_bytes: int | None = None,
    tries: int = 5,
    pause_s: float = 1.0,
    show: Show = byte_progress,
) -> Path:
    """Download `url`, and return `<path>.part` when it is complete.

    The caller checks the file and renames it to its final name.

    Args:
        url: http or https.
        path: the final path; its folder is created.
        size_bytes: the exact size, if known. A file of another size is refused before its content
            is downloaded.
        tries: give up after this many consecutive tries that bring no further byte.
        pause_s: pause before the second try; it doubles up to 30 s.
        show: shows the progress.

    Raises:
        DownloadError: no connection, no answer, a wrong size, or too many dropped connections. The
            received bytes are kept. The next call continues with them, if the server allows it.
        StatusError: an HTTP error, as a kind of DownloadError.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: expected an http or https address")
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as holding:
        try:
            holding.enter_context(held(part))
        except HeldError as error:
            who = f" ({error})" if str(error) else ""
            raise DownloadError(
                f"{part}: another download of this file is under way{who}"
            ) from None
        file = holding.enter_context(open(part, "ab"))
        farthest, fruitless, answered = file.tell(), 0, False
        while True:
            try:
                _attempt(url, file, part, size_bytes, show)
                break
            except _DroppedError as drop:
                answered |= not isinstance(drop, _UnreachableError)
                fruitless = 0 if file.tell() > farthest else fruitless + 1
                farthest = max(farthest, file.tell())
                if fruitless >= tries or not answered:
                    kept = f"{file.tell():,} bytes are kept in {part} to continue from"
                    raise DownloadError(f"{url}: {drop}; {kept}") from None
                time.sleep(min(30.0, pause_s * 2 ** max(0, fruitless - 1)))
        os.fsync(file.fileno())
    return part


def place(part: Path, path: Path) -> None:
    """Rename a complete part to its final name, and delete the record of the download."""
    os.replace(part, path)
    _facts(part).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # not supported there
            raise
    finally:
        os.close(folder)


def discard(part: Path) -> None:
    """Delete a download and its record, so that the next one starts at the first byte."""
    part.unlink(missing_ok=True)
    _facts(part).unlink(missing_ok=True)


def size_of(url: str) -> int | None:
    """Return the size in bytes that the server states, None if it states none."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"}, method="HEAD")
    try:
        with urllib.request.build_opener(_SameSecurity).open(request, timeout=TIMEOUT_S) as answer:
            length = answer.headers.get("Content-Length", "")
    except (OSError, http.client.HTTPException):
        return None
    return int(length) if length.isdigit() else None


def _attempt(url: str, file: IO[bytes], part: Path, size_bytes: int | None, show: Show) -> None:
    """Complete `file` with one request, or raise _DroppedError; the received bytes stay in it."""
    start, held = file.seek(0, os.SEEK_END), _held(part, url)
    if start and held and start == held.total_bytes:
        return
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if start and held:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", held.validator)
    opener = urllib.request.build_opener(_SameSecurity)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            span = _span(answer, start, held)
            if span is None:
                _facts(part).unlink(missing_ok=True)
                raise _DroppedError(f"the server's answer does not continue at byte {start:,}")
            start, total_bytes = span
            if size_bytes and total_bytes not in (None, size_bytes):
                raise DownloadError(
                    f"{url}: has {total_bytes:,} bytes there, expected {size_bytes:,}; not fetched"
                )
            file.truncate(start)
            file.seek(start)
            version = _Version(url, _validator(answer.headers), total_bytes)
            _facts(part).write_text(json.dumps(asdict(version)), encoding="utf-8")
            for chunk in show(_chunks(answer), part.stem, total_bytes, start):
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise DownloadError(
                        f"{url}: the server sent more than {MAX_BYTES:,} bytes; stopped"
                    )
            if total_bytes is not None and file.tell() < total_bytes:
                raise _DroppedError(
                    f"the connection ended after {file.tell():,} of {total_bytes:,} bytes"
                )
    except urllib.error.HTTPError as error:
        if error.code == 416:
            _facts(part).unlink(missing_ok=True)
        elif error.code not in TRANSIENT:
            message = f"{url}: HTTP status {error.code} ({error.reason})"
            raise StatusError(message, error.code) from None
        raise _DroppedError(f"HTTP status {error.code} ({error.reason})") from None
    except urllib.error.URLError as error:
        raise _UnreachableError(f"no connection ({error.reason})") from None
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _DroppedError(f"the connection broke ({error!r})") from None
    finally:
        file.flush()


def _span(
    answer: http.client.HTTPResponse, start: int, held: _Version | None
) -> tuple[int, int | None] | None:
    """Return the offset of the answer's first byte, and the file's size (None if unknown).

    Return None for a partial answer that does not continue at the end of the part, or that belongs
    to another version.
    """
    if answer.status != 206:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
    if match is None or held is None:
        return None
    first, last, total_bytes = map(int, match.groups())
    same = held.validator == _validator(answer.headers) and held.total_bytes in (None, total_bytes)
    return (start, total_bytes) if same and (first, last) == (start, total_bytes - 1) else None


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read1(CHUNK_BYTES):
        yield chunk


def _validator(headers: http.client.HTTPMessage) -> str:
    """Return the validator that If-Range can use; a weak ETag is not allowed there."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _facts(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _held(part: Path, url: str) -> _Version | None:
    """Return the version that the part belongs to, or None if the download cannot be continued."""
    if not _facts(part).is_file():
        return None
    try:
        version = _Version(**json.loads(_facts(part).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None
    return version if version.url == url and version.validator else None
