"""A large build that is finished: the same command finds that out without looking at each result.

Beside the rows in report.parquet, `.work/finished.json` records for which manifest and settings
they hold. If both are the same again, and every tar is whole, there is nothing to do. In a smaller
build, and if anything differs, each result is looked up.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from model.contract.dataset import Dataset
from model.contract.files import sha256_of, write_atomic
from model.contract.segment import SCHEMA
from model.contract.shards import check_whole, json_bytes
from pipeline.engine.ledger import JUDGED_BY
from pipeline.engine.outcome import RETRYABLE
from pipeline.features.plan import Settings
from pipeline.report.report import Report
from pipeline.report.rows import MAX_JSON_ROWS, ROWS_FILE, StoredRows
from pipeline.sources.manifest import Row

VERSION = 1
"""Raise it when the same stored results give another report or other tars."""
FILE = Path(".work") / "finished.json"
PROBES = (
    Row("a", "a.mp4", sha256="0" * 64, motion="a", motion_sha256="1" * 64),
    Row("a", "a.mp4", sha256="0" * 64, start_s="1", stop_s="4", box=(0, 0, 8, 8)),
)
"""Rows whose keys stand for those of all rows: a key depends on the row and the settings alone."""


def finished_rows(
    out: Path, settings: Settings, before: Dataset, planned: Dataset
) -> StoredRows | None:
    """Return the rows of the report of the same build, if it is finished; otherwise None.

    `before` is what `out` holds, `planned` the description of the build, without its tars.
    """
    try:
        noted = json.loads((out / FILE).read_text(encoding="utf-8"))
        if noted != _note(out, settings, planned):
            return None
        for shard in (shard for shards in before.splits.values() for shard in shards):
            check_whole(out / shard.name, shard)
        return StoredRows(out / ROWS_FILE)
    except (OSError, ValueError):
        return None


def note_finished(out: Path, settings: Settings, planned: Dataset, report: Report) -> None:
    """Record that a build is finished, if it is large and no input is to be tried again."""
    again = any(code in RETRYABLE for _, _, code in report.tally.ends)
    if len(report.rows) > MAX_JSON_ROWS and not again and _keys_are_ours(settings):
        write_atomic(out / FILE, json_bytes(_note(out, settings, planned)))


def _note(out: Path, settings: Settings, planned: Dataset) -> dict[str, str]:
    keys = [settings.key(stage, row) for stage in settings.stages() for row in PROBES]
    parts = [VERSION, SCHEMA, JUDGED_BY, keys, planned.fields, planned.build, planned.untrained]
    return {
        "settings": hashlib.sha256(json_bytes(parts)).hexdigest(),
        "manifest": sha256_of(out / "manifest.parquet"),
        "rows": sha256_of(out / ROWS_FILE),
    }


def _keys_are_ours(settings: Settings) -> bool:
    """Return whether no feature computes its keys itself: they could depend on other files."""
    return all(type(one).key.__module__.startswith("pipeline.") for one in settings.made)
