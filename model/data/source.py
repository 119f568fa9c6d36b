"""One split of a shard folder as the source of batches.

Training and validation read `Segments`: one `Source`, or several (`model.data.several`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from model.codecs.base import Codec
from model.contract.dataset import Codes, Dataset, Shard
from model.contract.segment import WAV
from model.contract.storage import Location
from model.contract.wav import PCM_SCALE
from model.data.inputs import GENRE
from model.data.reader import Raw, genre_index, member, meta_of, paired, pcm_of, song_of


@dataclass(frozen=True)
class Batch:
    """B segments: audio (B, N), codes by level and inputs by name.

    Codes are int64 (B, L), or (B, Q, L) for a level with Q codebooks. Inputs are float32
    (B, T, D), named by the suffix of their member; GENRE is int64 (B,). `songs` has the name of
    each segment's song: that of its video, if the data set does not know it.
    """

    keys: list[str]
    audio: Tensor
    codes: dict[str, Tensor]
    inputs: dict[str, Tensor] = field(default_factory=dict)
    songs: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; copies from pinned memory are asynchronous."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def head(self, items: int) -> Batch:
        """Return the first `items` segments as a batch."""
        first = self._each(lambda x: x[:items])
        return replace(first, keys=self.keys[:items], songs=self.songs[:items])

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory, from which a GPU can copy asynchronously."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            self.keys,
            change(self.audio),
            {level: change(codes) for level, codes in self.codes.items()},
            {name: change(x) for name, x in self.inputs.items()},
            self.songs,
        )


@dataclass(frozen=True)
class Row:
    """One segment, decoded: its key, the name of its song, and its arrays as of `decode`."""

    key: str
    song: str
    arrays: dict[str, np.ndarray]


class Segments(Protocol):
    """The segments of one split of one data set, or of several data sets."""

    @property
    def split(self) -> str: ...

    @property
    def sources(self) -> Sequence[Source]:
        """The data sets, each as a source."""

    @property
    def weights(self) -> Sequence[Fraction]:
        """For each source, how many times an epoch of training passes over it."""

    @property
    def address(self) -> str:
        """Where the data are, for messages."""

    @property
    def segments(self) -> int:
        """The number of segments."""

    def of_split(self, split: str) -> Segments | None:
        """Return another split of the same data; None if it has no segments."""


@dataclass(frozen=True)
class Source:
    """One split of a shard folder, as the source of batches.

    `sizes` maps the levels whose codes are read to the number of entries in their codebook; without
    levels no codes are read, and the data set needs none.
    `inputs` names the inputs to read; those that the data set does not have are skipped. None reads
    every array of the data set.
    `label` is put before the keys of segments, to tell those of several data sets apart.
    """

    root: Location
    dataset: Dataset
    split: str
    codec_id: str
    sizes: Mapping[str, int]
    inputs: Sequence[str] | None = None
    label: str = ""
    suffixes: tuple[str, ...] = field(init=False)
    samples: int = field(init=False)

    def __post_init__(self) -> None:
        there = [suffix for suffix in self.dataset.fields if suffix != WAV]
        wanted = there if self.inputs is None else self.inputs
        object.__setattr__(self, "suffixes", tuple(s for s in there if s in wanted))
        object.__setattr__(self, "samples", self.dataset.samples)
        if not self.segments:
            raise ValueError(f"{self.root}: {self.dataset.no_segments(self.split)}")
        if not self.sizes:
            return
        codes = codes_of(self.dataset, self.codec_id, self.root)
        for level in self.sizes:
            if level not in codes.levels:
                raise ValueError(
                    f"{self.root}: codec {self.codec_id} has codes of levels "
                    f"{', '.join(codes.levels)}, not {level!r}"
                )
        ours = [(s.name, s.segments) for s in self.dataset.splits.get(self.split, [])]
        theirs = [(s.name, s.segments) for s in codes.splits.get(self.split, [])]
        if ours != theirs:
            raise ValueError(
                f"{self.root}: split {self.split} has shards (segments) {ours}, codes of "
                f"{self.codec_id} have {theirs}; run: pipeline extract-codes --shards {self.root}"
            )

    @property
    def segments(self) -> int:
        """Segments of the split."""
        return self.dataset.segments(self.split)

    @property
    def shards(self) -> list[Shard]:
        """The shards of the split."""
        return self.dataset.splits[self.split]

    @property
    def sources(self) -> tuple[Source]:
        return (self,)

    @property
    def weights(self) -> tuple[Fraction]:
        return (Fraction(1),)

    @property
    def address(self) -> str:
        return str(self.root)

    def of_split(self, split: str) -> Source | None:
        """Return another split of the data set; None if it has no segments."""
        return replace(self, split=split) if self.dataset.segments(split) else None

    def raw(self, number: int, wanted: Container[int] | None = None) -> Iterator[Raw]:
        """Yield a shard's samples, or the wanted ones, with features and codes, undecoded."""
        shard = self.shards[number]
        codes = self.root / "codes" / self.codec_id / shard.name if self.sizes else None
        yield from paired(self.root / shard.name, codes, shard.segments, wanted)

    def decode(self, raw: Raw) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the JSON of one sample, and its arrays by name, checked against dataset.json.

        The arrays are the audio (N,) int16, the inputs float32, and codes and genre () int64.
        Raises ValueError, with the file and segment, if one is missing, has another dtype or
        shape, or is out of range.
        """
        key, url = raw["__key__"], raw["__url__"]
        arrays = {s: member(raw, s, self.dataset.fields, url) for s in self.suffixes}
        arrays[WAV] = pcm_of(raw, self.samples, url)
        for level, size in self.sizes.items():
            stream = self.dataset.codecs[self.codec_id].streams[level]
            spec = {stream.suffix: {"dtype": "uint16", "shape": stream.shape}}
            codes = member(raw, stream.suffix, spec, url)
            if codes.max() >= size:
                raise ValueError(
                    f"{self.root / 'codes' / self.codec_id / url.rpartition('/')[2]}: "
                    f"{key}.{stream.suffix} has code {codes.max()}, "
                    f"the codebook has {size} entries; run pipeline extract-codes again"
                )
            arrays[level] = codes.astype(np.int64)
        meta = meta_of(raw, url)
        if self.inputs is not None and GENRE in self.inputs:
            genre = genre_index(meta.get("genre"), f"{url}: {key}")
            arrays[GENRE] = np.array(genre, np.int64)
        return meta, arrays

    def row(self, raw: Raw) -> Row:
        """Return one sample, decoded. Raises ValueError as `decode` does."""
        meta, arrays = self.decode(raw)
        return Row(self.label + raw["__key__"], song_of(meta), arrays)

    def collate(self, raws: list[Raw]) -> Batch:
        """Return B samples as a batch, audio in [-1, 1). Raises ValueError as `decode` does."""
        return batch_of([self.row(raw) for raw in raws], self.sizes)


def batch_of(rows: Sequence[Row], levels: Iterable[str]) -> Batch:
    """Return B segments with the same arrays as a batch, audio in [-1, 1)."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([row.arrays[name] for row in rows]))

    audio = stack(WAV).to(torch.float32).div_(PCM_SCALE)
    codes = {level: stack(level) for level in levels}
    inputs = {name: stack(name) for name in rows[0].arrays if name != WAV and name not in codes}
    return Batch([row.key for row in rows], audio, codes, inputs, [row.song for row in rows])


def open_source(
    root: Location,
    dataset: Dataset,
    split: str,
    codec: Codec,
    levels: Sequence[str],
    inputs: Sequence[str] | None = None,
) -> Source:
    """Return a split as a source of the codec's codes at `levels`, and of `inputs`."""
    sizes = {level: codec.level(level).size for level in levels}
    return Source(root, dataset, split, codec.codes_id, sizes, inputs)


def codes_of(dataset: Dataset, codec_id: str, root: Location) -> Codes:
    """Return the data set's entry for a codec; ValueError, with both, if it has another's codes."""
    if not dataset.codecs:
        raise ValueError(
            f"{root}: no codes; run: pipeline extract-codes --shards {root} --codec demo"
        )
    if codec_id not in dataset.codecs:
        raise ValueError(
            f"{root}: the codes are of codec {', '.join(sorted(dataset.codecs))}, the codec loaded "
            f"is {codec_id}; choose with --codec, or run pipeline extract-codes for this one"
        )
    return dataset.codecs[codec_id]


def spread_batches(source: Segments, batch_size: int, limit: int) -> Iterator[Batch]:
    """Yield `limit` segments spread evenly over the split, in order; the last batch may be smaller.

    Neighbouring segments come from one video and often one genre, so the first segments of a split
    would not be representative.
    """
    held: list[tuple[Source, Raw]] = []
    for pair in _spread(source, limit):
        held.append(pair)
        if len(held) == batch_size:
            yield _collate(held)
            held = []
    if held:
        yield _collate(held)


def mixed_batches(source: Segments, batch_size: int, limit: int) -> Iterator[Batch]:
    """Yield the segments of `spread_batches`, each batch from all over the split.

    In a batch, segments half a batch apart are half a split apart: mostly of different songs. All
    segments are in memory, undecoded.
    """
    pairs = list(_spread(source, limit))
    count = -(-len(pairs) // batch_size)
    for first in range(count):
        yield _collate(pairs[first::count])


def _collate(pairs: Sequence[tuple[Source, Raw]]) -> Batch:
    return batch_of([source.row(raw) for source, raw in pairs], pairs[0][0].sizes)


def _spread(source: Segments, limit: int) -> Iterator[tuple[Source, Raw]]:
    """Yield `limit` segments spread evenly over all shards, undecoded, each with its source."""
    take = min(limit, source.segments)
    chosen = [i * source.segments // take for i in range(take)]
    first = 0
    for part in source.sources:
        for number, shard in enumerate(part.shards):
            wanted = {i - first for i in chosen if first <= i < first + shard.segments}
            for raw in part.raw(number, wanted) if wanted else ():
                yield part, raw
            first += shard.segments
