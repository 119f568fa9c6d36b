"""What is taken from folders as people's machines leave them: hidden files, bins, other names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builds import clip, ends, options

from model.contract.segment import is_hidden
from model.data.music_files import music_files
from pipeline import cli
from pipeline.build import build, list_inputs
from pipeline.curate.run import CurateOptions, curate
from pipeline.features.motion.openpose import OpenPose, load_people
from pipeline.report.report import Report
from pipeline.sources.aist import (
    IGNORE_LIST,
    by_camera,
    dance,
    list_aist,
    of_camera,
    official_split,
    read_ignore_list,
)
from pipeline.sources.hashing import hash_inputs
from pipeline.sources.manifest import Row, find
from pipeline.sources.tiktok import list_published

APPLE_DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X        \0\2" + bytes(4070)
ASIDE = (
    "._a.mp4", ".trashed-1700000000-a.mp4", ".Trash-1000/files/a.mp4", ".Trashes/501/a.mp4",
    "$RECYCLE.BIN/S-1-5/$RA.mp4", "sub/@eaDir/a.mp4/SYNOVIDEO.mp4", "__MACOSX/sub/._a.mp4",
    "lost+found/#12.mp4", ".stversions/a~20240101.mp4", "#recycle/a.mp4", ".DS_Store",
    "System Volume Information/a.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("video") / "a.mp4", 2.2)


def put(path: Path, content: bytes = APPLE_DOUBLE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_hidden_or_thrown_away_is_counted_and_no_input(video: Path, tmp_path: Path) -> None:
    source = tmp_path / ".data" / "videos"
    put(source / "a.mp4", video.read_bytes())
    for name in ASIDE:
        put(source / name)
    put(source / ".work" / "parts" / "b.mp4")
    put(source / "notes.txt")
    report = build(options(source, tmp_path / "out"))
    assert ends(report) == {"a.mp4": "ok"}
    told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["others"]
    assert told == {"hidden": len(ASIDE), ".txt": 1}
    words = f"{len(ASIDE) + 1} other files in the source folder are hidden, in a recycle bin or not"
    for text in (report.table(), (tmp_path / "out" / "report.html").read_text(encoding="utf-8")):
        assert words in text and f"hidden or in a recycle bin {len(ASIDE)}, .txt 1" in text
    curated = curate(CurateOptions("tiktok", tmp_path / "table", source, engine="local"))
    assert [row["path"] for row in curated.report.rows] == ["a.mp4"]
    assert curated.report.others == told


def test_a_hidden_video_that_is_named_itself_is_read(video: Path, tmp_path: Path) -> None:
    hidden = put(tmp_path / ".hidden.mp4", video.read_bytes())
    assert ends(build(options(hidden, tmp_path / "out"))) == {".hidden.mp4": "ok"}
    with pytest.raises(FileNotFoundError, match=r"no video in it; 1 other file .* is hidden"):
        (tmp_path / "in").mkdir()
        build(options(hidden.rename(tmp_path / "in" / ".hidden.mp4").parent, tmp_path / "out"))


def test_names_that_only_look_like_bins_are_the_users_own() -> None:
    for name in ("recycle/a.mp4", "lost/a.mp4", "a.b/c.mp4", "…/a.mp4", "macosx/a.mp4"):
        assert not is_hidden(Path(name)), name


def test_music_and_keypoints_are_taken_without_what_a_mac_left_beside(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.wav", "._a.wav", "sub/.Trashes/c.wav"):
        put(tmp_path / "music" / name)
    folder = tmp_path / "music"
    assert [path.relative_to(folder).as_posix() for path in music_files(folder, "--audio")] == [
        "a.wav", "sub/b.wav",
    ]  # fmt: skip
    frames = tmp_path / "openpose" / "a"
    put(frames / "a_0_keypoints.json", b'{"people": []}')
    row = Row("a", "a.wav", motion="a")
    before = hash_inputs(folder, frames.parent, [row])[0].motion_sha256
    put(frames / "._a_0_keypoints.json")
    put(frames / ".DS_Store")
    assert len(load_people(frames)) == 1
    assert hash_inputs(folder, frames.parent, [row])[0].motion_sha256 == before


TRAINED, IGNORED = "gBR_sBM_c01_d04_mBR1_ch03", "gBR_sFM_c01_d04_mBR4_ch07"
VAL = "gBR_sBM_c01_d04_mBR0_ch01"


def aist_rows(source: Path, tmp_path: Path, **changes: object) -> tuple[Report, dict[str, Row]]:
    """List a folder as AIST++: the report, and what became of each input that was seen."""
    asked = options(source, tmp_path / "out", dataset="aist", motion="smpl", **changes)
    report = build(replace(asked, dry_run=True))
    listing = list_inputs(asked)
    rows = [find(listing.root, row) for row in listing.rows]
    assert len(report.rows) == len(rows) == sum(report.counts.values())
    return report, {row.path: row for row in rows if row.known_code != "missing_file"}


def test_aist_files_are_found_by_name_in_folders_and_in_any_case(tmp_path: Path) -> None:
    source = tmp_path / "aist"
    put(source / "cam1" / f"{TRAINED}.MP4")
    put(source / "cam 1" / "Breaking" / f"{VAL.upper()}.mov")
    put(source / "extra" / "holiday.mp4")
    motions = {f"annotations/motions/{dance(VAL)}.PKL", f"x/{dance(TRAINED)}.pkl"}
    for name in motions | {f"x/._{dance(VAL)}.pkl"}:
        put(source / name)
    report, rows = aist_rows(source, tmp_path)
    assert {row.video_id: row.split for row in rows.values() if not row.known_code} == {
        TRAINED: "train", VAL: "val",
    }  # fmt: skip
    assert {row.motion for row in rows.values() if not row.known_code} == motions
    assert rows["extra/holiday.mp4"].known_code == "not_in_split"
    assert len(report.rows) == 1020 + 1 and not report.notes
    moved = tmp_path / "elsewhere" / "sub"
    put(moved / f"{dance(VAL)}.pkl")
    _, rows = aist_rows(source, tmp_path, motion_dir=moved.parent)
    assert rows[f"cam 1/Breaking/{VAL.upper()}.mov"].motion == f"sub/{dance(VAL)}.pkl"


def test_of_two_files_of_one_name_the_same_one_is_always_taken_and_told(tmp_path: Path) -> None:
    source = tmp_path / "aist"
    names = [f"a/{TRAINED}.mp4", f"{TRAINED}.MP4", f"{TRAINED}.mp4", f"{TRAINED.lower()}.mp4"]
    for name in names:
        put(source / "videos" / name)
    for name in ("motions", "more/motions"):
        put(source / name / f"{dance(TRAINED)}.pkl")
    report, rows = aist_rows(source, tmp_path)
    assert rows.pop(f"{TRAINED}.mp4").video_id == TRAINED
    assert {row.known_code for row in rows.values()} == {"same_name"} and len(rows) == 3
    ends = {row["path"]: row for row in report.rows if row.get("code") == "same_name"}
    assert ends[names[0]]["stage"] == "manifest"
    assert f"{TRAINED}.mp4 is used for the listed {TRAINED}" in ends[names[0]]["message"]
    assert f"listed videos that are in the folder more than once: 1 ({TRAINED}.mp4 is used" in (
        report.table()
    )
    assert f"motions/{dance(TRAINED)}.pkl is used, not more/motions" in report.table()


@pytest.mark.long
def test_listed_videos_beside_the_folder_videos_are_found(tmp_path: Path) -> None:
    source = tmp_path / "aist"
    put(source / "videos" / f"{TRAINED}.mp4")
    put(source / "notes" / "holiday.mp4")
    assert list_aist(source, official_split("aist"), None).root == source / "videos"
    put(source / "more" / f"{VAL}.mp4")
    _, rows = aist_rows(source, tmp_path)
    assert [row.video_id for row in rows.values() if not row.known_code] == [VAL, TRAINED]


def test_what_aist_advises_to_ignore_is_told_and_left_out_where_asked(tmp_path: Path) -> None:
    names = read_ignore_list(IGNORE_LIST)
    split = official_split("aist")
    assert len(names) == 45
    assert [split[name] for name in split if dance(name) in names] == ["train"] * 28
    source = tmp_path / "aist"
    for name in (TRAINED, IGNORED):
        put(source / f"{name}.mp4")
    report, rows = aist_rows(source, tmp_path)
    assert "1 of 2 listed videos here are of dances that AIST++ advises to ignore" in report.table()
    assert rows[f"{IGNORED}.mp4"].known_code == ""
    report, rows = aist_rows(source, tmp_path, ignore_list=IGNORE_LIST)
    assert (
        rows[f"{IGNORED}.mp4"].known_code == "ignored" and rows[f"{TRAINED}.mp4"].known_code == ""
    )
    assert report.as_dict()["reasons"]["filtered: ignored"] == 28 and not report.notes
    own = put(tmp_path / "own.txt", f"# mine\r\n{dance(TRAINED)} \r\n\r\n".encode())
    report, rows = aist_rows(source, tmp_path, ignore_list=own)
    assert (
        rows[f"{TRAINED}.mp4"].known_code == "ignored" and rows[f"{IGNORED}.mp4"].known_code == ""
    )
    with pytest.raises(ValueError, match="line 1: 'what' is no name of an AIST dance"):
        aist_rows(source, tmp_path, ignore_list=put(own, b"what\n"))


def test_cameras_of_a_dance_share_its_motion_its_song_and_its_side_of_the_split(
    tmp_path: Path,
) -> None:
    source, cameras = tmp_path / "aist", ("c01", "c04", "c09")
    split = official_split("aist")
    listed = list(by_camera(split, cameras).items())
    assert len(listed) == len(dict(listed)) == 3 * 1020
    assert all(part == split[of_camera(name, "c01")] for name, part in listed)
    for name in (TRAINED, VAL):
        put(source / "motions" / f"{dance(name)}.pkl")
        for camera in ("c01", "c04", "c05"):
            put(source / "videos" / f"{of_camera(name, camera)}.mp4")
    report, rows = aist_rows(source, tmp_path, cameras=cameras)
    assert len(report.rows) == 3 * 1020 + 2
    for name in (TRAINED, VAL):
        used = [rows[f"{of_camera(name, camera)}.mp4"] for camera in ("c01", "c04")]
        assert not any(row.known_code for row in used)
        assert len({(row.split, row.song, row.motion, row.dancers) for row in used}) == 1
        assert rows[f"{of_camera(name, 'c05')}.mp4"].known_code == "not_in_split"
    assert "videos of listed dances from other cameras: 2; they are left out" in report.table()
    assert aist_rows(source, tmp_path, cameras=cameras, ignore_list=put(
        tmp_path / "own.txt", f"{dance(TRAINED)}\n".encode()
    ))[0].as_dict()["reasons"]["filtered: ignored"] == 3  # fmt: skip
    assert "c05_d04_mBR0_ch01: AIST++'s own code leaves it out" not in report.table()
    report, rows = aist_rows(source, tmp_path, cameras=("c05",))
    assert f"{of_camera(VAL, 'c05')}: AIST++'s own code leaves it out" in report.table()
    assert [row.known_code for row in rows.values()].count("") == 2


def test_the_publishers_ignore_list_in_the_folder_comes_before_the_copy_here(
    tmp_path: Path,
) -> None:
    source = tmp_path / "aist"
    for name in (TRAINED, IGNORED):
        put(source / "videos" / f"{name}.mp4")
    theirs = put(source / "ignore_list.txt", f"{dance(TRAINED)}\n".encode())
    report, rows = aist_rows(source, tmp_path)
    assert "1 of 2 listed videos here" in report.table()
    report, rows = aist_rows(source, tmp_path, ignore_list=IGNORE_LIST)
    assert {row.video_id: row.known_code for row in rows.values()} == {
        TRAINED: "ignored", IGNORED: "",
    }  # fmt: skip
    assert f"--ignore-list: {theirs}, 1 dances" in report.notes


def test_the_ignore_list_is_an_option_of_aist_with_or_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    put(tmp_path / "aist" / f"{IGNORED}.mp4")
    words = ["build", "--dataset", "aist", "--source", str(tmp_path / "aist"), "--dry-run"]
    for more, code in (
        (["--ignore-list"], 0),
        (["--ignore-list", str(IGNORE_LIST)], 0),
        (["--ignore-list", str(tmp_path / "none.txt")], 1),
        (["--ignore-list", "--dataset", "folder"], 2),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main([*words, *more])
        assert end.value.code == code, more
        said = capsys.readouterr()
        assert {0: "ignored", 1: "none.txt", 2: "goes with --dataset aist"}[code] in (
            said.err if code else said.out
        )


def test_published_tiktok_videos_are_found_by_name_in_folders(tmp_path: Path) -> None:
    source = tmp_path / "tiktok"
    for name in ("a/000000_0_0.MP4", "b/000000_0_0.mp4", "b/000000_0_1.mov", "stranger.mp4"):
        put(source / name)
    (source / "poses" / "x" / "000000_0_1").mkdir(parents=True)
    listing = list_published(source, OpenPose.FILES, source / "poses")
    ended = {row.path: row.known_code for row in listing.rows if (source / row.path).is_file()}
    assert ended == {
        "a/000000_0_0.MP4": "same_name", "b/000000_0_0.mp4": "", "b/000000_0_1.mov": "",
        "stranger.mp4": "not_in_split",
    }  # fmt: skip
    assert len(listing.rows) == 445 + 2
    rows = {row.path: row for row in listing.rows}
    assert rows["b/000000_0_0.mp4"].video_id == "000000_0_0"
    assert rows["b/000000_0_1.mov"].motion == "x/000000_0_1"
    assert "b/000000_0_0.mp4 is used, not a/000000_0_0.MP4" in listing.notes[0]
