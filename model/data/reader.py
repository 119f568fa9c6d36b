"""Read tars of segments member by member, features and codes in parallel."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Container, Iterator, Mapping
from functools import cache
from tokenize import TokenError
from typing import Any, Literal

import numpy as np

from model.contract.segment import GENRES, META, WAV, split_key
from model.contract.storage import UNREADABLE, Location, open_binary
from model.contract.wav import decode_pcm

Raw = dict[str, Any]
"""A sample as read: `__key__`, `__url__` and the bytes of each member by suffix."""
NO_ARRAY = (ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError, TokenError)
"""Exceptions that numpy raises for bytes that are not a .npy file, or claim too much memory."""
STREAM_BYTES = 1 << 18
"""Bytes read at a time from a stream that does not support seeking."""


def read_tar(
    path: Location, wanted: Container[int] | None = None, only: str | None = None
) -> Iterator[Raw]:
    """Yield the samples of one tar in order; ValueError, with the file, if it is damaged.

    Samples whose number (from 0) is not in `wanted` have the right key, but None as members, and so
    have members with another suffix than `only`, if that is given. Their bytes are skipped, without
    being read if the file supports seeking.
    """
    from webdataset.tariterators import group_by_keys

    try:
        with open_binary(path) as file:
            mode: Literal["r:", "r|"] = "r:" if file.seekable() else "r|"
            with tarfile.open(fileobj=file, mode=mode, bufsize=STREAM_BYTES) as tar:
                try:
                    yield from group_by_keys(_members(tar, str(path), wanted, only))
                except (ValueError, MemoryError) as error:  # a duplicate, or too large, member
                    message = next(iter(error.args), type(error).__name__)
                    raise tarfile.ReadError(f"{message!s:.300}") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: listed in dataset.json, but not found; build it again"
        ) from None
    except tarfile.TarError as error:
        raise ValueError(
            f"{path}: damaged tar ({error}); see: pipeline verify --shards {path.parent}"
        ) from None
    except UNREADABLE as error:
        message = getattr(error, "strerror", None) or error
        raise OSError(f"{path}: cannot be read ({message})") from None


def _members(
    tar: tarfile.TarFile, url: str, wanted: Container[int] | None, only: str | None
) -> Iterator[Raw]:
    key, number = None, -1
    while (info := tar.next()) is not None:
        # tarfile would keep an entry for every member that it has read; its stub has no such list.
        tar.members.clear()  # type: ignore[attr-defined]
        if not info.isreg() or info.issparse() or "/" in info.name or info.size < 0:
            raise tarfile.ReadError(
                f"member {info.name!r} is not a regular file at the top level of the tar"
            )
        now, _, suffix = info.name.partition(".")
        if now != key:
            key, number = now, number + 1
        data = None
        if (wanted is None or number in wanted) and only in (None, suffix):
            tar.fileobj.seek(info.offset_data)  # extractfile would add two more buffers
            data = tar.fileobj.read(info.size)
            if len(data) != info.size:
                raise tarfile.ReadError("unexpected end of data")
        yield {"fname": info.name, "data": data, "__url__": url}


def paired(
    features: Location,
    codes: Location | None,
    segments: int,
    wanted: Container[int] | None = None,
) -> Iterator[Raw]:
    """Yield the merged samples of two tars with the same keys in order, or the `wanted` ones.

    Without `codes`, the samples are those of one tar.

    Raises ValueError with the first key that is missing, extra or out of order in either tar.
    """
    left = read_tar(features, wanted)
    right = read_tar(codes, wanted) if codes is not None else None
    seen: set[str] = set()
    while True:
        a = next(left, None)
        b = next(right, None) if right is not None else a
        if a is None and b is None:
            break
        if a is None or b is None or a["__key__"] != b["__key__"]:
            ours, theirs = (x["__key__"] if x else "no more samples" for x in (a, b))
            raise ValueError(
                f"sample {len(seen) + 1}: {features} has {ours}, {codes} has {theirs}; "
                "the keys must be the same in the same order: run pipeline extract-codes again"
            )
        if a["__key__"] in seen:
            raise ValueError(f"{features}: {a['__key__']} appears twice; build it again")
        both = a.keys() & b.keys() if a is not b else ()
        if shared := sorted(name for name in both if not name.startswith("__")):
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
    """Return one array of a sample; `specs` has the required dtype and shape of its suffix.

    Raises ValueError, with the file at `url` and the segment, if the array is missing, has another
    dtype or shape, or has values that are not finite.
    """
    name, spec = f"{raw['__key__']}.{suffix}", specs[suffix]
    if suffix not in raw:
        raise ValueError(f"{url}: {name} is missing; build the shards again")
    array = read_npy(raw[suffix], spec["dtype"], tuple(spec["shape"]))
    if array is None:
        try:
            array = np.load(io.BytesIO(raw[suffix]), allow_pickle=False)
        except NO_ARRAY as error:
            message = f"{url}: {name}: not a valid array ({error!s:.300}); build the shards again"
            raise ValueError(message) from None
    if str(array.dtype) != spec["dtype"] or list(array.shape) != list(spec["shape"]):
        raise ValueError(
            f"{url}: {name} is {array.dtype} {array.shape}, expected {spec['dtype']} "
            f"{tuple(spec['shape'])}; build the shards again"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{url}: {name} has values that are not finite; build the shards again")
    return array


def read_npy(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a view of the array in a .npy file of this dtype and shape; None for any other file.

    numpy parses the header as Python code, which takes longer than the rest of the decoding.
    """
    head = npy_head(dtype, shape)
    kind = np.dtype(dtype)
    if not data.startswith(head) or len(data) != len(head) + kind.itemsize * math.prod(shape):
        return None
    return np.frombuffer(data, kind, offset=len(head)).reshape(shape)


@cache
def npy_head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file with this dtype and shape."""
    buffer = io.BytesIO()
    form = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, form)
    return buffer.getvalue()


def pcm_of(raw: Raw, samples: int, url: str) -> np.ndarray:
    """Return the audio (N,) of a sample, int16; ValueError if it is missing or not N long."""
    name = f"{url}: {raw['__key__']}.{WAV}"
    if WAV not in raw:
        raise ValueError(f"{name} is missing; build the shards again")
    pcm = decode_pcm(raw[WAV], name)
    if len(pcm) != samples:
        raise ValueError(f"{name} has {len(pcm)} samples, expected {samples}")
    return pcm


def song_of(meta: Mapping[str, Any]) -> str:
    """Return the song of a segment, by its JSON; a video without one is a song of its own."""
    return str(meta.get("song") or meta["video_id"])


def meta_of(raw: Raw, url: str) -> dict[str, Any]:
    """Return the JSON of a sample; its video id and segment index are checked against the key.

    Raises ValueError, with the file at `url` and the segment, if the JSON is missing, invalid or
    that of another segment.
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
    """Return the index of a genre in `GENRES`; ValueError, with the segment, for unknown genres."""
    if genre not in GENRES:
        raise ValueError(
            f"{name}: genre {genre!r}, expected one of {', '.join(GENRES)}; give the genre, or use "
            "a run trained without genre (use_genre=false)"
        )
    return GENRES.index(genre)
