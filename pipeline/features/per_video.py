"""Work on all segments of a video in a tar, whose results are written to tars of their own.

Codes and notes are made so: the unit of work is a video's segments in one tar, each result is
stored in the ledger, and at the end a tar with the same keys in the same order stands beside each.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from model.contract.dataset import Dataset, Shard
from model.contract.segment import WAV, split_key
from model.contract.shards import write_shard
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import progress

EXAMPLES = 3
"""How many failed videos an error message names."""
Span = tuple[int, int]
"""Offset and length of a member of a tar, in bytes."""
Results = Mapping[tuple[str, tuple[str, ...]], str]
"""The ledger's key of each video's result, by the tar's name and the segments' keys."""


@dataclass(frozen=True)
class VideoSegments:
    """One video's segments in one tar: their keys, and the position of their sound in the file.

    `result` is the ledger key of what was made once it is stored; `outcome` is the reason if this
    failed.
    """

    shard: Path
    keys: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    result: str = ""
    outcome: Outcome | None = None

    @property
    def video_id(self) -> str:
        return split_key(self.keys[0])[0]

    def sound(self) -> list[bytes]:
        """Return each segment's wav file, read from the tar."""
        return read_spans(self.shard, self.spans)


V = TypeVar("V", bound=VideoSegments)


def video_spans(path: Path, member: str = WAV) -> list[VideoSegments]:
    """Return the videos of a tar in order, each with the positions of its segments' sound.

    `member` is the suffix of other members to be found instead of the sound.

    Raises ValueError, which names the file, for a truncated or invalid tar.
    """
    videos: dict[str, list[tuple[str, Span]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key, _, suffix = info.name.partition(".")
                if not info.isreg() or info.issparse() or info.size < 0:
                    raise ValueError(f"member {info.name!r:.80} is not a regular file")
                if suffix == member:
                    span = (key, (info.offset_data, info.size))
                    videos.setdefault(split_key(key)[0], []).append(span)
    except (tarfile.TarError, ValueError, OSError) as error:
        raise ValueError(
            f"{path}: truncated or invalid tar ({error}); run the build again"
        ) from None
    return [
        VideoSegments(path.resolve(), tuple(k for k, _ in found), tuple(span for _, span in found))
        for found in videos.values()
    ]


def read_spans(path: Path, spans: Sequence[Span]) -> list[bytes]:
    """Return members of a tar."""
    found = []
    with open(path, "rb") as file:
        for offset, size in spans:
            file.seek(offset)
            found.append(file.read(size))
    return found


def tried(video: V, stage: str, make: Callable[[], str], limit_s: float) -> V:
    """Return the video with the ledger key that `make` returns, or with the reason if it fails."""
    made = attempt(stage, make, limit_s)
    outcome, result = (made, "") if isinstance(made, Outcome) else (None, made)
    return replace(video, result=result, outcome=outcome)


def lost(video: V, stage: str, code: str, words: str) -> V:
    """Return a video whose worker was lost."""
    return replace(video, result="", outcome=Outcome("failed", stage, code, words))


def collected(
    done: Iterable[V], what: str, total: int, failures: Callable[[Sequence[V], int], str]
) -> tuple[Results, list[V]]:
    """Return the results of all videos, and those that failed, with progress.

    Raises OSError, with the message of `failures`, at once if the disk is full.
    """
    results: dict[tuple[str, tuple[str, ...]], str] = {}
    failed: list[V] = []
    for video in progress(done, what, total, "video"):
        if video.outcome and video.outcome.code == "no_room":
            raise OSError(failures([video], total))
        if video.outcome:
            failed.append(video)
        results[video.shard.name, video.keys] = video.result
    return results, failed


def reasons(ends: Iterable[tuple[str, Outcome]]) -> str:
    """Return why the first few of some videos failed, by name, and how many more did."""
    ends = sorted(ends, key=lambda end: end[0])
    first = "; ".join(f"{name}: {end.code}: {end.message}" for name, end in ends[:EXAMPLES])
    return first + (f"; and {len(ends) - EXAMPLES} more" if len(ends) > EXAMPLES else "")


def write_tars(
    folder: Path,
    dataset: Dataset,
    members: Callable[[str], Iterator[tuple[str, dict[str, bytes]]]],
) -> dict[str, list[Shard]]:
    """Write a tar beside each of the data set's, with `members` of its name; remove all others."""
    splits = {
        split: [write_shard(folder / shard.name, members(shard.name)) for shard in shards]
        for split, shards in dataset.splits.items()
    }
    listed = {shard.name for shards in splits.values() for shard in shards}
    for path in folder.glob("*.tar"):
        if path.name not in listed:
            path.unlink()
    return splits
