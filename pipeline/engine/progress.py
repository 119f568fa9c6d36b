"""One line on the terminal that shows progress: count, rate and remaining time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items and show the progress on stderr.

    If stderr is not a terminal, a plain line appears at most every ten seconds.
    """
    with _line(what, total, unit) as line:
        for item in items:
            yield item
            line.update()


def byte_progress(
    chunks: Iterable[bytes], what: str, total_bytes: int | None, start_bytes: int
) -> Iterator[bytes]:
    """Yield the chunks of a download and show the progress on stderr.

    `start_bytes` is how many bytes an earlier run had already downloaded.
    """
    with _line(what, total_bytes, "B", start_bytes, scale=True) as line:
        for chunk in chunks:
            yield chunk
            line.update(len(chunk))


def _line(what: str, total: int | None, unit: str, start: int = 0, scale: bool = False) -> Any:
    from tqdm import tqdm

    plain = not sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        initial=start,
        unit_scale=scale,
        mininterval=10.0 if plain else 0.1,
        ncols=90 if plain else None,
        disable=total == 0,
    )


class Stopped(BaseException):
    """Raised in a thread that passes bytes through a ByteMeter that was stopped."""


class ByteMeter:
    """One line for several downloads at once, in several threads.

    It is called as `byte_progress` is, for each attempt to download a file. A file that starts
    again from its first byte is counted once.
    """

    def __init__(self, what: str, total_bytes: int | None, files: int) -> None:
        self._line = _line(what, total_bytes, "B", scale=True)
        self._files, self._ended = files, 0
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __call__(
        self, chunks: Iterable[bytes], what: str, total_bytes: int | None, start_bytes: int
    ) -> Iterator[bytes]:
        self._set(what, start_bytes)
        for chunk in chunks:
            if self._stopped.is_set():
                raise Stopped
            yield chunk
            self._set(what, self._held[what] + len(chunk))

    def ended(self) -> None:
        """Count one more file as done."""
        with self._lock:
            self._ended += 1
            self._line.set_postfix_str(f"{self._ended} of {self._files} files", refresh=False)

    def close(self) -> None:
        """End the line, and stop all downloads that still use it."""
        self._stopped.set()
        self._line.close()

    def _set(self, what: str, held: int) -> None:
        with self._lock:
            self._line.update(held - self._held.get(what, 0))
            self._held[what] = held
