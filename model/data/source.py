"""One split of a shard folder as training reads it, and the batches made of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from model.codecs.base import Codec
from model.contract.dataset import Codes, Dataset
from model.contract.segment import WAV
from model.contract.storage import Location
from model.contract.wav import PCM_SCALE
from model.data.inputs import GENRE
from model.data.reader import Raw, genre_index, member, meta_of, paired, pcm_of


@dataclass(frozen=True)
class Batch:
    """B segments: sound (B, N), codes by level and inputs by name.

    Codes are int64 (B, L), or (B, Q, L) of a level with Q codebooks; inputs are float32 (B, T, D)
    by the suffix of their member, and GENRE int64 (B,).
    """

    keys: list[str]
    audio: Tensor
    codes: dict[str, Tensor]
    inputs: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; from pinned memory the copy does not wait."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def head(self, items: int) -> Batch:
        """Return the first segments as a batch."""
        return replace(self._each(lambda x: x[:items]), keys=self.keys[:items])

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can copy from while it works."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            self.keys,
            change(self.audio),
            {level: change(codes) for level, codes in self.codes.items()},
            {name: change(x) for name, x in self.inputs.items()},
        )


@dataclass(frozen=True)
class Source:
    """One split of a shard folder, as training reads it.

    `sizes` names the levels whose codes are read, with their codebooks' entries; `inputs` the
    inputs, of which those are read that the data set has. None takes every array of the data set.
    """

    root: Location
    dataset: Dataset
    split: str
    codec_id: str
    sizes: Mapping[str, int]
    inputs: Sequence[str] | None = None
    suffixes: tuple[str, ...] = field(init=False)
    samples: int = field(init=False)

    def __post_init__(self) -> None:
        there = [suffix for suffix in self.dataset.fields if suffix != WAV]
        wanted = there if self.inputs is None else self.inputs
        object.__setattr__(self, "suffixes", tuple(s for s in there if s in wanted))
        object.__setattr__(self, "samples", self.dataset.samples)
        codes = codes_of(self.dataset, self.codec_id, self.root)
        for level in self.sizes:
            if level not in codes.levels:
                raise ValueError(
                    f"{self.root}: codec {self.codec_id} has codes of levels "
                    f"{', '.join(codes.levels)}, not {level!r}"
                )
        ours = [(s.name, s.segments) for s in self.dataset.splits.get(self.split, [])]
        theirs = [(s.name, s.segments) for s in codes.splits.get(self.split, [])]
        if not sum(n for _, n in ours):
            raise ValueError(f"{self.root}: {self.dataset.no_segments(self.split)}")
        if ours != theirs:
            raise ValueError(
                f"{self.root}: split {self.split} has shards (segments) {ours}, codes of "
                f"{self.codec_id} have {theirs}; run: pipeline extract-codes --shards {self.root}"
            )

    @property
    def segments(self) -> int:
        """Segments of the split."""
        return self.dataset.segments(self.split)

    def raw(self, number: int, wanted: Container[int] | None = None) -> Iterator[Raw]:
        """Yield a shard's samples, or the wanted ones, features and codes together, undecoded."""
        shard = self.dataset.splits[self.split][number]
        codes = self.root / "codes" / self.codec_id / shard.name
        yield from paired(self.root / shard.name, codes, shard.segments, wanted)

    def decode(self, raw: Raw) -> tuple[str, dict[str, np.ndarray]]:
        """Return key and arrays of one sample by suffix, checked against dataset.json.

        The arrays are the sound (N,) int16, the inputs float32, and codes and genre () int64.
        Raises ValueError, naming the file and segment, for one that is absent, of another form or
        out of range.
        """
        key, url = raw["__key__"], raw["__url__"]
        arrays = {s: member(raw, s, self.dataset.fields, url) for s in self.suffixes}
        arrays[WAV] = pcm_of(raw, self.samples, url)
        streams = self.dataset.codecs[self.codec_id].streams
        for level, size in self.sizes.items():
            suffix = streams[level].suffix
            codes = member(
                raw, suffix, {suffix: {"dtype": "uint16", "shape": streams[level].shape}}, url
            )
            if codes.max() >= size:
                raise ValueError(
                    f"{self.root / 'codes' / self.codec_id / url.rpartition('/')[2]}: "
                    f"{key}.{suffix} has code {codes.max()}, "
                    f"the codebook has {size} entries; run pipeline extract-codes again"
                )
            arrays[level] = codes.astype(np.int64)
        if self.inputs is not None and GENRE in self.inputs:
            genre = genre_index(meta_of(raw, url).get("genre"), f"{url}: {key}")
            arrays[GENRE] = np.array(genre, np.int64)
        return key, arrays

    def collate(self, raws: list[Raw]) -> Batch:
        """Return B samples as a batch, audio in [-1, 1); ValueError as `decode`."""
        keys, arrays = zip(*(self.decode(raw) for raw in raws), strict=True)

        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([a[name] for a in arrays]))

        audio = stack(WAV).to(torch.float32).div_(PCM_SCALE)
        codes = {level: stack(level) for level in self.sizes}
        inputs = {name: stack(name) for name in (*self.suffixes, GENRE) if name in arrays[0]}
        return Batch(list(keys), audio, codes, inputs)


def open_source(
    root: Location,
    dataset: Dataset,
    split: str,
    codec: Codec,
    levels: Sequence[str],
    inputs: Sequence[str] | None = None,
) -> Source:
    """Return a split as a source of the codec's codes at some levels, and of some inputs."""
    sizes = {level: codec.level(level).size for level in levels}
    return Source(root, dataset, split, codec.codes_id, sizes, inputs)


def codes_of(dataset: Dataset, codec_id: str, root: Location) -> Codes:
    """Return the entry of the loaded codec; codes of any other codec are refused, naming both."""
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


def spread_batches(source: Source, batch_size: int, limit: int) -> Iterator[Batch]:
    """Yield `limit` segments spread evenly over the split, in order; the last batch may be smaller.

    Neighbours in a split are of one video and often of one genre: its first segments are no sample.
    """
    take = min(limit, source.segments)
    chosen = [i * source.segments // take for i in range(take)]
    held: list[Raw] = []
    first = 0
    for number, shard in enumerate(source.dataset.splits[source.split]):
        wanted = {i - first for i in chosen if first <= i < first + shard.segments}
        for raw in source.raw(number, wanted) if wanted else ():
            held.append(raw)
            if len(held) == batch_size:
                yield source.collate(held)
                held = []
        first += shard.segments
    if held:
        yield source.collate(held)
