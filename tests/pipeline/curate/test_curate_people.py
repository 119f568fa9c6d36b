"""People in curation: counted by a real small detector, scored from tracks, decided without it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import clicks, write
from compilations import compilation, dance, run
from places import DATA

from pipeline import cli
from pipeline.curate.frames import LIMITS, paced_frames, some_frames
from pipeline.curate.measure import Measure
from pipeline.curate.page import save_page
from pipeline.curate.people import Networks, People, mean_speed, people_scores, whole_bodies
from pipeline.curate.run import Curation
from pipeline.curate.scores import Clip, ClipData, Figure
from pipeline.curate.settings import load_settings
from pipeline.engine.base import Stage
from pipeline.engine.ledger import Ledger
from pipeline.features.motion.body25 import BODY_25
from pipeline.features.pose.detector_torchvision import Detector
from pipeline.media.container import MediaError
from pipeline.media.reader import Video
from pipeline.sources.manifest import Row
from pipeline.sources.synthetic.compilations import write_compilation

PERSONS = str(DATA / "persons_synthetic.safetensors")
SIZE = (200, 300)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compilation of one dancer, two dancers, and a still."""
    root = tmp_path_factory.mktemp("people")
    two = dance(song="mWA2", look=5, dancers=("d02", "d03"), bars="logos", box=(75, 0, 150, 180))
    still = dance(kind="still", dancers=(), look=8)
    write_compilation(compilation("one", dance(), two, still), root)
    return root


@pytest.fixture(scope="module")
def curated(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Curation]:
    out = tmp_path_factory.mktemp("peopled")
    return out, run(source, out, detector=PERSONS)


def test_dancers_are_counted_and_stills_are_out(
    curated: tuple[Path, Curation],
) -> None:
    out, curation = curated
    one, two, still = pq.read_table(out / "tiktok.parquet").to_pylist()
    assert (one["dancers"], two["dancers"], still["dancers"]) == (1, 2, 0)
    assert one["decision"] == two["decision"] == "keep"
    assert still["reason"] == "still" and still["energy"] == 0
    for row in (one, two):
        assert row["whole_body"] > 0.7 and row["energy"] > 0.1
    assert f"counted by --detector {PERSONS}" in curation.people
    page = (out / "tiktok.html").read_text(encoding="utf-8")
    assert curation.people in page and page.count("<rect") >= 8 and "2 dancers, complete in" in page


def test_deciding_again_runs_no_detector_and_no_decoder(
    source: Path, curated: tuple[Path, Curation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr("pipeline.curate.people.look", refuse)
    monkeypatch.setattr(Detector, "setup", refuse)
    thresholds = tmp_path / "t.yaml"
    thresholds.write_text("decide: {max_dancers: 1, min_energy: 9}\n", encoding="utf-8")
    out, before = curated
    for changes in ({"detector": PERSONS}, {"decide_only": True, "source": None}):
        after = run(source, out, thresholds=thresholds, **changes)
        assert after.clips == before.clips and after.people == before.people
        assert [verdict.reason for verdict in after.verdicts][:2] == ["idle", "crowd"]


def test_without_a_detector_nobody_is_judged_by_people_and_that_is_said(
    source: Path, curated: tuple[Path, Curation], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["curate", "--dataset", "tiktok", "--source", str(source / "videos")]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--engine", "local", "--out", str(tmp_path)])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "dancers were not counted (no --detector)" in said
    assert "cut_off" not in said and "idle" not in said
    assert {row["dancers"] for row in pq.read_table(tmp_path / "tiktok.parquet").to_pylist()} == {
        None
    }
    assert "not counted" in (tmp_path / "tiktok.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "given, code, words",
    [
        (["--detector", "none.pth"], 1, "none.pth: no such file"),
        (["--pose-weights", "hrnet_w32_coco"], 2, "needs --detector"),
        (["--overrides", "none.csv"], 1, "none.csv: No such file or directory; check the path"),
        (["--thresholds", "none.yaml"], 1, "none.yaml: No such file or directory; check the path"),
        (["--address", "nonsense"], 2, "nonsense: expected auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_read(
    given: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["curate", "--dataset", "tiktok", "--source", str(tmp_path), "--out"]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, str(tmp_path / "out"), *given])
    assert end.value.code == code and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_engine_finds_all_that_it_asks_of_a_stage() -> None:
    settings = load_settings()
    measured = Measure(Path(), Ledger(Path()), settings.shots, settings.picture)
    people = People(measured, Networks("d", "1"))
    assert all(hasattr(people, name) for name in Stage.__annotations__)
    assert pickle.loads(pickle.dumps(people)) == people
    row = Row("v", "v.mp4", sha256="0" * 64)
    keys = {
        replace(people, networks=networks).key(row)
        for networks in (people.networks, Networks("d", "2"), Networks("d", "1", "p", "3"))
    }
    assert len(keys) == 3 and measured.key(row) not in keys


def seen(boxes: np.ndarray, frames: int, joints: np.ndarray | None = None) -> dict:
    """Return sightings of one person (n, 4), one a frame, six frames a second."""
    count = len(boxes)
    return {
        "times_s": np.arange(frames) / 6,
        "frame": np.arange(count),
        "track": np.zeros(count, int),
        "boxes": np.asarray(boxes, np.float32),
        "joints": np.zeros((count, 0, 3)) if joints is None else joints,
    }


def test_scores_of_a_box_that_walks() -> None:
    steps = np.arange(12)[:, None] * np.array([[5, 0, 5, 0]])
    scores, main = people_scores(seen(np.array([20, 50, 80, 250]) + steps, 12), [], SIZE)
    assert main == 0 and (scores.dancers, scores.whole_body) == (1, 1.0)
    assert scores.energy == pytest.approx(5 * 6 / 200)
    half, _ = people_scores(seen(np.array([20, 50, 80, 250]) + steps, 24), [], SIZE)
    assert half.whole_body == 0.5
    nobody, main = people_scores(seen(np.zeros((0, 4)), 12), [], SIZE)
    assert main is None and (nobody.dancers, nobody.whole_body, nobody.energy) == (0, 0.0, 0.0)


def test_a_body_is_whole_with_a_joint_of_every_part_inside_the_picture() -> None:
    names = ["nose", "left_shoulder", "right_hip", "left_knee", "right_knee", "left_ankle"]
    boxes = np.tile([20.0, 50, 80, 250], (5, 1))
    boxes[3, 3], boxes[4, 1] = 299, 1
    joints = np.ones((5, 6, 3))
    joints[1, 3, 2] = 0
    joints[2, 5, 2] = 0
    np.testing.assert_array_equal(
        whole_bodies(boxes, joints, names, SIZE), [True, True, False, False, False]
    )


def test_joints_that_are_not_sure_do_not_move() -> None:
    points = np.zeros((7, 2, 3))
    points[:, 0, 0], points[:, 0, 2] = np.arange(7), 1
    points[:, 1, 0] = 1000 * np.arange(7)
    assert mean_speed(points, np.arange(7) / 6) == pytest.approx(6)
    assert mean_speed(points[:1], np.zeros(1)) == 0


def test_frames_of_cuts_come_paced_and_cropped(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, Fraction(30), 40, clicks(30000, [100]), 22050, "-c:a", "aac")
    whole = np.stack(list(some_frames(Video(path, LIMITS), range(40), 10_000)))
    height, width = whole.shape[1:3]
    cuts = [(0, 20, (0, 0, width, height)), (20, 40, (8, 4, width - 16, height - 8))]
    first, second = paced_frames(Video(path, LIMITS), cuts, 6, 0.5, 10_000)
    np.testing.assert_allclose(np.diff(first[0]), 1 / 6, atol=1e-6)
    np.testing.assert_array_equal(first[1], whole[[0, 5, 10]])
    np.testing.assert_array_equal(second[1], whole[[20, 25, 30], 4:-4, 8:-8])
    small = next(paced_frames(Video(path, LIMITS), cuts, 6, 0.5, height // 2))
    assert small[1].shape[1] == height // 2
    with pytest.raises(MediaError, match="was the file changed"):
        list(
            paced_frames(Video(path, LIMITS), [*cuts, (60, 80, (0, 0, width, height))], 6, 0.5, 99)
        )


def test_the_page_draws_boxes_and_bones_that_are_sure(tmp_path: Path) -> None:
    body = np.full((25, 3), 0.5, np.float32)
    body[BODY_25.index("left_wrist"), 2] = 0.1
    figures = (Figure(1, (0.25, 0.1, 0.75, 0.9), body, True), Figure(2, (0, 0, 1, 1), None, False))
    clip = Clip("a", "v", "v.mp4", "0", 0.0, 5.0, 0, 125, (0, 0, 9, 16), 1.0, 1.0, 5.0, 9.0, -15.0,
                0.0, -3.0, 0.8, 1, 0.9, 0.4)  # fmt: skip
    from pipeline.curate.decide import Verdict

    verdict = Verdict("keep", song="s", split="train")
    material = ClipData(np.zeros((0, 144)), np.zeros((0, 3)), b"", figures)
    save_page(tmp_path / "p.html", "t", "counted by me", [clip], [material], [verdict], [])
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert '<g class="main"><rect x="1.250" y="0.100" width="0.500" height="0.800"/>' in page
    assert page.count("<line") == 15 and page.count("<rect") == 2
    assert "1 dancers, complete in 90%, 0.40 heights/s" in page and "counted by me" in page
