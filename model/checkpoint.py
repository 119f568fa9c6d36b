"""Checkpoints of a run: plain values and tensors, written whole, read without pickled code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
LAST, BEST = "last.pt", "best.pt"


def save_torch(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path` by temporary file, fsync and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        torch.save({"format": FORMAT, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU.

    Raises FileNotFoundError where there is none and ValueError where it is no checkpoint of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint; train first: model train --shards DIR")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a checkpoint ({first})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: no checkpoint of `model train` (format {FORMAT})")
    return content
