"""The listening test: a report that gives the means, and leaves out who did not listen."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from listening_sets import Clock, Listener

from model.cli import main
from model.listening.plan import (
    ANCHOR,
    CHECK,
    PRACTICE,
    TEST,
    TRUTH,
    load_key,
    load_plan,
)
from model.listening.report import lines, report
from model.listening.serve import create_app


def fill(folder: Path, score_of, raters: int, clock: Clock) -> None:
    """Let listeners answer all their clips by `score_of(rater, meaning)`; None stops them."""
    key = load_key(folder)
    app = create_app(folder, clock)
    for rater in range(raters):
        listener = Listener(app, clock)
        while (item := listener.state()["item"]) is not None:
            score = score_of(rater, key.items[item["id"]])
            if score is None:
                break
            listener.rate(score)
    app.state.store.close()


def honest(rater: int, meaning) -> int:
    if meaning.kind == CHECK:
        return meaning.answer
    return {TRUTH: 5, "high": 4, "low": 3, ANCHOR: 1}[meaning.system]


@pytest.mark.long
def test_a_report_gives_the_means_and_leaves_out_who_did_not_listen(folder, clock, capsys):
    clip = sorted({m.clip for m in load_key(folder).items.values() if m.kind == TEST})[0]

    def score(rater, meaning):
        if rater == 3 and meaning.kind == CHECK:
            return meaning.answer % 5 + 1
        if rater == 4:
            return 3
        if rater == 5:
            return None if meaning.kind == TEST else honest(rater, meaning)
        if rater == 1 and meaning.kind == TEST and meaning.system == "low" and meaning.clip == clip:
            return 5
        if rater == 2 and meaning.kind == PRACTICE:
            return 1
        return honest(rater, meaning)

    fill(folder, score, 6, clock)
    found = report(folder)
    people = found["listeners"]
    assert (people["joined"], people["counted"]) == (6, 3)
    reasons = {p["number"]: p["reasons"] for p in people["each"] if p["reasons"]}
    assert set(reasons) == {4, 5, 6}
    assert reasons[4] == ["missed 2 of 2 attention checks"]
    assert reasons[5][-1] == "gave all 8 clips the score 3"
    assert reasons[6] == ["stopped after 2 of 12 clips"]
    (part,) = found["parts"].values()
    got = {row["system"]: row for row in part["systems"]}
    heard = [clip in {key_clip(folder, item) for item in load_plan(folder).orders[1]}]
    low = (6 * 3 + 2 * heard[0]) / 6
    assert {name: row["mos"] for name, row in got.items()} == {
        TRUTH: 5, "high": 4, "low": pytest.approx(low), ANCHOR: 1,
    }  # fmt: skip
    assert {row["answers"] for row in got.values()} == {6}
    assert got[TRUTH]["interval"] == (5, 5)
    assert {name: row["paper"] for name, row in got.items()} == {
        TRUTH: 4.8, "high": 3.5, "low": 3.7, ANCHOR: None,
    }  # fmt: skip
    assert part["paper_only"] == {"reconstruction": 3.5}
    assert part["anchors_apart"] is True

    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["parts"] == json.loads(
        json.dumps(found["parts"])
    )
    with open(folder / "report.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(r["part"], r["system"]) for r in table] == [
        ("quality", name) for name in (TRUTH, "high", "low", ANCHOR)
    ]
    assert float(table[1]["mos"]) == 4
    with open(folder / "answers.csv", newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == 5 * 12 + 2
    assert sum(int(row["counted"]) for row in answers) == 3 * 8
    assert {row["kind"] for row in answers} == {TEST, PRACTICE, CHECK}

    with pytest.raises(SystemExit) as end:
        main(["mos", "report", "--set", str(folder)])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "6 joined, 3 counted" in printed
    assert "left out   listener 4: missed 2 of 2 attention checks" in printed
    assert "Krippendorff's alpha" in printed
    assert "note: high: untrained: all of it" in printed


def key_clip(folder: Path, item: str) -> str:
    meaning = load_key(folder).items[item]
    return meaning.clip if meaning.system == "low" and meaning.kind == TEST else ""


def test_a_report_says_when_nobody_heard_the_anchors_apart(folder, clock):
    def score(rater, meaning):
        return meaning.answer if meaning.kind == CHECK else 6 - honest(rater, meaning)

    fill(folder, score, 2, clock)
    found = report(folder)
    assert found["parts"]["quality"]["anchors_apart"] is False
    assert any("do not trust this part" in line for line in lines(found))


def test_a_report_of_nothing_says_what_to_do(folder, clock, capsys):
    with pytest.raises(FileNotFoundError, match="model mos serve"):
        report(folder)
    fill(folder, honest, 1, clock)
    found = report(folder)
    row = found["parts"]["quality"]["systems"][0]
    assert (row["mos"], row["interval"], row["interval_listeners"]) == (5, None, None)
    fill(folder, lambda rater, meaning: None, 1, clock)
    assert report(folder)["listeners"]["counted"] == 1
    with pytest.raises(SystemExit) as end:
        main(["mos", "report", "--set", str(folder / "nowhere")])
    assert end.value.code == 1
    assert "model mos prepare" in capsys.readouterr().err


@pytest.mark.long
def test_intervals_of_few_listeners_or_clips_are_called_too_narrow(folder, clock):
    fill(folder, honest, 6, clock)
    found = report(folder)
    for row in found["parts"]["quality"]["systems"]:
        assert (row["listeners"], row["clips"]) == (6, 3)
    few = "note: quality: fewer than 5 listeners or clips: its intervals are too narrow"
    assert few in lines(found)
    for row in found["parts"]["quality"]["systems"]:
        row["clips"] = 5
    assert few not in lines(found)
