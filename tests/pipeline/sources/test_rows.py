"""Rows in columns: the same rows come back, one by one, all, and from the file."""

from __future__ import annotations

import pytest

import pipeline.sources.rows
from pipeline.engine.outcome import Outcome
from pipeline.engine.outcomes import Outcomes
from pipeline.sources.hashing import hash_inputs
from pipeline.sources.listing import source_files
from pipeline.sources.manifest import Row, load
from pipeline.sources.rows import Rows, repeated, save_rows


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(pipeline.sources.rows, "CHUNK", 3)
    hashes = {0: "0f" * 32, 1: "a1" * 32, 4: "A1" * 32, 5: "b2" * 32}  # one is no SHA-256 of ours
    plain = [Row(f"v{(7 * k) % 10}", f"é{k}.mp4", sha256=hashes.get(k, "")) for k in range(8)]
    clip = Row(
        "c", "c.mp4", "test", dancers=("a", "b"), start_s="1/3", stop_s="2", box=(0, 1, 2, 3)
    )
    return [*plain, clip, Row("m", "m.mp4", dancers_seen=2, bytes=5, listed_segments=1)]


def test_rows_come_back_as_they_were(rows, tmp_path):
    columns = Rows.of(iter(rows))
    assert len(columns) == len(rows) and list(columns) == rows == columns[:]
    assert [columns[k] for k in range(len(rows))] == rows and columns[-1] == rows[-1]
    with pytest.raises(IndexError):
        columns[len(rows)]
    assert [rows[k] for k in columns.sorted_by("video_id")] == sorted(
        rows, key=lambda r: r.video_id
    )
    save_rows(tmp_path / "rows.parquet", columns, "/in")
    assert load(tmp_path / "rows.parquet") == (rows, "/in")
    assert list(Rows.of([])) == [] and len(Rows.of([])) == 0


def test_repeated_texts_are_found(monkeypatch):
    assert repeated(lambda: ["a", "b", "a", "c"]) == {"a"} and repeated(lambda: []) == set()
    monkeypatch.setattr(pipeline.sources.rows, "hash", lambda text: 1, raising=False)
    assert repeated(lambda: ["a", "b", "a", "c"]) == {"a"}  # of texts with the same hash


def test_two_rows_with_one_id_are_refused(tmp_path):
    rows = [Row("a", "x.mp4"), Row("b", "y.mp4"), Row("a", "z.mp4")]
    with pytest.raises(ValueError, match=r"x\.mp4 and z\.mp4 have the same id: rename one"):
        hash_inputs(tmp_path, tmp_path, rows)


def test_files_are_listed_in_the_order_of_their_paths(tmp_path):
    for name in ("b.mp4", "a/x.mp4", "a-b/x.mp4", "a/b/y.mp4", "a.mp4", "A.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, _ = source_files(tmp_path)
    assert found == sorted(found) and len(found) == 6


def test_outcomes_come_back_as_they_were():
    ends = [
        Outcome("ok", segments=3, dropped_s=0.25, silent_segments=(1, 3), audio_tracks=2),
        None,
        Outcome("failed", "cut", "no_audio", "x: no sound"),
        Outcome("ok", segments=1, dancers_seen=(2,), unlisted_segments=4),
    ]
    columns = Outcomes(len(ends))
    for number, end in enumerate(ends):
        columns[number] = end
    assert list(columns) == ends == columns[:] and columns.left == 1
    assert [columns.status(k) for k in range(4)] == ["ok", "", "failed", "ok"]
