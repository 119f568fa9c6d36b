"""The studio's data set and its curated clips: filters, and the CSV of overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builds import built, clip, options
from studios import studio, user_of, wait

from model.studio.curated import OVERRIDES, Curated
from model.studio.data_sets import DataSet
from model.studio.users import Refused
from model.studio.views import inputs_html
from pipeline.curate.decide import Verdict, read_overrides
from pipeline.curate.scores import Clip
from pipeline.curate.table import save_table
from pipeline.engine.base import LocalEngine


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Return a data set of one good video, and one that is too short."""
    folder = tmp_path_factory.mktemp("data")
    clip(folder / "in" / "good.mp4", 4.2)
    clip(folder / "in" / "short.mp4", 1.0)
    built(options(folder / "in", folder / "shards"), LocalEngine())
    return folder / "shards"


def test_segments_and_outcomes_are_found_by_what_they_are(shards):
    data = DataSet(shards)
    assert [s.key for s in data.find()] == ["good_seg0001", "good_seg0002"]
    assert data.choices("split") == ["all", "train"]
    assert data.find(split="test") == [] and len(data.find(split="train")) == 2
    assert data.outcomes() == ["ok", "filtered: too_short"]
    (short,) = data.failed("filtered: too_short")
    assert short.video_id == "short" and "1.0" in short.message
    assert "<b>" not in inputs_html([short.__class__("<b>", "", "", "", "ok", "<b>")])
    assert data.test_videos() == []
    for name in ("good", "../good", None):
        with pytest.raises(Refused):
            data.video(name)


def test_a_video_of_the_test_split_is_offered(shards, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    text = (shards / "dataset.json").read_text(encoding="utf-8")
    facts = json.loads(text)
    facts["splits"] = {"test": facts["splits"]["train"]}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    for path in shards.glob("*.tar"):
        (folder / path.name).write_bytes(path.read_bytes())
    data = DataSet(folder)
    assert data.test_videos() == ["good"] and data.video("good").name == "good.mp4"
    assert data.inputs == [] and data.outcomes() == ["ok"]
    made = studio(tmp_path / "work", start=False)
    made.dataset = data
    upload = made.upload_of_test(user_of(made), "good")
    assert upload.name == "good.mp4" and upload.path.is_relative_to(made.users.work)


@pytest.mark.slow
def test_a_segment_is_drawn_with_its_sound(shards, tmp_path):
    from model.studio.studio import RENDER

    made = studio(tmp_path / "work")
    made.dataset, made.render = DataSet(shards), RENDER
    user = user_of(made)
    job = made.segment(user, "good_seg0002")
    wait(job)
    assert (job.state, job.message) == ("done", "")
    assert made.segment(user, "good_seg0002") is job
    for name in ("preview", "picture"):
        assert made.file(user, job.id, name)[0].stat().st_size > 1000
    with pytest.raises(Refused, match="no such segment"):
        made.segment(user, "../good_seg0002")
    made.queue.close()


@pytest.fixture
def curated(tmp_path) -> Path:
    """Return a folder as pipeline curate writes it: a kept clip and a rejected one."""
    names = {f: 0.0 for f in Clip.__dataclass_fields__}
    texts = {"source": "a.mp4", "video_id": "a", "sha256": "", "genre": "", "voices_by": None}
    clips, verdicts = [], []
    for number, (decision, reason) in enumerate((("keep", ""), ("reject", "still")), 1):
        facts = {**names, **texts, "clip_id": f"a_c{number:03d}", "end_s": 2.0}
        facts |= {"box": (0, 0, 96, 64), "start_frame": 0, "end_frame": 60, "dancers": None}
        clips.append(Clip(**{k: v for k, v in facts.items() if k in names}))
        plain = {f: "" for f in Verdict.__dataclass_fields__}
        verdicts.append(Verdict(**{**plain, "decision": decision, "reason": reason}))
    save_table(tmp_path / "tiktok.parquet", clips, verdicts)
    return tmp_path


def test_the_buttons_write_a_csv_that_curate_reads(curated):
    table = Curated(curated)
    assert [c.id for c in table.find()] == ["a_c001", "a_c002"]
    assert [c.id for c in table.find("reject")] == ["a_c002"] == [c.id for c in table.find("still")]
    assert table.decisions() == ["all", "keep", "reject", "still"]
    table.override("a_c002", "keep")
    table.override("a_c001", " song 7 ")
    known = {"a_c001", "a_c002"}
    assert read_overrides(curated / OVERRIDES, known) == {"a_c001": "song 7", "a_c002": "keep"}
    table.override("a_c001", "")
    assert Curated(curated).overrides() == {"a_c002": "keep"}
    for clip_id, verdict in (("b", "keep"), ("a_c001", "=cmd()"), ("a_c001", "x" * 81),
                             ("a_c001", "a,b"), ("a_c001", "a\nb"), ("../a", "keep")):  # fmt: skip
        with pytest.raises(Refused):
            table.override(clip_id, verdict)
    assert table.overrides() == {"a_c002": "keep"}
    with pytest.raises(Refused, match="not where it was"):
        table.video(table.clip("a_c001"))


def test_a_file_of_other_columns_is_not_overwritten(curated):
    (curated / OVERRIDES).write_text("mine\n1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the columns id,verdict"):
        Curated(curated)


def test_a_folder_without_a_table_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no table of pipeline curate"):
        Curated(tmp_path)
