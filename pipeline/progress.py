"""One line that shows how far a long work is: count, rate, time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items and draw a line on stderr; a plain line every ten seconds without a tty."""
    import sys

    from tqdm import tqdm

    plain = not sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        mininterval=10.0 if plain else 0.1,
        ncols=90 if plain else None,
        disable=total == 0,
    )
