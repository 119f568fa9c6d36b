"""Fixtures that several files of tests of the whole pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import NAME, clip


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Three good videos and four that must end otherwise."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.mp4", NAME):
        clip(folder / name)
    clip(folder / "short.mp4", 1.2)
    clip(folder / "silent.mp4", sound=False)
    (folder / "text.mp4").write_text("this is no video\n" * 50, encoding="utf-8")
    (folder / "zero.mp4").touch()
    return folder
