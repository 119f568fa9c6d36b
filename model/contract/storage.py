"""Where a data set lies: in a folder, or behind an address that fsspec knows (`s3://bucket/aist`).

Files are opened to be read once, from beginning to end, so nothing here asks that they can seek.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

UNREADABLE = (OSError, HTTPException)
"""What reading from a disk or a connection raises."""
TIMEOUT_S = 60
"""After so long without an answer a web server counts as gone."""


@dataclass(frozen=True)
class Url:
    """A folder or file behind an address; `/`, `name` and `parent` as with a Path."""

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
    """Return an address (anything with `://`) as Url, the rest as Path."""
    if isinstance(text, str) and "://" in text:
        return Url(text)
    return text if isinstance(text, Url) else Path(text)


def open_binary(where: Location) -> BinaryIO:
    """Open a file to read its bytes from beginning to end.

    Raises FileNotFoundError where there is none, another OSError where it cannot be reached, and
    ValueError for an address of an unknown kind or one that needs a package not installed here.
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
    """Ask for the whole file at once: fsspec would want a package for it, and parts of the file."""
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
