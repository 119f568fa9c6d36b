"""`pipeline curate` and `build --dataset wild`: labelled videos become segments with genres."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builds import options, run
from compilations import compilation, dance
from places import DATA

from model.contract.dataset import load_dataset
from model.contract.shards import read_shard
from model.contract.wav import read_wav
from model.data.inputs import GENRE
from model.data.reader import genre_index
from model.data.source import Source
from pipeline.build import build
from pipeline.curate.run import CurateOptions, Curation, curate
from pipeline.sources.synthetic.compilations import write_compilation

PERSONS = str(DATA / "persons_synthetic.safetensors")
LONG = {"duration_s": 5.6, "bars": "black"}
PLACES = {"solo": "Ballet/solo.mp4", "mixed": "K-pop/2024/mixed.mp4"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of genres: a solo, a compilation, a broken file, and one without a genre."""
    root = tmp_path_factory.mktemp("wild")
    pair = {"dancers": ("d02", "d03"), "bars": "logos", "box": (75, 0, 150, 180)}
    made = {
        "solo": (dance(**LONG),),
        "mixed": (
            dance(song="mWA2", look=5, **LONG),
            dance(song="mLO3", look=7, duration_s=3.0, bars="black"),
            dance(song="mJB1", look=8, **LONG | pair),
        ),
    }
    for name, clips in made.items():
        write_compilation(compilation(name, *clips), root)
        target = root / "in" / PLACES[name]
        target.parent.mkdir(parents=True)
        shutil.move(root / "videos" / f"{name}.mp4", target)
    (root / "in" / "Ballet" / "broken.mp4").write_bytes(b"no video")
    (root / "in" / "stray.mp4").write_bytes(b"no genre, and never opened")
    return root / "in"


@pytest.fixture(scope="module")
def curated(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Curation]:
    out = tmp_path_factory.mktemp("curated")
    asked = CurateOptions("wild", out, source, detector=PERSONS, engine="local", shots="adaptive")
    return out, curate(asked)


@pytest.mark.long
def test_single_dancers_of_5_12_s_are_kept_with_their_genre(
    curated: tuple[Path, Curation],
) -> None:
    out, curation = curated
    rows = pq.read_table(out / "wild.parquet").to_pylist()
    assert [(row["source"], row["genre"], row["reason"]) for row in rows] == [
        (PLACES["solo"], "Ballet", ""),
        (PLACES["mixed"], "K-pop", ""),
        (PLACES["mixed"], "K-pop", "too_short"),
        (PLACES["mixed"], "K-pop", "crowd"),
    ]
    ends = {row["path"]: (row["status"], row["code"]) for row in curation.report.rows}
    assert ends == {
        PLACES["solo"]: ("ok", ""),
        PLACES["mixed"]: ("ok", ""),
        "Ballet/broken.mp4": ("failed", "undecodable"),
        "stray.mp4": ("filtered", "no_genre"),
    }
    assert re.search(r"kept, genre Ballet +1\n +kept, genre K-pop +1\n", curation.table())
    kept = [verdict for verdict in curation.verdicts if verdict.decision == "keep"]
    assert len({verdict.song for verdict in kept}) == 2
    # Each song stays with the one most like it, so two songs are one family, which is trained on.
    assert [verdict.split for verdict in kept] == ["train", "train"]
    assert "genre K-pop" in (out / "wild.html").read_text(encoding="utf-8")
    again = curate(CurateOptions("wild", out, engine="local", decide_only=True))
    assert again.clips == curation.clips and again.verdicts == curation.verdicts


@pytest.fixture(scope="module")
def built(
    source: Path, curated: tuple[Path, Curation], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("shards")
    asked = options(source, out, dataset="wild", curated=curated[0], motion="none")
    report = build(asked)
    codes = {row["path"]: row["code"] for row in report.rows if row["code"] != "rejected_crowd"}
    assert codes["stray.mp4"] == "no_genre" and codes["Ballet/broken.mp4"] == "undecodable"
    assert report.counts == {"ok": 2, "filtered": 3, "failed": 1}
    genres = [held["genres"] for held in report.material.values()]
    assert sorted(name for held in genres for name in held) == ["Ballet", "K-pop"]
    return out


def facts_of(out: Path) -> list[dict]:
    found = []
    for path in sorted(out.glob("*.tar")):
        for _, members in read_shard(path):
            assert read_wav(members["wav"]).shape == (112896,)
            found.append(json.loads(members["json"]))
    return found


@pytest.mark.long
def test_segments_have_5_12_s_and_the_users_own_genre(built: Path) -> None:
    dataset = load_dataset(built)
    assert (dataset.name, dataset.window_s) == ("wild", "128/25")
    facts = {one["source"]: one for one in facts_of(built)}
    assert {path: one["genre"] for path, one in facts.items()} == {
        PLACES["solo"]: "Ballet",
        PLACES["mixed"]: "K-pop",
    }
    assert all(one["dancers_seen"] == 1 and one["song"] for one in facts.values())


@pytest.mark.long
def test_another_genre_is_an_error_only_where_a_model_takes_the_genre(built: Path) -> None:
    dataset = load_dataset(built)
    split = next(name for name in dataset.splits if dataset.segments(name))
    plain, asking = (Source(built, dataset, split, "", {}, names) for names in ([], [GENRE]))
    (raw, *_) = plain.raw(0)
    meta, arrays = plain.decode(raw)
    assert meta["genre"] in ("Ballet", "K-pop") and GENRE not in arrays
    assert np.abs(arrays["wav"]).max() > 0
    with pytest.raises(ValueError, match=r"genre '(Ballet|K-pop)', expected one of BR, PO"):
        asking.decode(raw)
    assert genre_index("PO", "a") == 1


@pytest.mark.long
@pytest.mark.parametrize("where", ["none", "other"])
def test_without_the_table_of_these_videos_the_build_says_what_to_run(
    where: str, source: Path, curated: tuple[Path, Curation], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.mp4").touch()
    given = [] if where == "none" else ["--source", ".", "--curated", curated[0]]
    assert run("build", "--dataset", "wild", *given) == 1
    said = capsys.readouterr().err
    assert "pipeline curate --dataset wild --source" in said
    assert ("no such table" if where == "none" else "is of other videos") in said
