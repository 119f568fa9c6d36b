"""report.html and `pipeline report --json`: what they say is what the build did, and no more."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from builds import clip, options
from clips import clicks

import pipeline.report.examples
import pipeline.report.html
from model.contract.dataset import load_dataset
from model.contract.segment import MOTION
from model.contract.shards import read_shard
from pipeline import cli
from pipeline.build import build
from pipeline.engine.timing import StageTime
from pipeline.features.motion.body25 import BODY_25
from pipeline.report.examples import Example, lines, pick, points_of, strip
from pipeline.report.html import page, save_page
from pipeline.report.report import Report
from pipeline.report.spectrogram import HOP, decibels, onsets_s, picture_of

EVIL = "<script>alert(1)</script> & <img src=x onerror=y>.mp4"
"""The slash makes it a folder and a file in it: each a legal name."""
RATE_HZ = 22050


class Reader(HTMLParser):
    """Collects a page's words, the tags in it, and every address that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for name, v in attributes if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Return a data set of three good inputs, two that are too short, and four that fail."""
    folder = tmp_path_factory.mktemp("report")
    source = folder / "in"
    for name in ("a.mp4", EVIL):
        clip(source / name)
    clip(source / "long.mp4", 8.4)
    for name in ("short.mp4", "shorter.mp4"):
        clip(source / name, 1.2)
    clip(source / "silent.mp4", sound=False)
    for name in ("text.mp4", "text\x1b[31m.mp4", "<b>text.mp4", "text4.mp4"):
        (source / name).write_text(f"{name} is no video\n" * 50, encoding="utf-8")
    build(options(source, folder / "out"))
    return folder / "out"


@pytest.fixture
def facts(built) -> dict:
    return json.loads((built / "report.json").read_text(encoding="utf-8"))


def test_report_json_adds_up(facts):
    assert facts["schema"] == 1 and facts["window_s"] == "2"
    assert facts["inputs"] == len(facts["rows"]) == sum(facts["counts"].values()) == 10
    assert facts["counts"] == {"ok": 3, "filtered": 2, "failed": 5}
    ended = {(end["status"], end["code"]): end["count"] for end in facts["ends"]}
    assert ended == {
        ("failed", "undecodable"): 4,
        ("failed", "no_audio"): 1,
        ("filtered", "too_short"): 2,
    }
    assert sum(ended.values()) == facts["counts"]["failed"] + facts["counts"]["filtered"]
    for end in facts["ends"]:
        rows = [row for row in facts["rows"] if row["code"] == end["code"]]
        assert len(rows) == end["count"] and end["meaning"] and not end["retryable"]
        names = ("video_id", "path", "message")
        assert end["examples"] == [{n: row[n] for n in names} for row in rows[:3]]
    held = facts["material"]["train"]
    assert held["segments"] == facts["segments"]["train"] == 2 + 2 + 4
    assert held == {"inputs": 3, "segments": 8, "hours": round(16 / 3600, 4), "songs": 0,
                    "genres": {}, "dancers_seen": {}}  # fmt: skip


def test_the_time_of_every_stage_is_in_it(facts):
    stages = {stage["stage"]: stage for stage in facts["stages"]}
    assert list(stages) == ["extract", "shards"]
    assert stages["extract"]["items"] == stages["extract"]["calls"] == 10
    assert stages["shards"]["items"] == 1
    for stage in stages.values():
        spent_s = stage["busy_s"] + stage["setup_s"] + stage["idle_s"]
        assert spent_s == pytest.approx(stage["workers"] * stage["wall_s"], abs=0.01)
        assert stage["busy_s"] > 0 and stage["items_per_s"] > 0
        assert stage["wall_s"] <= facts["seconds"] + 0.05


def test_workers_of_ray_tell_their_times(engine):
    class Slow:
        name, batch, gpus, limit_s = "slow", 2, 0.0, 0.0

        def setup(self) -> None:
            import time

            time.sleep(0.05)

        def __call__(self, items: list[int]) -> list[int]:
            import time

            time.sleep(0.02)
            return items

    before = len(engine.times)
    assert sorted(engine.run([Slow()], range(7), lambda *_: None)) == list(range(7))
    (spent,) = engine.times[before:]
    assert (spent.stage, spent.items) == ("slow", 7) and spent.calls >= 4
    assert spent.busy_s >= 0.02 * spent.calls
    assert spent.setup_s >= 0.05
    assert spent.workers * spent.wall_s >= spent.busy_s


def test_the_page_says_what_the_report_says(built, facts):
    read = Reader((built / "report.html").read_text(encoding="utf-8"))
    assert "10 inputs" in read.text
    for status, count in facts["counts"].items():
        assert f"{count} {status} " in read.text
    for end in facts["ends"]:
        assert end["code"] in read.words and str(end["count"]) in read.words
        assert end["meaning"] in read.text
        for example in end["examples"]:
            words = example["message"].split(": ", 1)[1].encode("unicode_escape").decode()
            assert words.splitlines()[0] in read.text
    assert "and 1 more, all in report.json" in read.text
    for stage in facts["stages"]:
        assert stage["stage"] in read.words
    assert "train: 4 of its segments" in read.text
    heights = re.findall(
        r'style="height:[\d.]+%"><b>(\d*)</b>', (built / "report.html").read_text(encoding="utf-8")
    )
    assert sum(int(count or 0) for count in heights) == facts["counts"]["ok"]


def test_the_page_loads_nothing_and_runs_nothing(built):
    text = (built / "report.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert "script" not in read.tags and "link" not in read.tags and "\x1b" not in text
    assert read.addresses and all(a.startswith("data:image/") for a in read.addresses)
    assert not re.search(r"https?:|@import|url\(", text)
    assert "<script>alert(1)" in read.text and "<b>text.mp4" in read.text  # as words
    assert r"text\x1b[31m.mp4" in read.text


def test_segments_are_shown_with_picture_and_onsets(built):
    text = (built / "report.html").read_text(encoding="utf-8")
    assert text.count('class="segment"') == 4
    assert text.count("data:image/jpeg") == text.count("data:image/png") == 4
    shown = [int(n) for n in re.findall(r"2 s of sound, (\d+) onsets", text)]
    assert shown == [4, 4, 4, 4]  # a click at every half second


def test_without_the_videos_the_page_says_so(built, tmp_path):
    dataset = load_dataset(built)
    gone = replace(dataset, source=str(tmp_path / "gone"))
    drawn = pipeline.report.examples.figures(built, gone)["train"]
    assert len(drawn) == 4
    assert all("the source video is not here" in figure for figure in drawn)
    assert all("data:image/png" in figure and "jpeg" not in figure for figure in drawn)


def test_a_video_that_cannot_be_read_any_more_takes_its_picture_alone(built, tmp_path):
    dataset = load_dataset(built)
    for path in ("a.mp4", EVIL, "long.mp4"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("<i>not a video any more</i>", encoding="utf-8")
    drawn = pipeline.report.examples.figures(built, replace(dataset, source=str(tmp_path)))["train"]
    assert all("data:image/png" in figure and "jpeg" not in figure for figure in drawn)
    assert all('class="missing"' in figure and "<i>" not in figure for figure in drawn)


def test_a_damaged_shard_is_named_and_the_rest_of_the_page_is_there(built, tmp_path):
    for name in ("report.json", "dataset.json"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    (tmp_path / "train-000000.tar").write_bytes(b"no tar" * 999)
    text = page(tmp_path, Report.load(tmp_path))
    assert "segments cannot be read" in text and "10 inputs" in Reader(text).text


def test_a_page_that_cannot_be_written_fails_nothing(built, tmp_path, capsys):
    report = Report.load(built)
    for name in ("report.json", "dataset.json", "train-000000.tar"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    (tmp_path / "report.html").mkdir()
    assert save_page(tmp_path, report) is None
    assert "report.html: not written" in capsys.readouterr().err


def test_the_command_prints_json_and_writes_the_page_again(built, facts, capsys):
    (built / "report.html").unlink()
    with pytest.raises(SystemExit) as done:
        cli.main(["report", "--shards", str(built), "--json", "--html"])
    assert done.value.code == 0
    assert json.loads(capsys.readouterr().out) == facts
    assert (
        Reader((built / "report.html").read_text(encoding="utf-8")).text.count("undecodable") >= 1
    )


def test_a_stopped_build_has_a_page_of_its_failures(tmp_path, monkeypatch):
    import pipeline.features.run

    monkeypatch.setattr(pipeline.features.run, "STOP_AFTER", 3)
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"{number}.mp4").write_text(
            f"{number} is no video\n" * 50, encoding="utf-8"
        )
    report = build(options(tmp_path / "in", tmp_path / "out", max_failed=0.3))
    assert report.stopped
    text = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "STOPPED" in text and "undecodable" in text and f"{report.counts['left']} left" in text


def test_the_same_command_again_says_that_no_stage_ran(built):
    report = build(options(Path(load_dataset(built).source), built))
    assert report.stages == []
    assert "no stage ran" in (built / "report.html").read_text(encoding="utf-8")
    assert Report.load(built).counts == {"ok": 3, "filtered": 2, "failed": 5}


def test_examples_are_spread_over_a_split_and_few(built):
    shards = load_dataset(built).splits["train"]
    keys = [key for key, _ in read_shard(built / "train-000000.tar")]
    assert [example.key for example in pick(built, shards)] == keys[1::2]
    assert [example.key for example in pick(built, shards, 99)] == keys


@pytest.mark.parametrize("width", [75, 72, 219])
def test_every_layout_of_motion_is_drawn(width):
    motion = np.zeros((60, width), np.float32)
    if width == 75:
        motion.reshape(60, 25, 3)[:] = np.random.default_rng(0).random((60, 25, 3)) * 0.5 + 0.25
    elif width == 72:
        motion[:] = np.random.default_rng(0).random(72)
    else:
        motion[:, 3:] = np.tile(np.eye(3).reshape(9), 24)
    points, bones = points_of(motion)
    drawn = strip(points, bones)
    assert drawn.count("<g>") == 5 and drawn.count("<line") == 5 * len(bones)
    if width == 219:  # standing, arms out: as wide as it is high, feet below the head
        assert points[0, 7, 1] > points[0, 15, 1]
        assert points[0, 22, 0] > 0 > points[0, 23, 0]  # seen from the front: the left is right


def test_joints_not_seen_have_no_bones():
    motion = np.zeros((60, 75), np.float32)
    points, bones = points_of(motion)
    assert "no joint is seen" in strip(points, bones)
    body = motion.reshape(60, 25, 3)
    body[:, BODY_25.index("nose")] = body[:, BODY_25.index("neck")] = (0.1, 0.2, 0.9)
    points, bones = points_of(motion)
    assert lines(points[0], bones).count("<line") == 1
    with pytest.raises(ValueError, match="77 values"):
        points_of(np.zeros((60, 77)))


def test_a_motion_of_an_unknown_layout_takes_its_own_place_alone(built):
    dataset = load_dataset(built)
    (example,) = pick(built, dataset.splits["train"], 1)
    odd = Example(example.key, example.facts, example.pcm, np.zeros((60, 7), np.float32))
    figure = pipeline.report.examples._figure(dataset, odd)
    assert "no layout that is known" in figure and "data:image/png" in figure


def test_untrained_poses_are_labelled(built):
    dataset = load_dataset(built)
    (example,) = pick(built, dataset.splits["train"], 1)
    posed = Example(example.key, example.facts, example.pcm, np.full((60, 75), 0.5, np.float32))
    labelled = replace(
        dataset,
        fields=dataset.fields | {MOTION: {"kind": "mmpose"}},
        untrained=["motion: poses by a network with random weights"],
    )
    assert "UNTRAINED" in pipeline.report.examples._figure(labelled, posed)
    report = Report.load(built)
    report.untrained = list(labelled.untrained)
    assert "UNTRAINED: motion: poses by a network with random weights" in page(built, report)


def test_onsets_are_where_the_clicks_are():
    at = [5000, 12000, 20000, 33000]
    found = onsets_s(clicks(44100, at))
    assert len(found) == 4
    assert np.abs(found - np.array(at) / RATE_HZ).max() <= 3 * HOP / RATE_HZ
    assert not len(onsets_s(np.zeros(44100, np.float32)))
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / RATE_HZ).astype(np.float32)
    assert len(onsets_s(tone)) <= 1  # its beginning, at most


def test_the_spectrogram_shows_a_tone_where_it_is_and_has_an_end():
    tone = np.sin(2 * np.pi * 1000 * np.arange(20 * RATE_HZ) / RATE_HZ).astype(np.float32)
    assert picture_of(tone).shape == (64, 575)
    row = int(picture_of(tone).mean(1).argmax())
    high = int(picture_of(np.sin(2 * np.pi * 4000 * np.arange(44100) / RATE_HZ)).mean(1).argmax())
    assert 0 < row < high < 64
    assert (decibels(np.zeros(44100)) == -80).all()


def test_stage_times_of_a_stranger_are_refused():
    spent = StageTime("extract", 2, 10, 10, 1.0, 5.0, 4.0)
    assert spent.idle_s == 2.0 and StageTime.of(spent.as_dict()) == spent
    for change in ({"busy_s": "much"}, {"busy_s": float("nan")}, {"stage": 7}, {"items": -1}):
        with pytest.raises((ValueError, TypeError)):
            StageTime.of(spent.as_dict() | change)
    with pytest.raises(LookupError):
        StageTime.of({"stage": "extract"})


@pytest.mark.parametrize(
    "change",
    [
        {"stages": [{"stage": "extract"}]},
        {"stages": 3},
        {"seconds": float("nan")},
        {"rows": [{"status": "ok", "split": "train", "segments": -1, "dropped_s": 0}]},
        {"rows": [{"status": "ok", "split": "train", "segments": 1}]},
        {"rows": [{"status": "odd", "stage": "cut", "code": "io"}]},
        {"segments": {"train": "many"}},
    ],
)
def test_a_report_that_is_none_is_refused_by_name(built, facts, tmp_path, change):
    (tmp_path / "dataset.json").write_bytes((built / "dataset.json").read_bytes())
    (tmp_path / "report.json").write_text(json.dumps(facts | change), encoding="utf-8")
    with pytest.raises(ValueError, match=r"report\.json: not a report of pipeline build"):
        Report.load(tmp_path)


def test_a_report_of_before_the_page_is_read(built, facts, tmp_path):
    for name in ("dataset.json", "train-000000.tar"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    old = {k: v for k, v in facts.items() if k not in ("schema", "ends", "material", "stages")}
    old["rows"] = [{k: v for k, v in row.items() if k not in ("song", "genre")}
                   for row in facts["rows"]]  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(old), encoding="utf-8")
    report = Report.load(tmp_path)
    assert report.as_dict()["ends"] == facts["ends"] and report.stages == []
    assert "10 inputs" in Reader(page(tmp_path, report)).text


def test_times_read_again_are_told_the_same():
    told = StageTime("extract", 2, 7, 3, 0.12345, 1.00049, 3.99951).as_dict()
    assert StageTime.of(told).as_dict() == told
    assert told["idle_s"] == round(2 * told["wall_s"] - told["setup_s"] - told["busy_s"], 3)
