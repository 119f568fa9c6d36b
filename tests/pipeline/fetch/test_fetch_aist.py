"""AIST++ fetched from a server on 127.0.0.1 with the publishers' layout, and built."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from aist_server import PAGE, Publisher, dances, publish, served, zipped
from builds import clip, ends, options, run
from places import ROOT

import pipeline.fetch.many
from model.contract.shards import read_npy, read_shard
from pipeline.build import build
from pipeline.fetch.aist import FetchAist
from pipeline.fetch.base import CAUSES, Fetched
from pipeline.sources.aist import dance, of_camera

DANCES, CAMERAS = 3, ("c01", "c02")
ANNOTATIONS = (
    "ignore_list.txt", "splits.zip", "cameras.zip", "motions.zip", "keypoints2d.zip",
    "keypoints3d.zip",
)  # fmt: skip
VIDEOS = [f"{of_camera(name, camera)}.mp4" for name in dances(DANCES) for camera in CAMERAS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("published")
    return publish(clip(folder / "v.mp4", 2.2).read_bytes(), DANCES, folder / "motions")


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[Publisher]:
    with served(Publisher(dict(files))) as made:
        yield made


def words(server: Publisher, out: Path, *more: object) -> list[object]:
    return [
        "fetch", "--dataset", "aist", "--out", out, "--limit", DANCES, "--cameras", *CAMERAS,
        "--annotations-url", f"{server.url}/notes", "--videos-url", f"{server.url}/video/10M/",
        *more,
    ]  # fmt: skip


def fetch(server: Publisher, out: Path, **changes: object) -> Fetched:
    given = {
        "cameras": CAMERAS, "limit": DANCES, "accept_terms": True, "tries": 2, "pause_s": 0.0,
        "annotations_url": f"{server.url}/notes", "videos_url": f"{server.url}/video/10M/",
    }  # fmt: skip
    fetched = FetchAist(out=out, **(given | changes)).fetch()
    assert all(end.cause in ("", *CAUSES) for end in fetched.ends)
    return fetched


def causes(fetched: Fetched) -> dict[str, str]:
    """Return what failed, by name."""
    return {end.name: end.cause for end in fetched.ends if end.cause}


def test_every_listed_file_is_fetched_once_and_built(server, files, tmp_path, capsys):
    out = tmp_path / "aist"
    assert run(*words(server, out, "--accept-terms")) == 0
    said = capsys.readouterr()
    wanted = [*(f"/notes/{n}" for n in ANNOTATIONS), *(f"/video/10M/{n}" for n in VIDEOS)]
    size = sum(len(files[name]) for name in wanted)
    assert "terms_of_use" in said.out and "CC BY 4.0" in said.out
    assert "0 files are here, 12 to fetch: " in said.out and "12 of 12 files" in said.err
    assert f"{size / 1000:.3g} kB" in said.out
    assert said.out.index("to fetch") < said.out.index("(12 fetched in this run)")
    assert Counter(server.gets()) == Counter([*ANNOTATIONS, *VIDEOS])
    for name in VIDEOS:
        assert (out / "videos" / name).read_bytes() == files[f"/video/10M/{name}"]
    pickles = sorted(f"{dance(name)}.pkl" for name in dances(DANCES))
    for kind in ("motions", "keypoints2d", "keypoints3d"):
        assert sorted(path.name for path in (out / kind).iterdir()) == pickles
    assert sorted(path.name for path in (out / "cameras").iterdir()) == [
        "mapping.txt", "setting1.json",
    ]  # fmt: skip
    assert not list((out / ".work" / "parts").iterdir())

    command = said.out.split("then: ")[1].splitlines()[0].split()
    assert command[:2] == ["pipeline", "build"] and command[-5:] == [
        "--cameras", *CAMERAS, "--limit", "6",
    ]  # fmt: skip
    shards = tmp_path / "shards"
    local = ["--out", shards, "--visual", "none", "--engine", "local"]
    assert run(*command[1:], *local) == 0
    assert "1 of 6 listed" not in capsys.readouterr().out  # both cameras of the dance count
    report = json.loads((shards / "report.json").read_text(encoding="utf-8"))
    assert report["counts"]["ok"] == 6 == len(report["rows"])
    assert "2 of 6 listed videos here are of dances that AIST++ advises" in report["notes"][0]
    segments = [json.loads(one["json"]) for _, one in read_shard(shards / "train-000000.tar")]
    by_dance = {dance(one["video_id"]): (one["song"], one["split"]) for one in segments}
    assert len(segments) == 6 and len(by_dance) == DANCES
    assert all((s["song"], s["split"]) == by_dance[dance(s["video_id"])] for s in segments)


def test_breaks_wrong_bytes_missing_files_and_what_is_gone_are_told_and_counted(
    server, files, tmp_path, capsys
):
    out, (whole, page, cut, gone, shut, busy) = tmp_path / "aist", VIDEOS
    motions = files["/notes/motions.zip"]
    middle = motions.index(b"PK\1\2") // 2
    damaged = motions[:middle] + bytes([motions[middle] ^ 1]) + motions[middle + 1 :]
    server.files |= {
        f"/video/10M/{page}": PAGE, f"/video/10M/{cut}": files[f"/video/10M/{cut}"][:7000],
        "/notes/motions.zip": damaged, "/notes/keypoints3d.zip": zipped({"a.txt": b""}),
        "/notes/ignore_list.txt": PAGE,
    }  # fmt: skip
    del server.files[f"/video/10M/{gone}"]
    server.status |= {shut: 403, busy: 503, "keypoints2d.zip": 404}
    server.breaks[whole] = [1000, 0, 5000]
    fetched = fetch(server, out)
    assert causes(fetched) == {
        page: "wrong", cut: "wrong", gone: "gone", shut: "refused", busy: "network",
        "motions.zip": "wrong", "keypoints3d.zip": "wrong", "keypoints2d.zip": "gone",
        "ignore_list.txt": "wrong",
    }  # fmt: skip
    messages = {end.name: end.message for end in fetched.ends}
    assert "web page" in messages[page] and "login" in messages[page]
    assert "cut short" in messages[cut] and "run again" in messages[cut]
    assert messages[gone] == "HTTP status 404 (Not Found)"
    assert "damaged" in messages["motions.zip"] and "web page" in messages["ignore_list.txt"]
    assert "no file with the suffix .pkl" in messages["keypoints3d.zip"]
    starts = [span for method, name, span in server.asked if (method, name) == ("GET", whole)]
    assert starts == ["", "bytes=1000-", "bytes=1000-", "bytes=6000-"]
    assert (out / "videos" / whole).read_bytes() == files[f"/video/10M/{whole}"]
    assert sorted(path.name for path in (out / "videos").iterdir()) == [whole]
    report = json.loads((out / "fetch.json").read_text(encoding="utf-8"))
    assert report["files"] == 12 == sum(report["counts"].values()) == len(report["rows"])
    assert report["counts"] == {"ok": 3, "wrong": 5, "gone": 2, "refused": 1, "network": 1}
    assert all(bool(row["cause"]) == bool(row["message"]) for row in report["rows"])
    table = fetched.table()
    assert CAUSES["gone"] in table and gone in table and "(3 fetched in this run)" in table
    assert "pipeline build" not in table, "without motions there is nothing to build"
    del server.status[busy]
    assert run(*words(server, out, "--accept-terms")) == 3
    assert "failed: ignore_list.txt, motions.zip, keypoints2d.zip" in capsys.readouterr().err
    (out / "videos" / busy).unlink()

    server.files, server.asked = dict(files), []
    server.status, failed = {gone: 404}, set(causes(fetched))
    again = fetch(server, out)
    assert causes(again) == {gone: "gone"} and set(server.gets()) == failed
    assert sum(end.fresh for end in again.ends) == len(failed) - 1
    report = build(options(out, tmp_path / "shards", dataset="aist", cameras=CAMERAS, limit=6))
    assert set(ends(report).values()) == {"ok"} and len(report.rows) == 5
    listed = build(options(out, tmp_path / "all", dataset="aist", cameras=CAMERAS, dry_run=True))
    codes = {row["path"]: row.get("code") for row in listed.rows}
    assert codes[gone] == "missing_file" and len(codes) == 2 * 1020


def test_a_second_run_fetches_what_is_missing_and_nothing_else(server, files, tmp_path):
    out = tmp_path / "aist"
    own = out / "videos" / VIDEOS[0]
    own.parent.mkdir(parents=True)
    own.write_bytes(files[f"/video/10M/{VIDEOS[0]}"])
    (out / "videos" / VIDEOS[1]).write_bytes(own.read_bytes()[:-9])
    first = fetch(server, out)
    assert not causes(first) and VIDEOS[0] not in server.gets() and VIDEOS[1] in server.gets()
    server.asked.clear()
    assert sum(end.fresh for end in fetch(server, out).ends) == 0 and not server.asked
    (out / "videos" / VIDEOS[2]).write_bytes(b"short")
    (out / "motions" / f"{dance(dances(1)[0])}.pkl").unlink()
    with open(out / ".work" / "fetched.jsonl", "a", encoding="utf-8") as file:
        file.write('{"name": "splits.zip", "files": {"torn')
    fetch(server, out)
    assert sorted(server.gets()) == sorted([VIDEOS[2], "motions.zip"])
    assert (out / "videos" / VIDEOS[2]).read_bytes() == files[f"/video/10M/{VIDEOS[2]}"]
    server.asked.clear()
    assert not causes(fetch(server, out)) and not server.asked
    more = fetch(server, out, cameras=("c01", "c09"))
    assert len(more.ends) == 12 and len(server.gets()) == DANCES


def test_what_a_run_gave_up_is_continued_by_the_next(server, files, tmp_path):
    out, name = tmp_path / "aist", VIDEOS[0]
    server.breaks[name] = [4000, 0, 0]
    assert causes(fetch(server, out)) == {name: "network"}
    assert (out / ".work" / "parts" / f"{name}.part").stat().st_size == 4000
    assert not (out / "videos" / name).exists()
    server.asked.clear()
    assert not causes(fetch(server, out))
    assert [span for method, _, span in server.asked if method == "GET"] == ["bytes=4000-"]
    assert (out / "videos" / name).read_bytes() == files[f"/video/10M/{name}"]


@pytest.mark.long
def test_an_interrupted_command_leaves_no_half_file_and_continues(server, files, tmp_path):
    out, server.slow = tmp_path / "aist", threading.Event()
    command = [sys.executable, "-m", "pipeline", *map(str, words(server, out, "--accept-terms"))]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        encoding="utf-8", env={**os.environ, "no_proxy": "127.0.0.1"},
    ) as process:  # fmt: skip
        while len(server.gets()) < 4 and process.poll() is None:
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGINT)
        threading.Event().wait(1)  # no file ends before the command has seen the signal
        server.slow.set()
        assert "the same command continues" in process.communicate()[1]
    assert process.returncode == 130
    for path in out.rglob("*.mp4"):
        assert path.read_bytes() == files[f"/video/10M/{path.name}"]
    for path in out.rglob("*.pkl"):
        with zipfile.ZipFile(io.BytesIO(files[f"/notes/{path.parent.name}.zip"])) as archive:
            assert path.read_bytes() == archive.read(f"{path.parent.name}/{path.name}")
    server.slow = None
    assert not causes(fetch(server, out))
    assert (out / "videos" / VIDEOS[-1]).read_bytes() == files[f"/video/10M/{VIDEOS[-1]}"]


def test_nothing_is_fetched_before_the_terms_are_accepted(server, tmp_path, capsys):
    out = tmp_path / "aist"
    assert run(*words(server, out)) == 2
    said = capsys.readouterr()
    assert "12 to fetch" in said.out and "terms_of_use" in said.out
    assert "--accept-terms" in said.err and not server.gets() and not out.exists()
    assert run(*words(server, out, "--skip", "videos", "keypoints3d")) == 0
    assert sorted(server.gets()) == sorted(set(ANNOTATIONS) - {"keypoints3d.zip"})
    assert "terms_of_use" not in capsys.readouterr().out


def test_connections_are_few(server, tmp_path, capsys):
    fetch(server, tmp_path / "one", connections=1)
    assert server.most == 1
    fetch(server, tmp_path / "two", connections=2)
    assert server.most <= 2
    assert run(*words(server, tmp_path / "many", "--connections", 17)) == 2
    assert "burden the publishers" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_left_alone(server, tmp_path):
    fetched = fetch(server, tmp_path / "aist", videos_url="http://127.0.0.1:9/", cameras=[
        f"c{n:02d}" for n in range(1, 10)
    ])  # fmt: skip
    told = Counter("not tried" in end.message for end in fetched.ends if end.cause == "network")
    assert told[False] + told[True] == 27 and 8 <= told[False] <= 11
    assert not fetched.failed_needed and len(fetched.ends) == 33


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(pipeline.fetch.many.shutil, "disk_usage", lambda path: usage(9, 0, 9))
    with pytest.raises(OSError, match=r"needs .*kB, but only 9 bytes are free; free some space"):
        fetch(server, tmp_path / "aist")
    assert not server.gets()


def test_a_full_disk_stops_the_run(server, tmp_path, monkeypatch):
    def full(part: Path, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.fetch.place.place", full)
    with pytest.raises(OSError, match=r"No space left on device.*free some space, then run"):
        fetch(server, tmp_path / "aist")


def test_the_publishers_split_is_compared_with_ours(server, files, tmp_path):
    assert not any("manifests" in note for note in fetch(server, tmp_path / "a").notes)
    text = f"{dance(dances(1)[0])}\n".encode()
    lists = {f"splits/crossmodal_{part}.txt": text for part in ("train", "val", "test")}
    server.files["/notes/splits.zip"] = zipped(lists)
    fetched = fetch(server, tmp_path / "b")
    assert f"differ in {980 - 1 + 21 + 21} dances" in fetched.notes[0]


def test_options_of_links_and_of_data_sets_are_not_mixed(server, tmp_path, capsys):
    for arguments, told in (
        (words(server, tmp_path, "--pause-s", "1"), "--pause-s cannot be used with --dataset aist"),
        (
            ["fetch", "--links", "l.csv", "--cameras", "c01"],
            "--cameras cannot be used with --links",
        ),
        (["fetch", "--links", "l.csv"], "--links needs --out DIR"),
        (["fetch"], "one of the arguments --dataset --links is required"),
        (["fetch", "--dataset", "aist", "--cameras", "c10"], "invalid choice: 'c10'"),
    ):
        assert run(*arguments) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("camera", CAMERAS)
def test_fetched_keypoints_are_the_motion_of_their_camera(server, tmp_path, camera):
    out = tmp_path / "aist"
    fetch(server, out, skip=("keypoints3d",))
    shards = tmp_path / "shards"
    asked = {"dataset": "aist", "cameras": (camera,), "limit": 3, "motion": "aist-keypoints2d"}
    report = build(options(out, shards, **asked))
    assert ends(report) == {f"{of_camera(n, camera)}.mp4": "ok" for n in dances(DANCES)}
    assert f"videos of listed dances from other cameras: {DANCES}; they" in report.table()
    dataset = json.loads((shards / "dataset.json").read_text(encoding="utf-8"))
    spec = dataset["fields"]["motion.npy"]
    assert (spec["shape"], spec["layout"], spec["fps"]) == ([60, 75], "body25", 30)
    for key, member in read_shard(shards / "train-000000.tar"):
        motion = read_npy(member["motion.npy"]).reshape(60, 25, 3)
        number = dances(DANCES).index(of_camera(key.rsplit("_seg", 1)[0], "c01"))
        seen = np.ones(60, bool)
        seen[1] = camera != "c02"  # frame 2 of the annotation, the second one at 30 fps
        nose = motion[:, 0]
        np.testing.assert_allclose(nose[seen, 0], (2 * np.arange(60)[seen] - 48) / 64, atol=1e-6)
        np.testing.assert_allclose(nose[seen, 1], (1 + CAMERAS.index(camera) - 32) / 64, atol=1e-6)
        np.testing.assert_allclose(nose[seen, 2], 0.5 + number / 100, atol=1e-6)
        assert not motion[~seen].any()
        assert not motion[:, 19:].any(), "COCO has no feet"
        np.testing.assert_allclose(motion[seen, 8], motion[seen, 9], atol=1e-6)  # mid-hip, hip
