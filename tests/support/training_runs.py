"""The smallest training, and commands of `model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.cli import main
from model.codecs.base import load_codec
from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.weights import write_weights
from model.fake_dataset import write_fake_dataset

SMALL = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=2",
    "discriminators=1", "d_first_stride=16", "log_every=2", "val_every=4", "checkpoint_every=4",
    "sample_every=8", "val_segments=2", "sample_segments=1", "max_steps=8", "shuffle_segments=4",
)  # fmt: skip


def write_codec(folder: Path, **more: Any) -> Path:
    """Write the weights of a random codec into a folder; return the file."""
    untrained, path = random_codec(**more), folder / "codec.safetensors"
    write_weights(path, untrained.model, "random", untrained.note)
    return path


def settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def equal(a: object, b: object, path: str = "") -> None:
    """Assert that two states, such as checkpoints, have the same content, bit for bit."""
    if isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys(), path
        for key in a:
            equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            equal(x, y, f"{path}/{i}")
    elif isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and torch.equal(a, b), path
    else:
        assert a == b, path


def dataset_and_codec(folder: Path, videos: dict[str, int]) -> tuple[Path, Path]:
    """Write a fake data set, `videos` per split, and return its folder and its codec's file."""
    root, weights = folder / "shards", write_codec(folder)
    write_fake_dataset(root, load_codec(weights), str(weights), videos=videos, segments=3)
    return root, weights
