"""Rows of a manifest as Arrow columns: some 100 bytes for each, where a Row object takes 800."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.contract.files import atomic_file
from pipeline.engine.lazy import Lazy
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CHUNK = 4096
"""Rows that are turned into objects at once."""
GROUP = 2
"""Chunks in a row group of a Parquet file."""
DEFAULTS: dict[str, Any] = {f.name: getattr(Row("", ""), f.name) for f in fields(Row)}
TUPLES = ("dancers", "box")
HASHES, SHA256_BYTES = ("sha256", "motion_sha256"), 32
"""Columns that are kept as bytes, half of their digits; null where a row has no hash."""
SHA256 = re.compile("[0-9a-f]{64}")
Chunk = Mapping[str, "pa.Array"]
"""The columns of some rows; those in which every row has the default are left out."""


class Rows(Lazy[Row]):
    """Rows in columns; a Row is made when it is asked for. Going through all of them is fastest."""

    def __init__(self, chunks: Iterable[tuple[int, Chunk]]) -> None:
        """`chunks` are numbers of rows and their columns; all but the last have CHUNK rows."""
        self.chunks = list(chunks)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """Return the rows in columns; an iterator is read piece by piece."""
        if isinstance(rows, Rows):
            return rows
        cells = ([getattr(row, name) for name in DEFAULTS] for row in rows)
        return cls.of_columns(tuple(DEFAULTS), cells)

    @classmethod
    def of_columns(cls, names: Sequence[str], cells: Iterable[Sequence[Any]]) -> Rows:
        """Return rows that differ from the default in these columns only: no Row is made."""
        _use_system_memory()
        source = iter(cells)
        groups = iter(lambda: list(islice(source, CHUNK)), [])

        def chunk(group: Sequence[Sequence[Any]]) -> tuple[int, Chunk]:
            columns: dict[str, Any] = {}
            for name, column in zip(names, zip(*group, strict=True), strict=True):
                columns |= column_of(name, column)
            return len(group), columns

        return cls(map(chunk, groups))

    def __len__(self) -> int:
        return CHUNK * (len(self.chunks) - 1) + self.chunks[-1][0] if self.chunks else 0

    def item(self, at: int) -> Row:
        number, k = divmod(at, CHUNK)
        _, chunk = self.chunks[number]
        one = {name: column.slice(k, 1) for name, column in chunk.items()}
        return Row(**{**DEFAULTS, **{name: values(one, name, 1)[0] for name in one}})

    def __iter__(self) -> Iterator[Row]:
        for size, chunk in self.chunks:
            yield from _rows(size, chunk)

    def column(self, name: str) -> Iterator[Any]:
        """Yield one value of every row."""
        for size, chunk in self.chunks:
            yield from values(chunk, name, size)

    def sorted_by(self, name: str) -> np.ndarray:
        """Return the numbers of the rows in the order of a column of text, uint64 (N,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [_filled(chunk, name, size) for size, chunk in self.chunks]
        order = pc.sort_indices(pa.chunked_array(columns, pa.string()))  # by UTF-8: as Python does
        return order.to_numpy(zero_copy_only=False)

    def save(self, path: Path, metadata: Mapping[bytes, bytes] | None = None) -> None:
        """Write the rows as Parquet, atomically and in groups."""
        import pyarrow as pa

        schema = pa.schema([(name, _type(name)) for name in DEFAULTS]).with_metadata(
            dict(metadata) if metadata else None
        )
        groups = (self.chunks[at : at + GROUP] for at in range(0, len(self.chunks), GROUP))
        save_groups(path, schema, (_table(group, schema) for group in groups))


def save_rows(path: Path, rows: Sequence[Row], root: str = "") -> None:
    """Write rows as Parquet; `root` is the folder to which their paths are relative."""
    Rows.of(rows).save(path, {b"root": os.fsencode(root)} if root else None)


def save_groups(path: Path, schema: pa.Schema, groups: Iterable[pa.Table]) -> None:
    """Write tables as the row groups of a Parquet file, atomically."""
    import pyarrow.parquet as pq

    with atomic_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for group in groups:
            writer.write_table(group)


def values(chunk: Chunk, name: str, size: int) -> list[Any]:
    """Return one column of a chunk as Python values."""
    if name not in chunk:
        return [DEFAULTS[name]] * size
    found = chunk[name].to_pylist()
    if name in TUPLES:
        return [tuple(value) for value in found]
    if name in HASHES and _is_packed(chunk[name]):
        return [value.hex() if value else "" for value in found]
    return found


def column_of(name: str, found: Sequence[Any]) -> Chunk:
    """Return a chunk of one column; of none if all its values are the default."""
    import pyarrow as pa

    default = DEFAULTS[name]
    if all(value == default for value in found):
        return {}
    if name in HASHES and all(not text or SHA256.fullmatch(text) for text in found):
        packed = [bytes.fromhex(text) if text else None for text in found]
        return {name: pa.array(packed, pa.binary(SHA256_BYTES))}
    return {name: pa.array(found, _type(name))}


def _is_packed(column: pa.Array) -> bool:
    import pyarrow as pa

    return pa.types.is_fixed_size_binary(column.type)


def repeated(texts: Callable[[], Iterable[str]]) -> set[str]:
    """Return the texts that occur more than once; `texts` is called once or twice.

    It takes 8 bytes of memory for each text, not the text.
    """
    import numpy as np

    hashes = np.fromiter(map(hash, texts()), np.int64)
    hashes.sort()
    doubled = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not doubled:
        return set()
    counts = Counter(text for text in texts() if hash(text) in doubled)
    return {text for text, count in counts.items() if count > 1}


@cache
def _use_system_memory() -> None:
    """Let the system allocate columns: Arrow's own allocator keeps half as much again."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def _rows(size: int, chunk: Chunk) -> list[Row]:
    columns = [values(chunk, name, size) for name in DEFAULTS]
    return [Row(*cells) for cells in zip(*columns, strict=True)]


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    types = {"dancers": pa.list_(pa.string()), "box": pa.list_(pa.int32())}
    types |= dict.fromkeys(("bytes", "dancers_seen", "listed_segments"), pa.int64())
    return types.get(name, pa.string())


def _filled(chunk: Chunk, name: str, size: int) -> pa.Array:
    import pyarrow as pa

    if name in chunk and not _is_packed(chunk[name]):
        return chunk[name]
    return pa.array(values(chunk, name, size), _type(name))


def _table(chunks: Sequence[tuple[int, Chunk]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = [[_filled(chunk, name, size) for size, chunk in chunks] for name in DEFAULTS]
    return pa.table([pa.chunked_array(c, _type(n)) for n, c in zip(DEFAULTS, columns, strict=True)],
                    schema=schema)  # fmt: skip
