"""One split of a shard folder as training reads it, and the batches made of it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from model.contract.dataset import Codes, Dataset
from model.contract.segment import LEVELS, MOTION, VISUAL, WAV
from model.contract.storage import Location
from model.contract.wav import PCM_SCALE
from model.data.reader import Raw, genre_index, member, meta_of, paired, pcm_of


@dataclass(frozen=True)
class Batch:
    """B segments: audio (B, N), codes (B, L) int64, motion (B, T, D), visual (B, W, D), genre (B,).

    Genres are int64, in the order of `GENRES`; what the source leaves out is None.
    """

    keys: list[str]
    audio: Tensor
    codes: Tensor
    motion: Tensor | None
    visual: Tensor | None
    genre: Tensor | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device) -> Batch:
        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True)

        return Batch(
            self.keys,
            self.audio.to(device, non_blocking=True),
            self.codes.to(device, non_blocking=True),
            move(self.motion),
            move(self.visual),
            move(self.genre),
        )

    def head(self, items: int) -> Batch:
        """Return the first segments as a batch."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[:items]

        return Batch(
            self.keys[:items], self.audio[:items], self.codes[:items], cut(self.motion),
            cut(self.visual), cut(self.genre),
        )  # fmt: skip

    def pin_memory(self) -> Batch:
        def pin(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.pin_memory()

        return replace(
            self, audio=self.audio.pin_memory(), codes=self.codes.pin_memory(),
            motion=pin(self.motion), visual=pin(self.visual), genre=pin(self.genre),
        )  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One split of a shard folder, as training reads it. `bins` are the codebook's entries."""

    root: Location
    dataset: Dataset
    split: str
    codec_id: str
    level: str
    bins: int
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = False
    suffixes: tuple[str, ...] = field(init=False)
    samples: int = field(init=False)

    def __post_init__(self) -> None:
        wanted = {WAV: True, MOTION: self.use_motion, VISUAL: self.use_visual}
        suffixes = tuple(s for s, use in wanted.items() if use and s in self.dataset.fields)
        object.__setattr__(self, "suffixes", suffixes)
        object.__setattr__(self, "samples", self.dataset.samples)
        codes = codes_of(self.dataset, self.codec_id, self.root)
        if self.level not in codes.levels:
            raise ValueError(
                f"{self.root}: codec {self.codec_id} has codes of levels "
                f"{', '.join(codes.levels)}, not {self.level!r}"
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
        """Return key and arrays of one sample, checked against dataset.json.

        The arrays are the sound (N,) int16, motion (T, D) and visual (W, D) float32, and codes (L,)
        and genre () int64. Raises ValueError, naming the file and segment, for one that is absent,
        of another form or out of range.
        """
        key, url = raw["__key__"], raw["__url__"]
        arrays = {s: member(raw, s, self.dataset.fields, url) for s in self.suffixes if s != WAV}
        arrays[WAV] = pcm_of(raw, self.samples, url)
        suffix = LEVELS[self.level].suffix
        steps = LEVELS[self.level].steps(self.samples)
        spec = {suffix: {"dtype": "uint16", "shape": [steps]}}
        codes = member(raw, suffix, spec, url)
        if codes.max() >= self.bins:
            raise ValueError(
                f"{self.root / 'codes' / self.codec_id / url.rpartition('/')[2]}: "
                f"{key}.{suffix} has code {codes.max()}, "
                f"the codebook has {self.bins} entries; run pipeline extract-codes again"
            )
        arrays["codes"] = codes.astype(np.int64)
        if self.use_genre:
            arrays["genre"] = np.int64(genre_index(meta_of(raw, url).get("genre"), f"{url}: {key}"))
        return key, arrays

    def collate(self, raws: list[Raw]) -> Batch:
        """Return B samples as a batch, audio in [-1, 1); ValueError as `decode`."""
        keys, arrays = zip(*(self.decode(raw) for raw in raws), strict=True)

        def stack(name: str) -> Tensor | None:
            if name not in arrays[0]:
                return None
            return torch.from_numpy(np.stack([a[name] for a in arrays]))

        pcm, codes = stack(WAV), stack("codes")
        assert pcm is not None and codes is not None
        audio = pcm.to(torch.float32).div_(PCM_SCALE)
        return Batch(list(keys), audio, codes, stack(MOTION), stack(VISUAL), stack("genre"))


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
