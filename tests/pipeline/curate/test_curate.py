"""`pipeline curate` from end to end: every input accounted for, resumed, decided again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from compilations import clip, compilation, dance, run

from pipeline.curate.decide import REASONS, decide, read_overrides
from pipeline.curate.run import Curation
from pipeline.curate.scores import SongMatch
from pipeline.curate.settings import load_settings
from pipeline.sources.synthetic.compilations import plan, truth_of
from pipeline.sources.synthetic.compilations import write_compilation as write

LIMITS = load_settings().decide


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two compilations and a file that is no video."""
    root = tmp_path_factory.mktemp("curate")
    head = dance(kind="talking_head", song="", dancers=(), look=3)
    again = dance(duplicate_of="one/0", gain_db=-12.0, crop=0.04, softened=True, bars="black")
    write(compilation("one", dance(), head), root)
    write(compilation("two", again, dance(song="mWA2", look=5, bars="logos")), root)
    (root / "videos" / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def curated(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Curation]:
    out = tmp_path_factory.mktemp("curated")
    return out, run(source, out)


def test_clips_are_cut_boxed_grouped_and_explained(curated: tuple[Path, Curation]) -> None:
    out, curation = curated
    rows = pq.read_table(out / "tiktok.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["one_c001", "one_c002", "two_c001", "two_c002"]
    assert [row["reason"] for row in rows] in (
        ["", "speech", "duplicate", ""],
        ["duplicate", "speech", "", ""],
    )
    for row in rows:
        np.testing.assert_allclose(row["box"], (100, 0, 100, 180), atol=3)
        assert row["dancers"] is row["whole_body"] is row["energy"] is None
        assert (row["decision"] == "keep") == bool(row["song"]) == bool(row["split"])
    assert rows[1]["start_s"] == pytest.approx(2.4, abs=0.09)
    assert rows[1]["end_s"] == pytest.approx(4.8, abs=0.09)
    counts = {row["video_id"]: (row["status"], row["code"]) for row in curation.report.rows}
    assert counts["broken"] == ("failed", "undecodable")
    assert {counts["one"], counts["two"]} <= {("ok", ""), ("filtered", "no_clip")}
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["inputs"] == 3
    page = (out / "tiktok.html").read_text(encoding="utf-8")
    assert "http" not in page and "one_c001" in page and REASONS["speech"] in page


def test_another_threshold_decodes_nothing(
    source: Path, curated: tuple[Path, Curation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = curated

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("pipeline.curate.measure.measure", refuse)
    thresholds = tmp_path / "t.yaml"
    thresholds.write_text("decide: {speech_bass_db: -90}\n", encoding="utf-8")
    for changes in ({}, {"decide_only": True, "source": None}):
        after = run(source, out, thresholds=thresholds, **changes)
        assert after.clips == before.clips
        assert "speech" not in {verdict.reason for verdict in after.verdicts}
    assert run(source, out).verdicts == before.verdicts


def test_a_killed_run_goes_on_and_ends_the_same(
    source: Path, curated: tuple[Path, Curation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.curate import measure as module

    done: list[str] = []
    real = module.measure

    def dies(path: Path, *settings: object) -> object:
        if len(done) == 1 and path.stem == "two":
            done.append("killed")
            raise KeyboardInterrupt
        done.append(path.stem)
        return real(path, *settings)

    monkeypatch.setattr(module, "measure", dies)
    kept = [path for path in (source / "videos").iterdir() if path.stem in ("one", "two")]
    folder = tmp_path / "source"
    (folder / "videos").mkdir(parents=True)
    for path in kept:
        (folder / "videos" / path.name).symlink_to(path)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    after = run(folder, tmp_path / "out")
    assert done == ["one", "killed", "two"]
    assert after.verdicts == curated[1].verdicts


@pytest.mark.parametrize(
    "reason, changes",
    [
        ("too_short", {"end_s": 1.0}),
        ("too_long", {"end_s": 500.0}),
        ("silent", {"loud_dbfs": -70.0}),
        ("silent", {"silent": 0.9}),
        ("speech", {"bass_db": -30.0, "pulse": 0.1}),
        ("voice_over", {"speech": 0.9, "singing": 0.2, "music": 1.0}),
        ("still", {"motion": 0.0}),
        ("small_picture", {"box_share": 0.01}),
        ("no_dancer", {"dancers": 0}),
        ("crowd", {"dancers": 6}),
        ("cut_off", {"dancers": 1, "whole_body": 0.1}),
        ("idle", {"dancers": 1, "energy": 0.01}),
    ],
)
def test_every_reason_and_every_override(reason: str, changes: dict) -> None:
    clips = [clip("a", **changes), clip("b")]
    first, second = decide(clips, [], LIMITS, {})
    assert (first.decision, first.reason, first.song) == ("reject", reason, "") and first.detail
    assert second.decision == "keep"
    kept = decide(clips, [], LIMITS, {"a": "keep", "b": "reject"})
    assert [v.decision for v in kept] == ["keep", "reject"] and kept[1].reason == "by_hand"
    assert decide(clips, [], LIMITS, {"a": "Savage"})[0].song == "Savage"


def test_duplicates_go_and_songs_stay_on_one_side() -> None:
    clips = [clip("a"), clip("b", end_s=6.0), clip("c"), clip("d")]
    alike = [SongMatch(0, 1, 0.9, 0.05), SongMatch(1, 2, 0.9, 0.45), SongMatch(0, 2, 0.9, 0.4)]
    verdicts = decide(clips, alike, LIMITS, {})
    assert [v.reason for v in verdicts] == ["duplicate", "", "", ""]
    assert verdicts[0].duplicate_of == "b"
    assert verdicts[1].song == verdicts[2].song != verdicts[3].song
    assert verdicts[1].split == verdicts[2].split
    named = decide(clips, alike, LIMITS, {"c": "Savage", "a": "keep"})
    assert [v.song for v in named[:3]] == ["Savage", "", "Savage"]


def test_overrides_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"

    def write_rows(*rows: tuple[str, ...]) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    write_rows(("id", "verdict"), ("a", "keep"))
    assert read_overrides(path, {"a"}) == {"a": "keep"}
    for rows, words in [
        ((("id", "what"),), "expected id,verdict"),
        ((("id", "verdict"), ("x", "keep")), "is not a clip"),
        ((("id", "verdict"), ("a", "")), "has no verdict"),
        ((("id", "verdict"), ("a", "keep"), ("a", "reject")), "twice"),
    ]:
        write_rows(*rows)
        with pytest.raises(ValueError, match=words):
            read_overrides(path, {"a"})


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs --source"):
        run(tmp_path, tmp_path / "out", source=None)
    with pytest.raises(FileNotFoundError, match="nothing was measured"):
        run(tmp_path, tmp_path / "out", decide_only=True)


@pytest.mark.long
def test_compilations_are_planned_one_by_one_and_written_alike(tmp_path: Path) -> None:
    assert plan(5, 3)[:2] == plan(2, 3) != plan(2, 4)
    for spec in plan(6, 3):
        assert 3 <= len(spec.clips) <= 12
        for clip_spec, frames in zip(spec.clips, np.diff(spec.cuts), strict=True):
            assert frames == round(clip_spec.duration_s * spec.fps)
            x, y, w, h = clip_spec.box
            assert 0 <= x < x + w <= spec.width_px and 0 <= y < y + h <= spec.height_px
            assert len(clip_spec.dancers) <= 5
    spec = compilation("same", dance(duration_s=0.6))
    for folder in ("a", "b"):
        write(spec, tmp_path / folder)
    first, second = (tmp_path / f / "videos" / "same.mp4" for f in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    stored = json.loads((tmp_path / "a" / "truth" / "same.json").read_text(encoding="utf-8"))
    assert stored == truth_of(spec) and stored["cuts"] == [0, 15]
