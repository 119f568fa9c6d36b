"""A package with entry points, as an installer would leave it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.contract import registry


def write_package(folder: Path, name: str, points: str) -> None:
    """Write what an installer writes about a package with the entry points `points`."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    registry._entry_points.cache_clear()


@contextmanager
def forgotten(modules: Iterable[str]) -> Iterator[None]:
    """Forget these modules and all entry points at the end."""
    yield
    registry._entry_points.cache_clear()
    for name in modules:
        sys.modules.pop(name, None)
