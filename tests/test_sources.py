"""What is taken from folders as people's machines leave them: hidden files, bins, other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_build import clip, ends, options

from model.jukebox.corpus import music_files
from model.segment import is_hidden
from pipeline.build import build
from pipeline.curate.run import CurateOptions, curate
from pipeline.manifest import Row, hash_inputs
from pipeline.stages.openpose import load_people

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
    told = json.loads((tmp_path / "out" / "report.json").read_text())["others"]
    assert told == {"hidden": len(ASIDE), ".txt": 1}
    words = f"{len(ASIDE) + 1} other files in the source folder are hidden, thrown away or not"
    for text in (report.table(), (tmp_path / "out" / "report.html").read_text()):
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
    assert [path.relative_to(folder).as_posix() for path in music_files(folder)] == [
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
