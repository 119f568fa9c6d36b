"""One line on the terminal that shows progress: count, rate and remaining time."""

from __future__ import annotations

import sys
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
