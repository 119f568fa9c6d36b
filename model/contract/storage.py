"""Where a data set is stored: in a folder, or at a URL that fsspec supports (`s3://bucket/aist`).

Files are read once, from beginning to end, so they do not need to support seeking.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

UNREADABLE = (OSError, HTTPException)
"""Exceptions of reading from a disk or a connection."""
TIMEOUT_S = 60
"""Seconds without an answer after which a request to a web server fails."""


@dataclass(frozen=True)
class Url:
    """A folder or file at a URL; `/`, `name` and `parent` work as in Path."""

    address: str

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.address.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Url:
        return Url(self.address.rstrip("/").rpartition("/")[0])


Location = Path | Url


def to_location(text: str | os.PathLike[str] | Url) -> Location:
    """Return a URL (any text with `://`) as Url, anything else as Path."""
    if isinstance(text, str) and "://" in text:
        return Url(text)
    return text if isinstance(text, Url) else Path(text)


def open_binary(where: Location) -> BinaryIO:
    """Open a file to read its bytes from beginning to end.

    Raises FileNotFoundError if the file is missing, another OSError if it cannot be reached, and
    ValueError if the URL's protocol is unknown or needs a package that is not installed.
    """
    if isinstance(where, Path):
        return open(where, "rb")
    if where.address.startswith(("http://", "https://")):
        return _get(where)
    import fsspec

    try:
        return fsspec.open(where.address, "rb").open()
    except ImportError as error:
        raise ValueError(
            f"{where}: needs a package that is not installed here ({error}); install it beside "
            "this one: s3fs for s3://, gcsfs for gs://, adlfs for abfs://"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{where}: {error}; expected a folder, or an address like s3://BUCKET/NAME"
        ) from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: not found") from None


def _get(where: Url) -> BinaryIO:
    """Open a file of a web server with one request for the complete file.

    fsspec would need another package for this, and would request the file in parts.
    """
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        return urlopen(where.address, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(f"{where}: not found (HTTP {error.code})") from None
        raise OSError(f"{where}: HTTP {error.code} {error.reason}") from None
    except OSError as error:
        raise OSError(f"{where}: {getattr(error, 'reason', error)}") from None
