"""Names and paths made to harm: those that are hard come through, those that lead away do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builds import ENGINES, built, clip, ends, options
from clips import as_listed, clicks
from hostile_parts import box

import pipeline.build
import pipeline.features.run
from model.contract.shards import read_shard
from model.contract.wav import wav_bytes
from pipeline.engine.base import LocalEngine
from pipeline.features.plan import Settings
from pipeline.media.ffmpeg import mux
from pipeline.sources import manifest
from pipeline.sources.hashing import hash_inputs
from pipeline.sources.manifest import Row
from pipeline.sources.rows import save_rows

NAMES = (
    "two words",
    "'single' \"double\"",
    "two\nlines",
    "-dash",
    as_listed("日本語 é"),
    "%03d #?:",
    "$(touch x)",
)


@pytest.mark.parametrize("where", ["../secret.mp4", "{absolute}", "a/../../secret.mp4"])
def test_a_row_outside_its_root_is_never_opened(tmp_path, where):
    clip(tmp_path / "in" / "a.mp4", 2.1)
    (tmp_path / "in" / "a").mkdir()
    secret = clip(tmp_path / "secret.mp4", 2.2)
    path = where.format(absolute=secret)
    assert (tmp_path / "in" / path).is_file()
    rows = [Row("a", "a.mp4"), Row("b", path), Row("c", "a.mp4", motion="../secret.mp4")]
    save_rows(tmp_path / "rows.parquet", rows)
    rows, _ = manifest.load(tmp_path / "rows.parquet")
    rows = hash_inputs(tmp_path / "in", tmp_path / "in", rows)
    assert [row.known_code for row in rows] == ["", "outside_root", "outside_root"]
    assert [bool(row.sha256) for row in rows] == [True, False, False]
    settings = Settings(tmp_path / "in", tmp_path / "in", tmp_path / "work")
    outcomes = pipeline.features.run.extract(settings, rows, LocalEngine(), 1.0)
    assert [o.code for o in outcomes] == ["", "outside_root", "outside_root"]
    assert "leaves the source folder" in outcomes[1].message


@pytest.mark.parametrize("chosen", ENGINES, indirect=True)
def test_hard_names_come_through(tmp_path, chosen):
    source = tmp_path / "in put"
    first = clip(source / "plain.mp4", 2.1).read_bytes()
    for k, name in enumerate(NAMES):
        (source / f"{name}.mp4").write_bytes(first + box(b"free", bytes(k + 1)))
    report = built(options(source, tmp_path / "out 'put'"), chosen)
    assert set(ends(report).values()) == {"ok"} and len(report.rows) == len(NAMES) + 1
    found = dict(read_shard(tmp_path / "out 'put'" / "train-000000.tar"))
    assert {json.loads(m["json"])["source"] for m in found.values()} == {
        f"{name}.mp4" for name in ("plain", *NAMES)
    }
    assert not list(tmp_path.rglob("x"))
    assert all(line.isprintable() for line in report.table().splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_hard_names_are_muxed_and_written(tmp_path, name, monkeypatch):
    video = clip(tmp_path / f"{name}.mp4", 2.1)
    sound = tmp_path / f"{name}.wav"
    sound.write_bytes(wav_bytes((clicks(44100, [99]) * 32767).astype(np.int16)))
    mux(video, sound, 0, tmp_path / f"out {name}.mp4")
    monkeypatch.chdir(tmp_path)  # a leading dash is most harmful in a relative name
    mux(Path(f"{name}.mp4"), Path(f"{name}.wav"), 0, Path(f"{name} again.mp4"))
    one, two = (tmp_path / f"out {name}.mp4", tmp_path / f"{name} again.mp4")
    assert one.read_bytes() == two.read_bytes() and one.stat().st_size > 1000
