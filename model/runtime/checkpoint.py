"""Checkpoints of a run: plain values and tensors, written atomically, read without running code."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from model.contract.dataset import with_layout
from model.contract.files import atomic_file
from model.contract.kinds import D2M_GAN

FORMAT = 2
LAST, BEST = "last.pt", "best.pt"

Parts = Mapping[str, tuple[type, tuple[str, ...]]]

CONTENT: Parts = {
    "family": (str, ()),
    "config": (dict, ()),
    "dataset": (
        dict, ("name", "window_s", "fields", "build", "source", "untrained", "schema"),
    ),
    "data": (dict, ("name", "window_s", "fields")),
    "codec": (dict, ("id", "source", "note")),
    "step": (int, ()),
    "position": (dict, ("epoch", "batch")),
    "best": (float, ()),
    "rng": (dict, ("cpu",)),
}  # fmt: skip
"""The parts of every checkpoint beside those of its model: each part's type and required keys."""

UNFIT = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""Exceptions that torch raises for content with unexpected parts, types or shapes."""
DAMAGED = (
    *UNFIT, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, EOFError, OverflowError,
    OSError, MemoryError, struct.error,
)  # fmt: skip


class Restorable(Protocol):
    """Anything whose state can be restored: a module, an optimiser, an adversary."""

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def save_torch(path: Path, content: dict[str, Any], number: int | None = FORMAT) -> None:
    """Write `content`, with the number of its format if given, atomically."""
    numbered = {} if number is None else {"format": number}
    with atomic_file(path) as file:
        torch.save({**numbered, **content}, file)


def check_finite(content: Mapping[str, Any], parts: Iterable[str], advice: str) -> None:
    """Raise ValueError, with step and tensor, if one of a checkpoint's parts is not finite."""
    for part in parts:
        for path, tensor in tensors(content[part], part):
            if not tensor.isfinite().all():
                raise ValueError(f"step {content['step']}: {path} is not finite; {advice}")


def read_checkpoint(
    path: Path, parts: Parts = CONTENT, number: int | None = FORMAT
) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU.

    `parts` lists its required parts: by default, those that `model train` writes. `number` is the
    number of its format, or None for a format without number. Raises FileNotFoundError if the file
    is missing and ValueError if it is not a valid checkpoint.
    """
    if not path.is_file():
        if path.name == BEST and path.with_name(LAST).is_file():
            raise FileNotFoundError(
                f"{path}: this run had no validation split, or has not validated yet; "
                "use --checkpoint last"
            )
        raise FileNotFoundError(f"{path}: no checkpoint; train first: model train --shards DIR")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare the checksums
            if any(member.compress_type for member in archive.infolist()):
                raise ValueError("it is compressed, so it could unpack to any size")
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"checksum of {bad} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise ValueError(
            f"{path}: cannot be read as a checkpoint ({unreadable(error)}); "
            "copy it again from an undamaged copy, or train again"
        ) from None
    if not isinstance(content, dict):
        content = {}
    found = content.get("format")
    if number is not None and (type(found) is not int or found != number):
        raise ValueError(f"{path}: not a checkpoint of `model train` (format {number})")
    content = upgraded(content)
    check_parts(content, parts, path)
    return content


def family_of(path: Path) -> str:
    """Return the family of a run from its checkpoint, without reading the tensors.

    Raises the errors of `read_checkpoint` if the file is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return str(upgraded(content)["family"])
    except DAMAGED:
        return str(read_checkpoint(path)["family"])


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's content, converted from the form of earlier versions to today's."""
    if "best_mel" in content and "network" in content:
        content = {"family": D2M_GAN, **content, "best": content["best_mel"]}
    for part in ("dataset", "data"):
        held = content.get(part)
        if isinstance(held, dict) and isinstance(held.get("fields"), dict):
            content = {**content, part: {**held, "fields": with_layout(held["fields"])}}
    return content


def check_parts(content: Mapping[str, Any], parts: Parts, path: Path) -> None:
    """Raise ValueError, with the file, if a part is missing or has another type."""
    for name, (kind, keys) in parts.items():
        part = content.get(name)
        if not isinstance(part, kind):
            raise ValueError(f"{path}: {name} is {type(part).__name__}, expected {kind.__name__}")
        if isinstance(part, dict) and (absent := [key for key in keys if key not in part]):
            raise ValueError(f"{path}: {name} has no {', '.join(absent)}; train it again")


def unreadable(error: BaseException) -> str:
    """Return why torch cannot read a file, without torch's advice to allow code in it."""
    if isinstance(error, pickle.UnpicklingError | EOFError):
        return "it is truncated, or contains more than tensors and plain values"
    return getattr(error, "strerror", None) or _one_line(error)


def load_state(target: Restorable, state: dict[str, Any], what: str) -> None:
    """Restore the state of `target`; ValueError names unexpected, missing or misshapen parts."""
    try:
        target.load_state_dict(state)
    except UNFIT as error:
        raise ValueError(
            f"{what} does not fit the run's configuration: {_one_line(error)}"
        ) from None


@torch.no_grad()
def copy_all(
    targets: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str, whose: str, advice: str
) -> None:
    """Copy tensors by name into `targets`, in place; both must have the same names and shapes.

    Raises ValueError, with `advice`, for the first that is missing, unexpected or misshapen; `what`
    names the file, `whose` the network.
    """
    for name in sorted({*targets, *state}):
        got = tuple(state[name].shape) if name in state else "nothing"
        expected = tuple(targets[name].shape) if name in targets else "nothing"
        if got != expected:
            raise ValueError(f"{what}: {name} is {got}, {whose} has {expected}; {advice}")
        targets[name].copy_(state[name])


def differences(was: dict[str, Any], now: dict[str, Any]) -> str:
    """Return "NAME was …, is …" for the first few names whose values differ, or ""."""
    names = [name for name in sorted(was | now) if was.get(name) != now.get(name)]
    parts = [f"{name} was {was.get(name)!r}, is {now.get(name)!r}" for name in names[:3]]
    return "; ".join(parts + [f"and {len(names) - 3} more"] * (len(names) > 3))


def tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in nested dicts, with its path."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors(inner, f"{name}.{key}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
