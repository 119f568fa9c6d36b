"""Stream segments from shards: pairs of tars read strictly, in an order that can be resumed.

The order of an epoch follows from (seed, epoch) and the shards' sizes alone: a permutation of the
shards, then a shuffle buffer. It is planned before anything is read, so that each worker reads only
the segments of its own batches, and a position (epoch, batches taken) is enough to go on exactly
where a run stopped.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from tokenize import TokenError
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from model.audio import PCM_SCALE, decode_pcm
from model.segment import GENRES, LEVELS, META, MOTION, VISUAL, WAV, Codes, Dataset, split_key
from model.storage import UNREADABLE, Place, open_binary
from model.workers import in_turn

Item = TypeVar("Item")
Raw = dict[str, Any]
"""A sample as read: `__key__`, `__url__` and the bytes of each member by suffix."""
NO_ARRAY = (ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError, TokenError)
"""What numpy raises for bytes that are none of its files, or claim more than there is memory."""
STREAM_BYTES = 1 << 18
"""Read at a time from what cannot seek."""


@dataclass(frozen=True)
class Position:
    """Where a stream stands: the next batch to give is number `batch` of `epoch`, both from 0."""

    epoch: int = 0
    batch: int = 0


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

    root: Place
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


def codes_of(dataset: Dataset, codec_id: str, root: Place) -> Codes:
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


def read_tar(path: Place, wanted: Container[int] | None = None) -> Iterator[Raw]:
    """Yield the samples of one tar in order; ValueError names a damaged file.

    Of samples that are not `wanted` (by number from 0) the key is right and the members are None:
    their bytes are skipped, where the file can seek without reading them.
    """
    from webdataset.tariterators import group_by_keys

    try:
        with open_binary(path) as file:
            mode = "r:" if file.seekable() else "r|"
            with tarfile.open(fileobj=file, mode=mode, bufsize=STREAM_BYTES) as tar:
                try:
                    yield from group_by_keys(_members(tar, str(path), wanted))
                except (ValueError, MemoryError) as error:  # a member twice, or beyond all memory
                    told = next(iter(error.args), type(error).__name__)
                    raise tarfile.ReadError(f"{told!s:.300}") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: listed in dataset.json, but not there; build it again"
        ) from None
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: damaged tar ({error}); see: pipeline verify --shards {path.parent}"
        ) from None
    except UNREADABLE as error:
        told = getattr(error, "strerror", None) or error
        raise OSError(f"{path}: cannot be read ({told})") from None


def _members(tar: tarfile.TarFile, url: str, wanted: Container[int] | None) -> Iterator[Raw]:
    key, number = None, -1
    while (info := tar.next()) is not None:
        tar.members.clear()  # tarfile would keep a record of every member it has passed
        if not info.isreg() or info.issparse() or "/" in info.name or info.size < 0:
            raise tarfile.ReadError(
                f"member {info.name!r} is no plain file in the tar's own folder"
            )
        if (now := info.name.partition(".")[0]) != key:
            key, number = now, number + 1
        data = None
        if wanted is None or number in wanted:
            tar.fileobj.seek(info.offset_data)  # extractfile would read through two more buffers
            data = tar.fileobj.read(info.size)
            if len(data) != info.size:
                raise tarfile.ReadError("unexpected end of data")
        yield {"fname": info.name, "data": data, "__url__": url}


def paired(
    features: Place, codes: Place, segments: int, wanted: Container[int] | None = None
) -> Iterator[Raw]:
    """Yield the samples, or the `wanted` ones, of two tars with the same keys in order, as one.

    Raises ValueError naming the first key that is missing, extra or out of order in either.
    """
    left, right = read_tar(features, wanted), read_tar(codes, wanted)
    seen: set[str] = set()
    while True:
        a, b = next(left, None), next(right, None)
        if a is None and b is None:
            break
        if a is None or b is None or a["__key__"] != b["__key__"]:
            ours, theirs = (x["__key__"] if x else "its end" for x in (a, b))
            raise ValueError(
                f"sample {len(seen) + 1}: {features} has {ours}, {codes} has {theirs}; "
                "the keys must be the same in the same order: run pipeline extract-codes again"
            )
        if a["__key__"] in seen:
            raise ValueError(f"{features}: {a['__key__']} is there twice; build it again")
        if shared := sorted(k for k in a.keys() & b.keys() if not k.startswith("__")):
            raise ValueError(f"{a['__key__']}: {', '.join(shared)} is in {features} and in {codes}")
        if wanted is None or len(seen) in wanted:
            yield {**b, **a}
        seen.add(a["__key__"])
    if len(seen) != segments:
        raise ValueError(
            f"{features}: {len(seen)} segments, dataset.json says {segments}; "
            f"see: pipeline verify --shards {features.parent}"
        )


def member(raw: Raw, suffix: str, specs: dict[str, dict[str, Any]], url: str) -> np.ndarray:
    """Return one array of a sample, of the dtype and shape that `specs` has for its suffix.

    Raises ValueError, naming the file at `url` and the segment, where it is absent, of another form
    or not finite.
    """
    name, spec = f"{raw['__key__']}.{suffix}", specs[suffix]
    if suffix not in raw:
        raise ValueError(f"{url}: {name} is missing; build the shards again")
    array = read_npy(raw[suffix], spec["dtype"], tuple(spec["shape"]))
    if array is None:
        try:
            array = np.load(io.BytesIO(raw[suffix]), allow_pickle=False)
        except NO_ARRAY as error:
            told = f"{url}: {name}: no array ({error!s:.300}); build the shards again"
            raise ValueError(told) from None
    if str(array.dtype) != spec["dtype"] or list(array.shape) != list(spec["shape"]):
        raise ValueError(
            f"{url}: {name} is {array.dtype} {array.shape}, expected {spec['dtype']} "
            f"{tuple(spec['shape'])}; build the shards again"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{url}: {name} has values that are not finite; build the shards again")
    return array


def read_npy(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a view of an array file of exactly this form, or None where it is of another.

    numpy parses the header as Python, which takes longer than all the rest of decoding a segment.
    """
    head = npy_head(dtype, shape)
    kind = np.dtype(dtype)
    if not data.startswith(head) or len(data) != len(head) + kind.itemsize * math.prod(shape):
        return None
    return np.frombuffer(data, kind, offset=len(head)).reshape(shape)


@cache
def npy_head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what a file of such an array begins with."""
    buffer = io.BytesIO()
    form = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, form)
    return buffer.getvalue()


def pcm_of(raw: Raw, samples: int, url: str) -> np.ndarray:
    """Return the sound (N,) of a sample, int16; ValueError where it is absent or not N long."""
    name = f"{url}: {raw['__key__']}.{WAV}"
    if WAV not in raw:
        raise ValueError(f"{name} is missing; build the shards again")
    pcm = decode_pcm(raw[WAV], name)
    if len(pcm) != samples:
        raise ValueError(f"{name} has {len(pcm)} samples, expected {samples}")
    return pcm


def meta_of(raw: Raw, url: str) -> dict[str, Any]:
    """Return the JSON of a sample, with its video id and segment index as its key has them.

    Raises ValueError, naming the file at `url` and the segment, where it is absent or of another.
    """
    video_id, index = split_key(raw["__key__"])
    try:
        meta = json.loads(raw[META])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{url}: {raw['__key__']}.json: not JSON ({error!r:.300})") from None
    if not isinstance(meta, dict) or (meta.get("video_id"), meta.get("segment")) != (
        video_id,
        index,
    ):
        raise ValueError(f"{url}: {raw['__key__']}.json does not describe {video_id}, {index}")
    return meta


def genre_index(genre: object, name: str) -> int:
    """Return the place of a genre in `GENRES`; ValueError, naming the segment, for any other."""
    if genre not in GENRES:
        raise ValueError(
            f"{name}: genre {genre!r}, expected one of {', '.join(GENRES)}; give the genre, or use "
            "a run without it (use_genre=false)"
        )
    return GENRES.index(genre)


def shuffled(items: Iterable[Item], capacity: int, rng: np.random.Generator) -> Iterator[Item]:
    """Yield items in random order through a buffer of `capacity`."""
    held: list[Item] = []
    for item in items:
        if len(held) < capacity:
            held.append(item)
            continue
        i = int(rng.integers(capacity))
        yield held[i]
        held[i] = item
    for i in rng.permutation(len(held)):
        yield held[i]


class TrainingStream:
    """Endless batches from a position on. The last partial batch of an epoch is left out.

    With workers, each takes every n-th batch, so that their turns give the same order as none.

    With several processes the epoch's shards, in their order, are cut into as many equal parts,
    and each process shuffles a part of its own. So all take equally many batches, however unequal
    the shards; no segment comes twice in an epoch; and a process reads the n-th part of the data
    (a shard that a cut goes through is opened by both sides).
    """

    def __init__(
        self, source: Source, batch_size: int, seed: int, capacity: int, start: Position,
        rank: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        shards = source.dataset.splits[source.split]
        if processes > len(shards):
            raise ValueError(
                f"{source.root}: {processes} processes, but split {source.split} has "
                f"{len(shards)} shards; each process reads shards of its own: start at most "
                f"{len(shards)} processes, or train on more data"
            )
        self.share = source.segments // processes
        if self.share < batch_size:
            each = f", {self.share} for each of {processes} processes" if processes > 1 else ""
            raise ValueError(
                f"{source.root}: split {source.split} has {source.segments} segments{each}, fewer "
                f"than one batch of {batch_size}; --set batch_size={self.share} or build more"
            )
        self.source, self.batch_size, self.seed = source, batch_size, seed
        self.capacity, self.start = capacity, start
        self.rank, self.processes = rank, processes
        self.batches_per_epoch = self.share // batch_size
        self.left_out = source.segments - processes * self.batches_per_epoch * batch_size

    def after(self, position: Position) -> Position:
        """Return the position of the batch after the one at `position`."""
        if position.batch + 1 < self.batches_per_epoch:
            return Position(position.epoch, position.batch + 1)
        return Position(position.epoch + 1, 0)

    def plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the epoch's order of shards, and this process' batches (batches, B).

        A batch holds places in its process' part: place 0 is the first segment of the part.
        """
        rng = np.random.default_rng((self.seed, epoch))
        shards = rng.permutation(len(self.source.dataset.splits[self.source.split]))
        places = np.fromiter(shuffled(range(self.share), self.capacity, rng), int, self.share)
        used = self.batches_per_epoch * self.batch_size
        return shards, places[:used].reshape(-1, self.batch_size)

    def read(self, shards: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, Raw]]:
        """Yield (place, sample) of the `wanted` (share,) places, in the order they are stored."""
        first = -self.rank * self.share
        for shard in map(int, shards):
            count = self.source.dataset.splits[self.source.split][shard].segments
            here = wanted[max(first, 0) : max(first + count, 0)]
            numbers = (np.flatnonzero(here) + max(-first, 0)).tolist()
            # Reads the pair of tars to its end, where counts are checked.
            raws = self.source.raw(shard, set(numbers)) if numbers else ()
            for number, raw in zip(numbers, raws, strict=True):
                yield first + number, raw
            first += count

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches of B segments."""
        return self.part(0, 1)

    def part(self, turn: int, turns: int) -> Iterator[Batch]:
        """Yield batch number `turn` and each `turns`-th after it."""
        epoch, first = self.start.epoch, self.start.batch
        while True:
            shards, batches = self.plan(epoch)
            mine = batches[first + turn :: turns]
            wanted = np.zeros(self.share, bool)
            wanted[mine] = True
            raws, held = self.read(shards, wanted), dict[int, Raw]()
            for places in mine.tolist():
                while not all(place in held for place in places):
                    place, raw = next(raws)
                    held[place] = raw
                yield self.source.collate([held.pop(place) for place in places])
            for _ in raws:
                pass
            turn = (turn - len(batches[first:])) % turns
            epoch, first = epoch + 1, 0


def training_batches(
    stream: TrainingStream, workers: int, pin: bool, timeout_s: float = 60.0
) -> Iterator[Batch]:
    """Iterate over the stream's batches of B segments, decoding in `workers` processes (0: here).

    Raises ValueError and OSError, naming the file, where the shards are not as dataset.json says,
    and OSError where a worker dies, or gives no batch and does nothing for `timeout_s`.
    """
    if workers:
        yield from in_turn(stream.part, workers, timeout_s, Batch.pin_memory if pin else None)
    for batch in stream:
        yield batch.pin_memory() if pin else batch


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
