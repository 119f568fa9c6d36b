"""The curated table: one row per clip, kept or rejected, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from model.contract.files import write_atomic
from pipeline.curate.decide import Verdict
from pipeline.curate.scores import Clip

TEXT = ("id", "video_id", "source", "sha256", "decision", "reason", "detail", "song", "split",
        "family", "duplicate_of", "voices_by", "genre")  # fmt: skip
FLOATS = ("start_s", "end_s", "box_share", "certainty", "motion", "jump_db", "loud_dbfs", "silent",
          "bass_db", "pulse", "whole_body", "energy", "speech", "singing", "music")  # fmt: skip
INTEGERS = ("start_frame", "end_frame", "dancers")


def save_table(path: Path, clips: Sequence[Clip], verdicts: Sequence[Verdict]) -> None:
    """Write the table completely or not at all; scores that were not measured are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for clip, verdict in zip(clips, verdicts, strict=True):
        rows.append(vars(clip) | vars(verdict) | {"id": clip.clip_id, "box": list(clip.box)})
    types = {name: pa.string() for name in TEXT} | {name: pa.float64() for name in FLOATS}
    types |= {name: pa.int64() for name in INTEGERS} | {"box": pa.list_(pa.int32(), 4)}
    order = ["id", "video_id", "source", "sha256", "start_s", "end_s", "start_frame", "end_frame",
             "box", "song", "genre", "split", "family", "dancers", "decision", "reason", "detail",
             "duplicate_of", *FLOATS[2:], "voices_by"]  # fmt: skip
    schema = pa.schema([(name, types[name]) for name in order])
    columns = {name: [row[name] for row in rows] for name in order}
    buffer = BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer)
    write_atomic(path, buffer.getvalue())
