"""What is taken out of an archive, and what archives, videos and lists are refused."""

from __future__ import annotations

import struct
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from aist_server import MAC, PAGE, zipped
from builds import clip

import pipeline.fetch.place
from pipeline.fetch.aist import check_list
from pipeline.fetch.base import WrongBytes
from pipeline.fetch.place import check_video, unpack


def put(folder: Path, data: bytes) -> Path:
    part = folder / "a.zip.part"
    part.write_bytes(data)
    return part


def test_files_of_an_archive_come_under_their_names_alone(tmp_path):
    inside = {
        "top/motions/a.pkl": b"1", "/etc/b.pkl": b"2", "../../c.pkl": b"3", "readme.md": b"4",
        "motions/._a.pkl": b"5",
    }  # fmt: skip
    part, folder = put(tmp_path, zipped(inside | MAC)), tmp_path / "in" / "motions"
    folder.mkdir(parents=True)
    (folder / "a.pkl.99.part").write_bytes(b"left by a run that was killed")
    found = unpack(part, folder, (".pkl",))
    assert sorted(path.name for path in found) == ["a.pkl", "b.pkl"]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(found)
    assert [path.read_bytes() for path in sorted(found)] == [b"1", b"2"]


def test_a_link_in_an_archive_is_only_a_file(tmp_path):
    info = zipfile.ZipInfo("motions/a.pkl")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip.part", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    (path,) = unpack(tmp_path / "a.zip.part", tmp_path / "motions", (".pkl",))
    assert not path.is_symlink() and path.read_text(encoding="utf-8") == "/etc/passwd"


def claiming(size: int) -> bytes:
    """Return an archive whose only file claims to have `size` bytes."""
    data = zipped({"a.pkl": b"0" * 1000})
    return data.replace(struct.pack("<I", 1000), struct.pack("<I", size))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"  " + PAGE, "a web page"),
        (b"PK\3\4" + bytes(500), "damaged"),
        (zipped({"a.pkl": bytes(range(256)) * 9})[:-30], "damaged"),
        (zipped({"x/a.pkl": b"1", "y/a.pkl": b"2"}), "two files named 'a.pkl'"),
        (zipped({"a b$.pkl": b"1"}), "strange name"),
        (zipped({"a.txt": b"1"}), "no file with the suffix .pkl"),
        (claiming(2_000_000_000), "claims to unpack to 2,000,000,000 bytes"),
        (claiming(500), "damaged"),
    ],
)
def test_an_archive_that_is_none_or_hostile_gives_nothing(data, told, tmp_path):
    with pytest.raises(WrongBytes, match=told):
        unpack(put(tmp_path, data), tmp_path / "motions", (".pkl",))
    assert not (tmp_path / "motions").exists()


def test_the_sizes_of_all_files_together_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.fetch.place, "MAX_UNPACKED_BYTES", 15)
    part = put(tmp_path, zipped({"a.pkl": b"0" * 10, "b.pkl": b"0" * 10}))
    with pytest.raises(WrongBytes, match="claims to unpack to 20 bytes"):
        unpack(part, tmp_path / "motions", (".pkl",))


def test_an_archive_with_any_bytes_changed_gives_its_files_or_is_refused(tmp_path):
    rng = np.random.default_rng(5)
    whole = zipped({f"m/{k}.pkl": rng.bytes(99) for k in range(3)} | MAC)
    ends: Counter[str] = Counter()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] = rng.integers(256)
        try:
            found = unpack(put(tmp_path, bytes(data[: rng.integers(9, 2 * len(data))])),
                           tmp_path / "m", (".pkl",))  # fmt: skip
            ends["unpacked"] += all(path.parent == tmp_path / "m" for path in found)
        except WrongBytes:
            ends["refused"] += 1
    assert ends.total() == 300 and min(ends.values()) > 20


def test_only_complete_videos_and_lists_of_dances_are_taken(tmp_path):
    video = clip(tmp_path / "v.mp4", 2.1)
    check_video(video)
    for data, told in (
        (video.read_bytes()[:-100], "cut short"), (PAGE, "a web page"), (bytes(99), "readable mp4"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "readable mp4"), (b"", "an empty file"),
    ):  # fmt: skip
        video.write_bytes(data)
        with pytest.raises(WrongBytes, match=told):
            check_video(video)
    listed = tmp_path / "ignore_list.txt"
    listed.write_bytes(b"gBR_sBM_cAll_d04_mBR0_ch07\r\n\n")
    check_list(listed)
    listed.write_bytes(b"404: Not Found")
    with pytest.raises(WrongBytes, match=r"^line 1: '404: Not Found' is no name"):
        check_list(listed)
