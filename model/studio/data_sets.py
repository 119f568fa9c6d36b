"""The data set of a studio: its segments and the outcomes of its inputs, to filter and to look at.

Only the JSON of segments is read until one is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from model.contract.dataset import Dataset, load_dataset
from model.contract.files import sha256_of
from model.contract.segment import META
from model.data.reader import meta_of, read_tar
from model.generation.pipeline_process import find_video
from model.studio.users import Refused

MAX_SEGMENTS = 20_000
"""So many segments are listed; of a larger data set, the first ones of each shard's order."""
ALL = "all"


@dataclass(frozen=True)
class Segment:
    """One segment, as its JSON says."""

    key: str
    split: str
    video_id: str
    song: str
    genre: str
    start_s: float
    source: str


@dataclass(frozen=True)
class Input:
    """What became of one input of the build: its row in report.json."""

    video_id: str
    split: str
    song: str
    genre: str
    outcome: str
    message: str


@dataclass
class DataSet:
    """A built data set in a local folder. Raises ValueError and OSError if it is none."""

    root: Path
    dataset: Dataset = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.dataset = load_dataset(self.root)

    @property
    def id(self) -> str:
        """What the data set is: another one, or the same built again, has another id."""
        return sha256_of(self.root / "dataset.json")

    @cached_property
    def segments(self) -> list[Segment]:
        """All segments, at most `MAX_SEGMENTS`."""
        found = []
        for segment in self._read():
            found.append(segment)
            if len(found) >= MAX_SEGMENTS:
                break
        return found

    @cached_property
    def inputs(self) -> list[Input]:
        """The outcome of every input; without report.json there is none."""
        try:
            rows = json.loads((self.root / "report.json").read_bytes())["rows"]
            return [_input(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def choices(self, name: str) -> list[str]:
        """Return the values of `split`, `song` or `genre` of the segments, after "all"."""
        return [ALL, *sorted({value for s in self.segments if (value := getattr(s, name))})]

    def outcomes(self) -> list[str]:
        """Return "ok", then every other outcome that an input had."""
        return ["ok", *sorted({one.outcome for one in self.inputs} - {"ok"})]

    def find(self, split: str = ALL, song: str = ALL, genre: str = ALL) -> list[Segment]:
        """Return the segments with these values."""
        wanted = {"split": split, "song": song, "genre": genre}
        return _with(self.segments, wanted)

    def failed(
        self, outcome: str, split: str = ALL, song: str = ALL, genre: str = ALL
    ) -> list[Input]:
        """Return the inputs with an outcome that is not "ok", and these values."""
        wanted = {"outcome": outcome, "split": split, "song": song, "genre": genre}
        return _with(self.inputs, wanted)

    def segment(self, key: object) -> Segment:
        """Return the segment with a key; Refused if there is none."""
        for segment in self.segments:
            if segment.key == key:
                return segment
        raise Refused("no such segment")

    def test_videos(self) -> list[str]:
        """Return the ids of the videos of the test split whose files are here."""
        first = {s.video_id: s for s in reversed(self.segments) if s.split == "test"}
        return sorted(name for name, s in first.items() if self._video(s))

    def video(self, video_id: object) -> Path:
        """Return the file of a video of the test split; Refused if it is not here."""
        for segment in self.segments:
            if (segment.split, segment.video_id) == ("test", video_id):
                if path := self._video(segment):
                    return path
                break
        raise Refused("no such video in the test split")

    def _video(self, segment: Segment) -> Path | None:
        return find_video(self.dataset.source, segment.source)

    def _read(self) -> Iterator[Segment]:
        for split, shards in self.dataset.splits.items():
            for shard in shards:
                for raw in read_tar(self.root / shard.name, only=META):
                    meta = meta_of(raw, shard.name)
                    yield Segment(
                        raw["__key__"],
                        split,
                        str(meta.get("video_id", "")),
                        str(meta.get("song") or ""),
                        str(meta.get("genre") or ""),
                        float(meta.get("start_s") or 0.0),
                        str(meta.get("source") or ""),
                    )


def _input(row: dict[str, Any]) -> Input:
    status, code = str(row["status"]), str(row.get("code") or "")
    return Input(
        str(row["video_id"]),
        str(row.get("split") or ""),
        str(row.get("song") or ""),
        str(row.get("genre") or ""),
        f"{status}: {code}" if code else status,
        str(row.get("message") or ""),
    )


def _with(rows: Sequence[Any], wanted: dict[str, str]) -> list[Any]:
    given = {name: value for name, value in wanted.items() if value not in (ALL, "", None)}
    return [row for row in rows if all(getattr(row, k) == v for k, v in given.items())]
