"""Read tables from CSV and Parquet files; raise ValueError, with the file's name, if invalid."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a description of each row's place, and its cells by column, stripped of spaces.

    Raises ValueError for wrong columns, for a row with too many or too few cells, and for a file
    that is not CSV in UTF-8.
    """
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if header != list(columns):
                raise ValueError(f"{path}: columns {header!r:.200}, expected {','.join(columns)}")
            for cells in reader:
                line = reader.line_num
                where = f"{path}, line {line}"
                if cells and len(cells) != len(columns):
                    raise ValueError(
                        f"{where}: {len(cells)} cells, expected {len(columns)} fields: "
                        f"{','.join(columns)}"
                    )
                if cells:
                    yield where, {k: v.strip() for k, v in zip(columns, cells, strict=True)}
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: invalid CSV ({error}); correct it") from None


def parquet_rows(path: Path) -> tuple[list[dict[str, Any]], dict[bytes, bytes]]:
    """Return a Parquet file's rows and the metadata of its schema.

    Raises FileNotFoundError if there is no file, and ValueError, with the file's name, if it is
    invalid.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the command that made it again")
    try:
        table = pq.ParquetFile(path).read()
        return table.to_pylist(), dict(table.schema.metadata or {})
    except (pa.ArrowException, OSError, ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(
            f"{path}: not a readable table ({error!s:.300}); run the command that made it again"
        ) from None
