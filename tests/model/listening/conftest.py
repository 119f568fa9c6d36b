"""Sets of a listening test, and a server of one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening_sets import Clock, make_set

from model.listening.plan import (
    Key,
)
from model.listening.serve import create_app


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Key]:
    """Return a set of sounds alone: each listener hears two of its three clips."""
    return make_set(
        tmp_path_factory.mktemp("mos"), 4, parts=("quality",), clips=3, blocks=2, clip_s=0.05,
        raters=12,
    )  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Path, Key]:
    """Return a set of both parts, with clips that last long enough for a browser."""
    return make_set(
        tmp_path_factory.mktemp("films"), 3, clips=2, blocks=1, clip_s=0.6, checks=1, raters=8
    )


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """Return a copy of the set of sounds that a test may fill with answers."""
    return Path(shutil.copytree(made[0], tmp_path / "set"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(folder, clock) -> Iterator:
    made = create_app(folder, clock)
    yield made
    made.state.store.close()
