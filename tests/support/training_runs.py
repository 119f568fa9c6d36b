"""The smallest training, and commands of `model`."""

from __future__ import annotations

import pytest

from model.cli import main

SMALL = (
    "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8", "batch_size=2",
    "discriminators=1", "d_first_stride=16", "log_every=2", "val_every=4", "checkpoint_every=4",
    "sample_every=8", "val_segments=2", "sample_segments=1", "max_steps=8", "shuffle_segments=4",
)  # fmt: skip


def settings(*more: str) -> list[str]:
    return [part for setting in (*SMALL, *more) for part in ("--set", setting)]


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code
