"""The rows of a report, one for each input: of a build, or from report.parquet."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.engine.lazy import Lazy
from pipeline.engine.outcome import Outcome
from pipeline.sources.manifest import Row
from pipeline.sources.rows import save_groups

if TYPE_CHECKING:
    import pyarrow as pa

ReportRow = Mapping[str, Any]
MAX_JSON_ROWS = 100_000
"""With more inputs, report.json has no rows; they are in report.parquet beside it."""
ROWS_FILE = "report.parquet"
GROUP_ROWS = 4096
"""Rows that are objects at once while the file is written or read: each takes some 1.5 kB."""
INPUT = ("path", "split", "song", "genre")
"""Fields of a manifest row that a report row repeats."""
ENDS = tuple(field.name for field in fields(Outcome))


@dataclass(frozen=True)
class BuiltRows(Lazy[ReportRow]):
    """The rows of a build, each made when it is asked for.

    `outcomes` are in the order of `inputs`; an input without one has the status `pending`.
    """

    inputs: Sequence[Row]
    outcomes: Sequence[Outcome | None]
    pending: str

    def __len__(self) -> int:
        return len(self.inputs)

    def item(self, at: int) -> ReportRow:
        return self._row(self.inputs[at], self.outcomes[at])

    def __iter__(self) -> Iterator[ReportRow]:
        return map(self._row, self.inputs, self.outcomes)

    def _row(self, row: Row, outcome: Outcome | None) -> dict[str, Any]:
        made = {"video_id": row.video_id, **{name: getattr(row, name) for name in INPUT}}
        made |= {"listed_segments": row.listed_segments} if row.listed_segments else {}
        if outcome is None:
            return made | {"status": self.pending}
        return made | {name: getattr(outcome, name) for name in ENDS}


class StoredRows(Lazy[ReportRow]):
    """The rows of a file, each made when it is asked for; a part of the file is in memory at once.

    Raises ValueError where the file turns out to be damaged.
    """

    def __init__(self, path: Path) -> None:
        """Read the file's head; raise ValueError if it is not a table of such rows."""
        import pyarrow.parquet as pq

        self.path = path
        with _readable(path):
            self._file = pq.ParquetFile(path)
            self._file.schema_arrow.empty_table().cast(_schema())
        head = self._file.metadata
        sizes = [head.row_group(k).num_rows for k in range(head.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, at: int) -> ReportRow:
        group = bisect_right(self._starts, at) - 1
        with _readable(self.path):
            table = self._file.read_row_group(group).slice(at - self._starts[group], 1)
            return _known(table.cast(_schema()).to_pylist()[0])

    def __iter__(self) -> Iterator[ReportRow]:
        schema = _schema()
        with _readable(self.path):
            for group in self._file.iter_batches(GROUP_ROWS):
                yield from map(_known, group.cast(schema).to_pylist())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable table ({error!s:.300})") from None


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = dict.fromkeys(("video_id", *INPUT, "status", "stage", "code", "message"), pa.string())
    counts = ("listed_segments", "segments", "audio_tracks", "unlisted_segments")
    lists = dict.fromkeys(("silent_segments", "dancers_seen"), pa.list_(pa.int64()))
    types = {**text, **dict.fromkeys(counts, pa.int64()), **lists, "dropped_s": pa.float64()}
    return pa.schema(list(types.items()))


def save_report_rows(path: Path, rows: Sequence[ReportRow]) -> None:
    """Write rows as Parquet, some at a time; nothing if they were read from that file."""
    import pyarrow as pa

    if isinstance(rows, StoredRows) and rows.path == path:
        return

    schema, source = _schema(), iter(rows)
    groups = iter(lambda: list(islice(source, GROUP_ROWS)), [])
    save_groups(path, schema, (pa.Table.from_pylist(group, schema) for group in groups))
