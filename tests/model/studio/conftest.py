"""Studios that end with their test, and one video that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from studios import film, studio

from model.studio.studio import Studio


@pytest.fixture(scope="session")
def dance(tmp_path_factory) -> Path:
    """Return a small video."""
    return film(tmp_path_factory.mktemp("dance"))


@pytest.fixture
def opened(tmp_path) -> Iterator[Callable[..., Studio]]:
    """Return a function that opens a studio in a folder of the test, with other limits."""
    made: list[Studio] = []

    def one(**changes) -> Studio:
        made.append(studio(tmp_path / "work", **changes))
        return made[-1]

    yield one
    for each in made:
        each.queue.close()
