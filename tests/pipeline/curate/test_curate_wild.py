"""What `pipeline curate --dataset wild` does otherwise: genres, thresholds, videos kept whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from builds import run
from compilations import clip

from pipeline.curate.decide import decide
from pipeline.curate.genres import label, read_genres
from pipeline.curate.scores import SongMatch
from pipeline.curate.settings import load_settings
from pipeline.sources.manifest import Row, checked, ended_early, video_id
from pipeline.sources.song_split import songs_for_test, split_of

WILD = load_settings(dataset="wild").decide
PATHS = ("Ballet/a.mp4", "Ballet/more/b.mov", "K-pop/a.mp4", "c.mp4")


def rows(*paths: str) -> list[Row]:
    return [Row(video_id(Path(path)), path) for path in paths]


def genres_file(folder: Path, text: str) -> Path:
    path = folder / "genres.csv"
    path.write_text(text, encoding="utf-8")
    return path


def found(labelled: list[Row]) -> dict[str, tuple[str, str]]:
    return {checked(row).path: (row.genre, row.known_code) for row in labelled}


def test_the_genre_is_the_name_of_the_first_sub_folder() -> None:
    labelled = label(rows(*PATHS), None)
    assert found(labelled) == {
        "Ballet/a.mp4": ("Ballet", ""),
        "Ballet/more/b.mov": ("Ballet", ""),
        "K-pop/a.mp4": ("K-pop", ""),
        "c.mp4": ("", "no_genre"),
    }
    end = ended_early(labelled[3])
    assert end is not None and (end.status, end.stage) == ("filtered", "curate")
    assert end.message == "c.mp4: it is in no sub-folder; name its genre"


def test_a_csv_of_genres_names_files_and_every_line_and_file_ends(tmp_path: Path) -> None:
    text = "file,genre\nK-pop/a.mp4,Waacking\n./c.mp4, Ancient dance \ngone/d.mp4,Latin\n"
    inputs = [*rows(*PATHS), Row("odd-0", "odd\\xff.mp4", known_code="bad_name")]
    labelled = label(inputs, genres_file(tmp_path, text))
    assert found(labelled) == {
        "Ballet/a.mp4": ("", "no_genre"),
        "Ballet/more/b.mov": ("", "no_genre"),
        "K-pop/a.mp4": ("Waacking", ""),
        "c.mp4": ("Ancient dance", ""),
        "odd\\xff.mp4": ("", "bad_name"),
        "gone/d.mp4": ("Latin", "missing_file"),
    }
    ends = {row.path: ended_early(row) for row in labelled}
    assert ends["gone/d.mp4"].status == "failed"
    assert "lists it, but it is not among the videos" in ends["gone/d.mp4"].message
    assert "genres.csv has no line for it" in ends["Ballet/a.mp4"].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,genre\na.mp4,\n", "line 2: a file or its genre is empty"),
        ("file,genre\n,Latin\n", "line 2: a file or its genre is empty"),
        ("file,genre\na.mp4,x\n./a.mp4,y\n", r"line 3: a\.mp4 appears twice"),
        ("file,genre\n/a.mp4,x\n", "line 2: '/a.mp4' is outside the source folder"),
        ("file,genre\n../a.mp4,x\n", "is outside the source folder"),
        ("video,genre\na.mp4,x\n", "expected file,genre"),
        ("file,genre\nother.mp4,x\n", r"none of the 1 videos has a genre \(a\.mp4: genres\.csv"),
    ],
)
def test_an_unusable_csv_of_genres_is_refused_with_its_line(
    text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        label(rows("a.mp4"), genres_file(tmp_path, text))


def test_a_folder_without_any_genre_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="a sub-folder for each genre, or name a CSV"):
        label(rows("a.mp4", "b.mp4"), None)
    assert label([], None) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tiktok", "--source", ".", "--genres", "g.csv"], 2, "goes with --dataset wild"),
        (["wild", "--decide-only", "--genres", "g.csv"], 2, "is not read with --decide-only"),
        (["wild"], 2, "--dataset wild needs --source DIR"),
        (["wild", "--source", ".", "--genres", "no.csv"], 1, "no.csv: no such file; make a CSV"),
    ],
)
def test_wrong_use_of_genres_is_told(
    arguments: list[str], code: int, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert run("curate", "--engine", "local", "--dataset", *arguments) == code
    assert words in capsys.readouterr().err


def test_genres_are_read_as_they_are_written(tmp_path: Path) -> None:
    text = "file,genre\r\na b.mp4,古典舞\r\nb.mp4,Hip-hop\r\n"
    path = tmp_path / "g.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    assert read_genres(path) == {"a b.mp4": "古典舞", "b.mp4": "Hip-hop"}


def test_the_thresholds_of_wild_lie_over_the_default_and_under_the_users(tmp_path: Path) -> None:
    plain = load_settings()
    assert (WILD.min_clip_s, WILD.max_dancers, WILD.max_clip_s) == (5.12, 1, 600)
    assert replace(
        WILD,
        **{name: getattr(plain.decide, name)
           for name in ("min_clip_s", "max_clip_s", "max_dancers", "test_share")},
    ) == plain.decide  # fmt: skip
    own = tmp_path / "t.yaml"
    own.write_text("decide: {max_dancers: 2}\nshots: {min_shot_s: 1}\n", encoding="utf-8")
    both = load_settings(own, "wild")
    assert (both.decide.max_dancers, both.decide.min_clip_s) == (2, 5.12)
    assert both.shots == replace(plain.shots, min_shot_s=1) and both.picture == plain.picture
    own.write_text("decide: {max_dancer: 2}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.yaml: unknown key decide\.max_dancer; did you mean"):
        load_settings(own, "wild")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"end_s": 5.12}, ""),
        ({"start_s": 7.3, "end_s": 7.3 + 5.12}, ""),  # 5.1199999999999992 in binary
        ({"end_s": 5.08}, "too_short"),
        ({"end_s": 300.0}, ""),
        ({"dancers": 2}, "crowd"),
        ({"dancers": 0}, "no_dancer"),
        ({"dancers": 1}, ""),
        ({"dancers": None}, ""),
    ],
)
def test_one_dancer_and_5_12_s_are_kept(changes: Mapping[str, object], reason: str) -> None:
    (verdict,) = decide([clip("a", **{"end_s": 6.0, **changes})], [], WILD, {}, True)
    assert verdict.reason == reason


def test_all_clips_of_a_video_and_all_its_songs_are_on_one_side() -> None:
    """Without it, the songs of a compilation are divided between the splits."""
    clips = [
        replace(clip(f"v{video}_c{k}"), video_id=f"v{video}", sha256=str(video), end_s=6.0)
        for video in range(30)
        for k in range(3)
    ]
    alike = [SongMatch(0, 4, 0.9, 1.0)]  # a song of video 0 is in video 1, too
    verdicts = decide(clips, alike, WILD, {}, True)
    families: dict[str, set[tuple[str, str]]] = {}
    for one, verdict in zip(clips, verdicts, strict=True):
        families.setdefault(one.video_id, set()).add((verdict.family, verdict.split))
    assert all(len(sides) == 1 for sides in families.values())
    assert families["v0"] == families["v1"] and len(set(map(str, families.values()))) == 29
    assert {split for sides in families.values() for _, split in sides} == {"train", "test"}
    divided = decide(clips, alike, WILD, {})
    assert len({verdict.family for verdict in divided}) == 89


def test_of_two_videos_one_is_for_testing() -> None:
    for names in (("a", "b"), ("c", "d"), ("e", "f")):
        two = [replace(clip(name), sha256=name, end_s=6.0) for name in names]
        splits = sorted(verdict.split for verdict in decide(two, [], WILD, {}, True))
        assert splits == ["test", "train"]
    assert [verdict.split for verdict in decide(two[:1], [], WILD, {}, True)] == ["train"]


def test_never_are_all_songs_for_testing() -> None:
    names = [f"family-{k}" for k in range(50)]
    assert len(songs_for_test(names, 1.0)) == 49 and songs_for_test(names[:1], 1.0) == set()
    assert len(songs_for_test(names, 1e-9)) == 1 and songs_for_test([], 0.5) == set()
    assert songs_for_test(names, 0.1) == {n for n in names if split_of(n, 0.1) == "test"}
