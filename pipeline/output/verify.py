"""Read every shard of a data set and compare it with dataset.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from model.contract.dataset import Codes, Dataset, Shard, load_dataset
from model.contract.notes import NOTES, check_notes
from model.contract.segment import META, WAV, is_hidden, split_key
from model.contract.shards import check_whole, is_shard_name, read_npy, read_shard
from model.contract.storage import open_binary, to_location
from model.contract.wav import read_wav
from pipeline.output.remote import reach

T = TypeVar("T")
Location = Path | str
"""A shard folder, or the address of one (`s3://bucket/aist`)."""


def verify(root: Location) -> Iterator[str]:
    """Yield one line for every valid shard; raise ValueError at the first invalid one.

    It checks the bytes and SHA-256 of each tar; each member's dtype and shape; that numbers are
    finite; the keys; and that codes and notes have the same keys in the same order. In a local
    folder it also checks that dataset.json lists every tar. For an address, it downloads each tar
    in turn to a temporary file, and raises OSError if that fails.
    """
    dataset = load_dataset(root) if isinstance(root, Path) else _load(root)
    if not any(dataset.splits.values()):
        raise ValueError(f"{root}: no segment in it; see pipeline report --shards {root}")
    if isinstance(root, Path):
        _no_others(root, dataset)
    for split, shards in dataset.splits.items():
        for shard in shards:
            keys = _features(root, dataset, split, shard)
            yield f"{shard.name}: {shard.segments} segments"
            for codec_id, codes in dataset.codecs.items():
                entry = _entry(codes.splits.get(split, []), f"codes/{codec_id}", shard)
                _codes(root, codec_id, dataset, entry, keys)
                yield f"codes/{codec_id}/{entry.name}: {entry.segments} segments"
            for notes_id, notes in dataset.notes.items():
                entry = _entry(notes.splits.get(split, []), f"notes/{notes_id}", shard)
                _notes(root, notes_id, dataset, entry, keys)
                yield f"notes/{notes_id}/{entry.name}: {entry.segments} segments"


def _entry(listed: Sequence[Shard], folder: str, shard: Shard) -> Shard:
    """Return the tar that belongs to a tar of features; ValueError if there is none."""
    found = next((entry for entry in listed if entry.name == shard.name), None)
    if found is None:
        raise ValueError(f"{folder}: {shard.name} is missing; extract it again")
    return found


def _load(address: str) -> Dataset:
    """Read dataset.json at an address; raise OSError if the store cannot be reached."""

    def call() -> Dataset | FileNotFoundError | ValueError:
        try:
            return load_dataset(address)
        except (FileNotFoundError, ValueError) as error:  # their messages already say what to do
            return error

    found = reach(address, call)
    if isinstance(found, Dataset):
        return found
    raise found


def _no_others(root: Path, dataset: Dataset) -> None:
    listed = {shard.name for shards in dataset.splits.values() for shard in shards}
    for path in sorted(root.glob("*.tar")):
        if path.name not in listed and is_shard_name(path.name):
            raise ValueError(
                f"{path.name}: in the folder, but not in dataset.json; run the build again"
            )
    for path in sorted(root.glob("codes/*/*.tar")):
        if is_hidden(path.relative_to(root)):
            continue
        codes = dataset.codecs.get(path.parent.name)
        if codes is None or path.name not in {s.name for t in codes.splits.values() for s in t}:
            raise ValueError(f"{path}: not in dataset.json; delete it or extract its codes again")
    for path in sorted(root.glob("notes/*/*.tar")):
        if is_hidden(path.relative_to(root)):
            continue
        notes = dataset.notes.get(path.parent.name)
        if notes is None or path.name not in {s.name for t in notes.splits.values() for s in t}:
            raise ValueError(f"{path}: not in dataset.json; delete it or run pipeline notes again")


@contextmanager
def _whole(root: Location, name: str, shard: Shard) -> Iterator[Path]:
    """Check the bytes of a tar and give the path of its file.

    For an address, this is a temporary copy, which is deleted afterwards.
    """
    if isinstance(root, Path):
        check_whole(root / name, shard)
        yield root / name
        return
    address = f"{root.rstrip('/')}/{name}"
    with TemporaryDirectory() as folder:
        copy = Path(folder) / shard.name

        def fetch() -> None:
            with open_binary(to_location(address)) as there, open(copy, "wb") as here:
                shutil.copyfileobj(there, here, 1 << 20)

        reach(address, fetch)
        check_whole(copy, shard, address, "delete it there and publish again")
        yield copy


def _features(root: Location, dataset: Dataset, split: str, shard: Shard) -> list[str]:
    with _whole(root, shard.name, shard) as path:
        return _feature_keys(path, dataset, split, shard)


def _feature_keys(path: Path, dataset: Dataset, split: str, shard: Shard) -> list[str]:
    keys = []
    for key, members in read_shard(path):
        _named(shard.name, partial(split_key, key))
        if members.keys() != dataset.fields.keys() | {META}:
            raise ValueError(f"{shard.name}: {key} has the members {sorted(members)}")
        for suffix, spec in dataset.fields.items():
            read = read_wav if suffix == WAV else read_npy
            name = f"{shard.name}: {key}.{suffix}"
            _array(name, _named(name, partial(read, members[suffix])), spec)
        found = _named(f"{shard.name}: {key}.{META}", partial(_split, members[META]))
        if found != split:
            raise ValueError(f"{shard.name}: {key} metadata has split {found}, expected {split}")
        keys.append(key)
    _count(shard, keys)
    return keys


def _codes(root: Location, codec_id: str, dataset: Dataset, shard: Shard, keys: list[str]) -> None:
    with _whole(root, f"codes/{codec_id}/{shard.name}", shard) as path:
        _code_keys(path, dataset.codecs[codec_id], shard, keys)


def _code_keys(path: Path, codes: Codes, shard: Shard, keys: list[str]) -> None:
    found = []
    for key, members in read_shard(path):
        if members.keys() != {stream.suffix for stream in codes.streams.values()}:
            raise ValueError(f"codes: {shard.name}: {key} has the members {sorted(members)}")
        for stream in codes.streams.values():
            spec = {"dtype": "uint16", "shape": stream.shape}
            name = f"codes: {shard.name}: {key}.{stream.suffix}"
            _array(name, _named(name, partial(read_npy, members[stream.suffix])), spec)
        found.append(key)
    _same_keys("codes", shard, found, keys)


def _notes(root: Location, notes_id: str, dataset: Dataset, shard: Shard, keys: list[str]) -> None:
    found = []
    with _whole(root, f"notes/{notes_id}/{shard.name}", shard) as path:
        for key, members in read_shard(path):
            if members.keys() != {NOTES}:
                raise ValueError(f"notes: {shard.name}: {key} has the members {sorted(members)}")
            name = f"notes: {shard.name}: {key}.{NOTES}"
            notes = _named(name, partial(read_npy, members[NOTES]))
            _named(name, partial(check_notes, notes, dataset.seconds))
            found.append(key)
    _same_keys("notes", shard, found, keys)


def _same_keys(kind: str, shard: Shard, found: list[str], keys: list[str]) -> None:
    if found != keys:
        odd = next((a or b for a, b in zip_longest(keys, found) if a != b), "")
        raise ValueError(
            f"{kind}: {shard.name}: keys differ from the features' keys at {odd}; extract again"
        )
    _count(shard, found)


def _split(meta: bytes) -> str:
    try:
        return str(json.loads(meta)["split"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"metadata has no split ({error!r:.80})") from None


def _named(name: str, read: Callable[[], T]) -> T:
    """Call `read`. If it raises ValueError, add the name of the item to the message."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{name}: {error}; run the command that made it again") from None


def _array(name: str, array: np.ndarray, spec: Mapping[str, Any]) -> None:
    if str(array.dtype) != spec["dtype"] or list(array.shape) != list(spec["shape"]):
        raise ValueError(
            f"{name}: {array.dtype} {array.shape}, expected {spec['dtype']} {tuple(spec['shape'])}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: contains NaN or infinity")


def _count(shard: Shard, keys: list[str]) -> None:
    if len(keys) != shard.segments:
        raise ValueError(f"{shard.name}: {len(keys)} segments, dataset.json lists {shard.segments}")
