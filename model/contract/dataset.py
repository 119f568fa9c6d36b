"""dataset.json: the description of a shard folder."""

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
    LEVELS,
    MOTION,
    SAMPLE_RATE_HZ,
    SCHEMA,
    SPLITS,
    WINDOW_MAX_S,
    WINDOW_MIN_S,
    window_samples,
)
from model.contract.storage import Url, open_binary, to_location

LAYOUTS = {
    "smpl": "smpl-rotations",
    "smpl-joints": "smpl-joints",
    "openpose": "body25",
    "mmpose": "body25",
}
"""The layout of motion features by their `kind`, for data sets written when only `kind` was
recorded."""


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

    `suffix` is the suffix of their member in the code tars; `shape` is [L], or [Q, L] for Q
    codebooks. One code covers `hop` samples at the codec's own sample rate. It is an index into
    `size` codebook entries (0: not recorded, as in data sets of earlier versions).
    """

    suffix: str
    shape: list[int]
    hop: int
    size: int = 0


@dataclass
class Codes:
    """The codes of one codec: their levels, the codec's weights, and their tars.

    `source` is what the user gave as codec (`demo`, `jukebox-5b` or a path). `note` describes the
    weights if they are not the published ones. `streams` has an entry for each level.
    """

    levels: list[str]
    source: str
    note: str = ""
    splits: dict[str, list[Shard]] = field(default_factory=dict)
    sample_rate_hz: int = SAMPLE_RATE_HZ
    streams: dict[str, CodeStream] = field(default_factory=dict)


@dataclass
class Notes:
    """The notes of all segments from one source, and their tars.

    `source` is what `pipeline notes --from` names: `synthetic`, `basic-pitch` or `midi`. `note`
    says more about their origin: the version and weights of a transcription, or the MIDI files.
    `without` lists the videos whose notes could not be had: their windows are stored without notes,
    because the user allowed it, and say nothing about the music.
    """

    source: str
    note: str = ""
    without: list[str] = field(default_factory=list)
    splits: dict[str, list[Shard]] = field(default_factory=dict)


@dataclass
class Dataset:
    """The content of dataset.json, which describes a shard folder.

    `fields` maps a member's suffix to its dtype, its shape and its origin. For motion these are
    `fps`, `kind` (the annotations or pose estimator) and `layout` (the meaning of the values).
    `build` holds the options with which `pipeline build` computes the same features.
    `untrained` lists the features computed with untrained weights; every report repeats it.
    `source` is the folder of the videos; each segment's metadata has its file relative to it.
    `codecs` has the codes of each codec by its id, and `notes` the notes of each source by its id.
    """

    name: str
    window_s: str
    fields: dict[str, dict[str, Any]]
    build: dict[str, Any]
    splits: dict[str, list[Shard]]
    source: str = ""
    untrained: list[str] = field(default_factory=list)
    codecs: dict[str, Codes] = field(default_factory=dict)
    notes: dict[str, Notes] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def samples(self) -> int:
        """Samples of one segment at 22 050 Hz."""
        return window_samples(self.window_s)

    @property
    def seconds(self) -> float:
        """The window in seconds. `window_s` is exact: an integer or a fraction, as text."""
        return float(Fraction(self.window_s))

    def segments(self, split: str) -> int:
        """Return the number of segments in a split; 0 if the data set has no such split."""
        return sum(shard.segments for shard in self.splits.get(split, []))

    @property
    def last_split(self) -> str:
        """The last split with segments: test, else val, else train. Commands suggest it."""
        return next((split for split in reversed(SPLITS) if self.segments(split)), "train")

    def no_segments(self, split: str) -> str:
        """Return the error message for a split without segments, with advice."""
        held = {name: self.segments(name) for name in self.splits}
        other = split != "train" and any(held.values())
        advice = f"use --split {self.last_split}" if other else "build more videos"
        return f"no segments in split {split!r}; it has {held}; {advice}"

    def dumps(self) -> str:
        """Return the text of dataset.json; without notes it is that of earlier versions."""
        content = asdict(self)
        if not self.notes:
            del content["notes"]
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def load_dataset(root: str | os.PathLike[str] | Url) -> Dataset:
    """Read dataset.json from a folder, or from a URL like `s3://bucket/aist`.

    Raises FileNotFoundError if it is missing and ValueError if it does not fit the schema. Both
    messages contain advice.
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
        notes = {
            name: Notes(**{**entry, "splits": _shards(entry["splits"])})
            for name, entry in raw.pop("notes", {}).items()
        }
        splits = _shards(raw["splits"])
        dataset = Dataset(**{**raw, "splits": splits, "codecs": codecs, "notes": notes})
        _check(dataset)
        dataset.fields = with_layout(dataset.fields)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: does not fit schema {SCHEMA} ({error}); run the build again"
        ) from None
    return dataset


def with_layout(fields: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a data set's `fields` with the `layout` of motion in today's spelling.

    Earlier versions wrote no layout, or `BODY_25` instead of `body25`. After this conversion the
    fields of old data sets and runs compare equal to new ones. Unknown kinds stay unchanged.
    """
    spec = fields.get(MOTION)
    if not isinstance(spec, dict):
        return dict(fields)
    layout = spec.get("layout", "")
    layout = {"BODY_25": "body25"}.get(layout, layout) or LAYOUTS.get(spec.get("kind", ""))
    return {**fields, MOTION: {**spec, "layout": layout} if layout else spec}


def save_dataset(root: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write `root`/dataset.json atomically."""
    write_atomic(Path(root) / "dataset.json", dataset.dumps().encode())


def short_repr(value: Any) -> str:
    """Return a short text of a value for a message: a few lines of YAML can expand to gigabytes."""
    try:
        return reprlib.repr(value)[:200]
    except ValueError:  # Python refuses to convert integers of more than 4300 digits to text
        return f"a {type(value).__name__} too long to print"


def _shards(splits: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[Shard]]:
    found = {split: [Shard(**shard) for shard in shards] for split, shards in splits.items()}
    if unknown := found.keys() - set(SPLITS):
        raise ValueError(f"splits {sorted(unknown)}, expected some of {', '.join(SPLITS)}")
    for shard in (shard for shards in found.values() for shard in shards):
        _fits(shard, "a shard")
        if not _in_folder(shard.name) or not shard.name.endswith(".tar"):
            raise ValueError(f"invalid shard name {shard.name!r}: expected NAME.tar without folder")
    return found


def _codes(raw: dict[str, Any], window_s: str) -> Codes:
    """Return a codec's entry.

    Data sets written by earlier versions do not record streams. They can have only D2M-GAN's two
    JukeBox levels.
    """
    streams = raw.get("streams") or {
        level.name: {
            "suffix": level.suffix,
            "shape": [level.steps(window_samples(window_s))],
            "hop": level.hop,
        }
        for level in (LEVELS[name] for name in raw["levels"])
    }
    streams = {level: CodeStream(**stream) for level, stream in streams.items()}
    return Codes(**{**raw, "splits": _shards(raw["splits"]), "streams": streams})


def _check(dataset: Dataset) -> None:
    """Raise ValueError if a value has the wrong type or range, or a name contains a folder."""
    _fits(dataset, "dataset.json")
    if not WINDOW_MIN_S <= Fraction(dataset.window_s) <= WINDOW_MAX_S:
        raise ValueError(f"window_s is {dataset.window_s}, not {WINDOW_MIN_S} to {WINDOW_MAX_S}")
    for suffix, spec in dataset.fields.items():
        shape = spec["shape"]
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{suffix} has the shape {shape!r}, expected integers, at least 0")
        if spec["dtype"] not in DTYPES:
            raise ValueError(f"{suffix} is {spec['dtype']!r}, not one of {', '.join(DTYPES)}")
    for name, codes in dataset.codecs.items():
        _fits(codes, f"codec {name}")
        if not _in_folder(name):
            raise ValueError(f"codec {name!r}: the name is not a valid folder name")
        if codes.streams.keys() != set(codes.levels):
            raise ValueError(f"codec {name}: levels {codes.levels}, streams {[*codes.streams]}")
        for level, stream in codes.streams.items():
            _fits(stream, f"codec {name}, {level}")
            if not all(type(n) is int and n > 0 for n in [stream.hop, *stream.shape]):
                raise ValueError(f"codec {name}, {level}: {stream}: expected integers above 0")

    for name, entry in dataset.notes.items():
        _fits(entry, f"notes {name}")
        if not _in_folder(name):
            raise ValueError(f"notes {name!r}: the name is not a valid folder name")


def _fits(record: Any, what: str) -> None:
    """Raise ValueError if a field of a record does not have its declared type."""
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
    """Return whether a name is a plain file name, without any folder in it."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name
