"""dataset.json: what a shard folder holds."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from model.contract.files import write_atomic
from model.contract.segment import (
    DTYPES,
    MOTION,
    SAMPLE_RATE_HZ,
    SCHEMA,
    SPLITS,
    WINDOW_MAX_S,
    WINDOW_MIN_S,
    window_samples,
)
from model.contract.storage import Url, open_binary, to_location

OLD_HOPS = {"high": 128, "low": 32}
"""JukeBox's levels as D2M-GAN uses them: all that data sets of earlier versions can have."""
LAYOUTS = {
    "smpl": "smpl-rotations",
    "smpl-joints": "smpl-joints",
    "openpose": "body25",
    "mmpose": "body25",
}
"""The layout of motion by its `kind`, for what was written when only `kind` was recorded."""


@dataclass(frozen=True)
class Shard:
    """One tar file, as dataset.json lists it."""

    name: str
    segments: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class CodeStream:
    """The codes of one level of a codec in a segment, uint16.

    Their member in the code tars is `suffix`; `shape` is [L], or [Q, L] of Q codebooks. One code
    stands for `hop` samples of the codec's own rate and is one of `size` entries (0: not recorded,
    as in data sets of earlier versions).
    """

    suffix: str
    shape: list[int]
    hop: int
    size: int = 0


@dataclass
class Codes:
    """The codes of one codec: which levels, by which weights, in which tars.

    `source` is what the user named (`demo`, `jukebox-5b` or a path); `note` says what the weights
    are when they are not the published ones. `streams` has an entry for each level.
    """

    levels: list[str]
    source: str
    note: str = ""
    splits: dict[str, list[Shard]] = field(default_factory=dict)
    sample_rate_hz: int = SAMPLE_RATE_HZ
    streams: dict[str, CodeStream] = field(default_factory=dict)


@dataclass
class Dataset:
    """dataset.json: what a shard folder holds.

    `fields` maps a member's suffix to its dtype and shape, and to what made it: of motion `fps`,
    `kind` (by which annotations or estimator) and `layout` (what the values are).
    `build` holds the options that `pipeline build` needs to make the same features again.
    `untrained` lists what was made with untrained weights; every report repeats it.
    `source` is the folder the videos came from; segments name their file relative to it.
    """

    name: str
    window_s: str
    fields: dict[str, dict[str, Any]]
    build: dict[str, Any]
    splits: dict[str, list[Shard]]
    source: str = ""
    untrained: list[str] = field(default_factory=list)
    codecs: dict[str, Codes] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def samples(self) -> int:
        """Samples of one segment at 22 050 Hz."""
        return window_samples(self.window_s)

    @property
    def seconds(self) -> float:
        """The window; `window_s` holds it exactly, as a fraction where it is no whole number."""
        return float(Fraction(self.window_s))

    def segments(self, split: str) -> int:
        """Return how many segments a split holds; 0 for one that is not there."""
        return sum(shard.segments for shard in self.splits.get(split, []))

    @property
    def last_split(self) -> str:
        """The split to try a run on, the last that has segments: test, else val, else train."""
        return next((split for split in reversed(SPLITS) if self.segments(split)), "train")

    def no_segments(self, split: str) -> str:
        """Return what to say of a split that has no segments, and what to do."""
        held = {name: self.segments(name) for name in self.splits}
        other = split != "train" and any(held.values())
        advice = f"use --split {self.last_split}" if other else "build more videos"
        return f"no segments in split {split!r}; it has {held}; {advice}"

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def load_dataset(root: str | os.PathLike[str] | Url) -> Dataset:
    """Read dataset.json of a folder, or of an address like `s3://bucket/aist`.

    Raises FileNotFoundError where there is none and ValueError where it does not fit the schema;
    both say what to do.
    """
    path = to_location(root) / "dataset.json"
    try:
        with open_binary(path) as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        where = path.parent
        if where.name == "dataset.json" or (isinstance(where, Path) and where.is_file()):
            raise FileNotFoundError(
                f"{where}: give the folder with dataset.json, not a file: --shards {where.parent}"
            ) from None
        raise FileNotFoundError(
            f"{path}: not found; build the dataset first: "
            f"pipeline build --dataset NAME --out {'DIR' if isinstance(path, Url) else root}"
        ) from None
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); run the build again") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        got = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise ValueError(
            f"{path}: schema {got!r}, this version reads {SCHEMA}; run the build again"
        )
    try:
        codecs = {name: _codes(codec, raw["window_s"]) for name, codec in raw.pop("codecs").items()}
        dataset = Dataset(**{**raw, "splits": _shards(raw["splits"]), "codecs": codecs})
        _check(dataset)
        dataset.fields = with_layout(dataset.fields)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: does not fit schema {SCHEMA} ({error}); run the build again"
        ) from None
    return dataset


def with_layout(fields: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a data set's `fields` with the `layout` of motion as it is written now.

    Earlier versions wrote none, or `BODY_25` for `body25`: of data sets and runs made by them the
    fields compare equal to new ones only so. A kind that is not known here stays as it is.
    """
    spec = fields.get(MOTION)
    if not isinstance(spec, dict):
        return dict(fields)
    layout = spec.get("layout", "")
    layout = {"BODY_25": "body25"}.get(layout, layout) or LAYOUTS.get(spec.get("kind", ""))
    return {**fields, MOTION: {**spec, "layout": layout} if layout else spec}


def save_dataset(root: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write `root`/dataset.json whole or not at all."""
    write_atomic(Path(root) / "dataset.json", dataset.dumps().encode())


def short_repr(value: Any) -> str:
    """Return a value for a message: a few lines of YAML can stand for gigabytes."""
    try:
        return reprlib.repr(value)[:200]
    except ValueError:  # Python writes no number of more than 4300 digits
        return f"a {type(value).__name__} too long to be written"


def _shards(splits: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[Shard]]:
    found = {split: [Shard(**shard) for shard in shards] for split, shards in splits.items()}
    if unknown := found.keys() - set(SPLITS):
        raise ValueError(f"splits {sorted(unknown)}, expected some of {', '.join(SPLITS)}")
    for shard in (shard for shards in found.values() for shard in shards):
        _fits(shard, "a shard")
        if not _in_folder(shard.name) or not shard.name.endswith(".tar"):
            raise ValueError(f"it names {shard.name!r}: a shard is a .tar in its own folder")
    return found


def _codes(raw: dict[str, Any], window_s: str) -> Codes:
    """Return a codec's entry; one of an earlier version gets the streams of JukeBox's levels."""
    streams = raw.get("streams") or {
        level: {
            "suffix": f"{level}.npy",
            "shape": [window_samples(window_s) // OLD_HOPS[level]],
            "hop": OLD_HOPS[level],
        }
        for level in raw["levels"]
    }
    streams = {level: CodeStream(**stream) for level, stream in streams.items()}
    return Codes(**{**raw, "splits": _shards(raw["splits"]), "streams": streams})


def _check(dataset: Dataset) -> None:
    """Raise ValueError where a value is of another kind than its field, or names another folder."""
    _fits(dataset, "dataset.json")
    if not WINDOW_MIN_S <= Fraction(dataset.window_s) <= WINDOW_MAX_S:
        raise ValueError(f"window_s is {dataset.window_s}, not {WINDOW_MIN_S} to {WINDOW_MAX_S}")
    for suffix, spec in dataset.fields.items():
        shape = spec["shape"]
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{suffix} has the shape {shape!r}, expected whole numbers")
        if spec["dtype"] not in DTYPES:
            raise ValueError(f"{suffix} is {spec['dtype']!r}, not one of {', '.join(DTYPES)}")
    for name, codes in dataset.codecs.items():
        _fits(codes, f"codec {name}")
        if not _in_folder(name):
            raise ValueError(f"codec {name!r}: no name of a folder")
        if codes.streams.keys() != set(codes.levels):
            raise ValueError(f"codec {name}: levels {codes.levels}, streams {[*codes.streams]}")
        for level, stream in codes.streams.items():
            _fits(stream, f"codec {name}, {level}")
            if not all(type(n) is int and n > 0 for n in [stream.hop, *stream.shape]):
                raise ValueError(f"codec {name}, {level}: {stream}: expected whole numbers above 0")


def _fits(record: Any, what: str) -> None:
    """Raise ValueError where a field of a record is not of the type that it is declared with."""
    kinds: dict[str, type[Any]] = {
        "str": str, "int": int, "list[str]": list, "list[int]": list, "dict": dict,
    }  # fmt: skip
    for one in fields(record):
        value = getattr(record, one.name)
        kind = kinds[one.type if one.type in kinds else one.type.partition("[")[0]]
        good = type(value) is kind and (kind is not int or value >= 0)
        inner = int if one.type == "list[int]" else str
        if not good or (kind is list and not all(type(item) is inner for item in value)):
            raise ValueError(f"{what}: {one.name} is {value!r:.80}, expected {one.type}")


def _in_folder(name: str) -> bool:
    """Return whether a name is a plain one, of something in the folder where it is used."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name
