"""A folder at an address that fsspec supports (`s3://bucket/aist`), to write a data set to.

A file appears under its final name only when it is complete. Object stores guarantee this
themselves. For other protocols, a file is sent as `<name>.part` and then renamed. This code uses
`put_file` instead of opened files, because fsspec completes an opened file even if writing to it
failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.engine.outcome import Outcome, attempt

T = TypeVar("T")

ATOMIC_PROTOCOLS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"}
"""Protocols whose stores show an object only when it is complete."""
PACKAGES = "s3fs for s3://, gcsfs for gs://, adlfs for abfs://"
CAUSES = {
    "FileNotFoundError": "no such bucket, container or folder; make it first",
    "PermissionError": "these credentials may not do that there",
    "NoCredentialsError": "no credentials; for s3:// set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
}
"""Error names of the stores' clients, with the most likely cause."""


def reach(address: str, call: Callable[[], T]) -> T:
    """Return the result of `call`. Raise OSError, with advice, if the store fails.

    The clients of the stores raise many different exceptions, so `attempt` catches all of them.
    """
    done = attempt("store", call)
    if not isinstance(done, Outcome):
        return done
    name, _, detail = done.message.partition(": ")
    cause = CAUSES.get(name, name)
    raise OSError(f"{address}: {cause} ({detail}); then run the same command again")


@dataclass(frozen=True)
class Store:
    """The folder at `address`; `base` is its path in the file system `fs`."""

    address: str
    fs: Any
    base: str

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file by its relative name; {} if there is no folder."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(self.base, detail=True)
        except FileNotFoundError:
            return {}
        start = len(self.base.rstrip("/")) + 1
        return {path[start:]: facts["size"] for path, facts in found.items()}

    def read(self, name: str) -> bytes:
        return reach(f"{self.address}/{name}", lambda: self.fs.cat_file(self._path(name)))

    def put(self, path: Path, name: str) -> None:
        """Send a file; raise OSError if not all its bytes arrived."""
        reach(f"{self.address}/{name}", lambda: self._put(path, name))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file; on an object store this takes one request."""
        reach(f"{self.address}/{name}", lambda: self.fs.pipe_file(self._path(name), data))

    def remove(self, name: str) -> None:
        reach(f"{self.address}/{name}", lambda: self.fs.rm_file(self._path(name)))

    def _put(self, path: Path, name: str) -> None:
        final, expected_bytes = self._path(name), path.stat().st_size
        protocols = self.fs.protocol
        if ATOMIC_PROTOCOLS & set([protocols] if isinstance(protocols, str) else protocols):
            self.fs.put_file(str(path), final)
        else:
            self.fs.makedirs(final.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(path), f"{final}.part")
            self.fs.mv(f"{final}.part", final)
        self.fs.invalidate_cache()
        arrived_bytes = self.fs.info(final)["size"]
        if arrived_bytes != expected_bytes:
            raise OSError(f"{arrived_bytes} of {expected_bytes} bytes arrived")

    def _path(self, name: str) -> str:
        return f"{self.base.rstrip('/')}/{name}"


def open_store(address: str) -> Store:
    """Return the folder at an address (or path). It does not contact the store yet.

    Raises ValueError if the address is of an unknown kind, cannot be written to, or needs a package
    that is not installed here.
    """
    if address.startswith(("http://", "https://")) or "::" in address:
        raise ValueError(f"{address}: cannot be written to; name a folder like s3://BUCKET/NAME")
    import fsspec

    try:
        fs, base = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ValueError(
            f"{address}: needs a package that is not installed here ({error}); install it in "
            f"the same environment: {PACKAGES}"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{address}: {error}; expected a folder, or an address like s3://BUCKET/NAME"
        ) from None
    return Store(address.rstrip("/"), fs, base)
