"""The published lists of AIST++: the videos and windows they name, and what a build makes."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from builds import motion_file, options, run
from clips import clicks, write

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.build import BuildOptions, build
from pipeline.media.windows import cut
from pipeline.report.report import Report
from pipeline.sources.aist import (
    CLIP_S,
    SPLITS_BY_NAME,
    dance,
    listed_segments,
    official_split,
    published,
)

LIST = SPLITS_BY_NAME["textual-inversion"]
TWO, ONE = "gBR_sBM_c01_d04_mBR1_ch03", "gHO_sBM_c01_d20_mHO5_ch01"
TEMPI_BPM = (80, 90, 100, 110, 120, 130)
HOUSE_BPM = (110, 115, 120, 125, 130, 135)
WINDOW_S = Fraction(CLIP_S)


def length_s(name: str, song: str) -> Fraction:
    """Return how long a dance is: 16 beats, or 64 (FM), at the tempo that AIST gives its song."""
    tempo_bpm = (HOUSE_BPM if song.startswith("mHO") else TEMPI_BPM)[int(song[-1])]
    return Fraction(60 * (64 if "_sFM_" in name else 16), tempo_bpm)


def test_the_list_of_textual_inversion_has_its_published_numbers() -> None:
    rows, counts = published(LIST), listed_segments(LIST)
    clips: Counter[str] = Counter()
    for name, row in rows.items():
        clips[row["split"]] += counts[name]
    assert clips == {"train": 2744, "val": 36, "test": 36}
    assert Counter(official_split(LIST).values()) == {"train": 980, "val": 20, "test": 20}
    assert official_split(LIST) == official_split("aist")
    songs = {
        part: {row["song_id"] for row in rows.values() if row["split"] == part} for part in clips
    }
    assert len(songs["train"]) == 50 and songs["val"] == songs["test"]
    assert len(songs["val"]) == 10 and not songs["val"] & songs["train"]
    assert {name: row["song_id"] for name, row in rows.items()} == {
        name: row["song_id"] for name, row in published("aist").items()
    }


@pytest.mark.long
def test_the_list_rounds_where_windows_must_be_complete() -> None:
    """The docstring of SPLITS_BY_NAME, and the numbers that docs/guide/aist.md gives."""
    made: Counter[str] = Counter()
    for name, row in published(LIST).items():
        span = (Fraction(0), length_s(name, row["song_id"]))
        listed = listed_segments(LIST)[name]
        assert listed == math.floor(span[1] / WINDOW_S + Fraction(1, 2)), name
        windows, _ = cut(span, span, WINDOW_S)
        assert len(windows) <= listed
        made[row["split"]] += len(windows)
    assert made == {"train": 2238, "val": 26, "test": 26}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two listed videos: one is too short, the other longer than listed."""
    root = tmp_path_factory.mktemp("aist")
    for name, seconds in ((TWO, 5.5), (ONE, 10.4)):
        film(root / "videos" / f"{name}.mp4", seconds)
        motion_file(root / "motions" / f"{dance(name)}.pkl", round(seconds * 60))
    film(root / "videos" / "stranger.mp4", 2.0)
    return root


def film(path: Path, seconds: float) -> None:
    """Write a video of numbered frames at 20 fps: there are 256 numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = clicks(round(seconds * 22050), list(range(len(path.name), 44100, 11025)))
    write(path, Fraction(20), round(seconds * 20), samples, 22050, "-shortest")
    for extra in (path.with_suffix(".rgb"), path.with_suffix(".source.wav")):
        extra.unlink(missing_ok=True)


def asked(source: Path, out: Path, **changes: object) -> BuildOptions:
    plain = {"dataset": "aist", "split": "textual-inversion", "motion": "smpl"}
    return options(source, out, **{**plain, **changes})


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("shards")
    return out, build(asked(source, out))


def test_only_listed_windows_are_made_and_all_others_are_counted(
    built: tuple[Path, Report],
) -> None:
    out, report = built
    dataset = load_dataset(out)
    assert (dataset.window_s, dataset.samples) == ("128/25", 112896)
    assert {split: dataset.segments(split) for split in ("train", "val", "test")} == {
        "train": 1, "val": 1, "test": 0,
    }  # fmt: skip
    saved = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert saved["listed"] == report.listed == {
        "train": {"listed": 2744, "made": 1, "missing": 2743, "unlisted": 0},
        "val": {"listed": 36, "made": 1, "missing": 35, "unlisted": 1},
        "test": {"listed": 36, "made": 0, "missing": 36, "unlisted": 0},
    }  # fmt: skip
    rows = {row["video_id"]: row for row in saved["rows"]}
    assert len(rows) == 1020 + 1 and rows["stranger"]["code"] == "not_in_split"
    assert (rows[TWO]["listed_segments"], rows[TWO]["segments"]) == (2, 1)
    assert (rows[ONE]["segments"], rows[ONE]["unlisted_segments"]) == (1, 1)
    assert "listed segments, val" in report.table() and "missing 35" in report.table()
    assert "2816 clips of 5.12 s are listed, of 1020 videos" in " ".join(saved["notes"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Of the 36 segments that the published list has for val, 35 are missing" in page
    again = Report.load(out)
    assert again.listed == report.listed


def test_a_segment_of_5_12_s_has_112896_samples_and_307_frames(built: tuple[Path, Report]) -> None:
    keys = []
    for path in sorted(built[0].glob("*.tar")):
        for key, members in read_shard(path):
            keys.append(key)
            assert read_wav(members["wav"]).shape == (112896,)
            assert read_npy(members["motion.npy"]).shape == (307, 219)
            assert json.loads(members["json"])["window_s"] == 5.12
    assert keys == [f"{TWO}_seg0001", f"{ONE}_seg0001"]


def test_the_other_split_takes_the_same_windows_without_a_limit(
    source: Path, tmp_path: Path
) -> None:
    report = build(asked(source, tmp_path, split="published", window_s="5.12"))
    assert report.segments == {"train": 1, "val": 2} and report.listed == {}
    assert not any("listed_segments" in row for row in report.rows)
    build(asked(source, tmp_path))
    assert load_dataset(tmp_path).segments("val") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aist", "--split", "textual-inversion", "--window-s", "2"], "lists clips of 5.12 s"),
        (["folder", "--split", "textual-inversion"], "--split goes with --dataset aist"),
    ],
)
def test_the_split_and_another_length_are_one_clear_error(
    arguments: list[str], words: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", "--source", source, "--dataset", *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_changed_list_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import manifests

    text = f"video_id,split,song_id,segments\n{TWO},train,mBR1,0\n"
    (tmp_path / "aist.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(manifests, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"aist\.csv, line 2: segments is '0', expected 1 or more"):
        published("aist")
