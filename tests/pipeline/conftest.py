"""Fixtures that several files of tests of the whole pipeline share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builds import NAME, clip
from hostile_parts import box

if TYPE_CHECKING:
    from fuzz_edits import Watch


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


@pytest.fixture(scope="session")
def clips_of(tmp_path_factory) -> Callable[[Path, int], Path]:
    """Return a function that fills a folder with clips of equal picture and different content."""
    one = clip(tmp_path_factory.mktemp("one") / "one.mp4", 2.1).read_bytes()

    def fill(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            (folder / f"v{k:03d}.mp4").write_bytes(one + box(b"free", bytes(k)))
        return folder

    return fill


@pytest.fixture(scope="session")
def codec_file(tmp_path_factory) -> Path:
    """A small untrained codec of JukeBox's architecture, in a file."""
    from model.codecs.jukebox.codec import random_codec
    from model.codecs.jukebox.weights import write_weights

    path = tmp_path_factory.mktemp("codec") / "small.safetensors"
    write_weights(path, random_codec().model, "small", "untrained, for tests")
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory, codec_file) -> Path:
    """Return two shards of four segments with their codes, and sound, motion and features."""
    from model.codecs.base import load_codec
    from model.fake_dataset import write_fake_dataset

    root = tmp_path_factory.mktemp("world") / "shards"
    write_fake_dataset(
        root, load_codec(codec_file), str(codec_file), {"train": 2}, 4, segments_per_shard=4
    )
    return root


@pytest.fixture(scope="session")
def watch() -> Watch:
    from fuzz_edits import Watch

    return Watch()
