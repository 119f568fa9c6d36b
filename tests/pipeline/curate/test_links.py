"""`pipeline fetch` against a server on 127.0.0.1 that fails in all the ways servers do."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from clips import clicks, write

import pipeline.curate.fetch
from pipeline import cli
from pipeline.curate.fetch import Fetched, Fetching, fetch_links
from pipeline.curate.links import CAUSES, cause_of, read_links
from pipeline.sources.listing import source_files

pytest.importorskip("yt_dlp", reason="yt-dlp is not installed here (the project's extra `links`)")

HEADER = ("id", "url", "song", "duration", "dancers")


class Server(ThreadingHTTPServer):
    """Serves one video under names that say how it fails, and counts what it was asked."""

    daemon_threads = True

    def __init__(self, video: bytes) -> None:
        self.video, self.asked, self.starts = video, Counter(), []
        self.halves = 1
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}.mp4"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        name = Path(self.path).stem
        self.server.asked[name] += 1
        if name.isdigit() or (name == "once" and self.server.asked[name] <= 2):
            self._send(int(name) if name.isdigit() else 500, b"no", "text/plain", body)
        elif name == "page":
            self._send(200, b"<html><title>a page</title>nothing</html>", "text/html", body)
        elif name == "noise":
            self._send(200, bytes(range(256)) * 40, "video/mp4", body)
        else:
            self._video(name, body)

    def _video(self, name: str, body: bool) -> None:
        data, first = self.server.video, 0
        ranged = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        if ranged:
            first = int(ranged)
        if body:
            self.server.starts.append((name, first))
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if not body:
            return
        if name == "half" and self.server.halves and len(data) - first > 5000:
            self.wfile.write(data[first : first + (len(data) - first) // 2])
            self.close_connection = True
            return
        self.wfile.write(data[first:])

    def _send(self, status: int, content: bytes, kind: str, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("links") / "v.mp4"
    write(path, Fraction(30), 60, clicks(44100, [100]), 22050, "-c:a", "aac")
    return path.read_bytes()


@pytest.fixture
def server(video: bytes) -> Iterator[Server]:
    made = Server(video)
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def fetch(folder: Path, rows: dict[str, str], **changes: object) -> Fetched:
    """Fetch {id: url}, without pauses."""
    listed = folder / "links.csv"
    with open(listed, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [HEADER, *((name, url, "", "", "") for name, url in rows.items())]
        )
    given = {"pause_s": 0.0, "retry_s": 0.0, "tries": 3, "timeout_s": 5.0} | changes
    return fetch_links(Fetching(listed, folder / "out", **given))


def causes(fetched: Fetched) -> dict[str, str]:
    assert all(end.cause == "" or end.cause in CAUSES for end in fetched.ends)
    return {end.id: end.cause for end in fetched.ends}


@pytest.mark.long
def test_every_link_ends_as_a_whole_file_or_by_its_cause(server: Server, tmp_path: Path) -> None:
    refused = "http://127.0.0.1:9/gone.mp4"
    names = ("good", "404", "410", "403", "401", "503", "429", "once", "page", "noise")
    rows = {f"v_{name}": server.url(name) for name in names} | {"v_refused": refused}
    fetched = fetch(tmp_path, rows)
    assert causes(fetched) == {
        "v_good": "", "v_404": "removed", "v_410": "removed", "v_403": "refused",
        "v_401": "refused", "v_503": "busy", "v_429": "busy", "v_once": "", "v_page": "unsupported",
        "v_noise": "no_video", "v_refused": "network",
    }  # fmt: skip
    out = tmp_path / "out"
    for name in ("v_good", "v_once"):
        assert (out / f"{name}.mp4").read_bytes() == server.video
    assert sorted(path.name for path in source_files(out)[0]) == ["v_good.mp4", "v_once.mp4"]
    report = json.loads((out / "links.json").read_text(encoding="utf-8"))
    assert report["links"] == 11 == sum(report["counts"].values())
    assert all(row["words"] for row in report["rows"] if row["cause"])
    assert server.asked["404"] <= 2 < server.asked["503"], "only what passes is tried again"
    table = fetched.table()
    assert "videos" in table and "removed" in table and CAUSES["refused"] in table


@pytest.mark.long
def test_a_second_run_asks_for_what_may_have_passed_and_nothing_else(
    server: Server, tmp_path: Path
) -> None:
    rows = {name: server.url(name) for name in ("good", "404", "503")}
    fetch(tmp_path, rows, tries=1)
    with open(tmp_path / "out" / "archive.jsonl", "a", encoding="utf-8") as file:
        file.write('{"id": "good", "torn')
    server.asked.clear()
    again = fetch(tmp_path, rows, tries=1)
    assert causes(again) == {"good": "", "404": "removed", "503": "busy"} and again.asked == 1
    assert set(server.asked) == {"503"}
    lines = (tmp_path / "out" / "archive.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[-2] == '{"id": "good", "torn' and json.loads(lines[-1])["cause"] == "busy"
    (tmp_path / "out" / "good.mp4").unlink()
    assert fetch(tmp_path, rows, tries=1, dead_too=True).asked == 3
    assert (tmp_path / "out" / "good.mp4").read_bytes() == server.video
    moved = fetch(tmp_path, {"good": server.url("other")}, tries=1)
    assert moved.asked == 1 and causes(moved) == {"good": ""}


def test_a_body_cut_half_way_is_gone_on_with_in_the_run(server: Server, tmp_path: Path) -> None:
    assert causes(fetch(tmp_path, {"a": server.url("half")}, tries=2)) == {"a": ""}
    assert (tmp_path / "out" / "a.mp4").read_bytes() == server.video
    starts = [first for name, first in server.starts if first]
    assert starts == sorted(starts) and starts[0] > 1000


def test_a_body_cut_half_way_is_gone_on_with_by_the_next_run(
    server: Server, tmp_path: Path
) -> None:
    first = fetch(tmp_path, {"a": server.url("half")}, tries=1)
    assert causes(first) == {"a": "network"}
    assert source_files(tmp_path / "out")[0] == []
    (part,) = (tmp_path / "out" / ".work" / "parts").glob("a-*.mp4.part")
    held = part.stat().st_size
    assert 0 < held < len(server.video) and server.video.startswith(part.read_bytes())
    server.halves, server.starts = 0, []
    assert causes(fetch(tmp_path, {"a": server.url("half")}, tries=1)) == {"a": ""}
    assert ("half", held) in server.starts
    assert (tmp_path / "out" / "a.mp4").read_bytes() == server.video
    assert not part.exists()


def test_long_videos_are_left_out_by_the_list_and_by_the_file(
    server: Server, tmp_path: Path
) -> None:
    assert causes(fetch(tmp_path, {"a": server.url("a")}, max_duration_s=1.0)) == {"a": "too_long"}
    assert source_files(tmp_path / "out")[0] == []
    assert fetch(tmp_path, {"a": server.url("a")}, max_duration_s=1.0).asked == 0
    again = fetch(tmp_path, {"a": server.url("a")}, max_duration_s=60.0)
    assert again.asked == 1 and causes(again) == {"a": ""}
    listed = tmp_path / "long.csv"
    listed.write_text(
        "id,url,song,duration,dancers\nb," + server.url("b") + ",s,2000,1\n", encoding="utf-8"
    )
    fetched = fetch_links(Fetching(listed, tmp_path / "other"))
    assert causes(fetched) == {"b": "too_long"} and not server.asked["b"]


def test_what_proves_no_deletion_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    assert causes(fetch(tmp_path, {"a": server.url("403")}, tries=1)) == {"a": "refused"}
    assert fetch(tmp_path, {"a": server.url("403")}, tries=1).asked == 1
    assert causes(fetch(tmp_path, {"b": server.url("404")}, tries=1)) == {"b": "removed"}
    archive = tmp_path / "out" / "archive.jsonl"
    last = archive.read_text(encoding="utf-8").splitlines()[-1]
    older = last.replace("HTTP Error 404: Not Found", "Requested format is not available")
    assert fetch(tmp_path, {"b": server.url("404")}, tries=1).asked == 0
    archive.write_text(older + "\n", encoding="utf-8")
    assert fetch(tmp_path, {"b": server.url("404")}, tries=1).asked == 1


def test_links_are_paced(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(pipeline.curate.fetch.time, "sleep", slept.append)
    rows = {name: server.url(name) for name in ("a", "b", "c")}
    fetch(tmp_path, rows, pause_s=7.0, rate_bytes_s=100_000_000)
    assert [pause for pause in slept if pause == 7.0] == [7.0, 7.0]


def test_sites_words_and_types_tell_the_cause() -> None:
    from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

    def raised(inner: Exception) -> DownloadError:
        return DownloadError(f"ERROR: {inner}", (type(inner), inner, None))

    told = {
        "This video is private": "private",
        "You do not have permission to view this post. Log into an account": "private",
        "This video has been removed by the uploader": "removed",
        "Video not available, status code 10204": "removed",
        "The uploader has not made this video available in your country": "geo_blocked",
        "This video is no longer available because its account has been terminated": "removed",
        "Account not found": "removed",
        "Requested format is not available. Use --list-formats for a list": "not_read",
        "No video formats found!; please report this issue on https://github.com/": "not_read",
        "Unable to extract universal data for rehydration": "not_read",
        "Video not available, status code 10231": "unavailable",
        "Video unavailable": "unavailable",
        "Video unavailable. This video is not available": "unavailable",
        "This content isn\u2019t available, try again later": "busy",
        "Sign in to confirm you\u2019re not a bot. Use --cookies for the authentication": "busy",
        "Your IP address is blocked from accessing this post": "busy",
        "Requested content is not available, rate-limit reached or login required": "busy",
        "Sign in to confirm your age": "private",
        "This video is not available in your country": "geo_blocked",
        "ffmpeg not found. Please install or provide the path": "unknown",
        "unable to open for writing: [Errno 13] Permission denied: 'a.mp4'": "unknown",
        "This live event will begin in 3 hours": "unknown",
        "Some quite new trouble": "unknown",
    }
    for words, cause in told.items():
        assert cause_of(raised(ExtractorError(words, expected=True))) == cause, words
    assert cause_of(raised(GeoRestrictedError("not here"))) == "geo_blocked"
    assert cause_of(DownloadError("ERROR: unable to download: HTTP Error 403")) == "refused"
    assert cause_of(raised(ExtractorError("x", cause=ConnectionResetError("reset")))) == "network"


@pytest.mark.parametrize(
    "lines, words",
    [
        (["id,url"], "expected id,url,song,duration,dancers"),
        (["id,url,song,duration,dancers", "../a,http://x/,,,"], "is no file name"),
        (["id,url,song,duration,dancers", "a,file:///etc/passwd,,,"], "no http or https"),
        (["id,url,song,duration,dancers", "a,http://x/,,,", "A,http://x/,,,"], "twice"),
        (["id,url,song,duration,dancers", "a,http://x/,,long,"], "duration is 'long'"),
        (["id,url,song,duration,dancers", "a,http://x/,,,1.5"], "dancers is '1.5'"),
        (["id,url,song,duration,dancers", "a,http://x/"], "expected 5 fields"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_whole(
    lines: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    listed = tmp_path / "l.csv"
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_links(listed)
    with pytest.raises(SystemExit) as end:
        cli.main(["fetch", "--links", str(listed), "--out", str(tmp_path / "out")])
    assert end.value.code == 1 and str(listed) in capsys.readouterr().err


def test_the_command_prints_the_causes_and_its_exit_code(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    listed = tmp_path / "l.csv"
    rows = [f"{name},{server.url(name)},song {name},2,1" for name in ("good", "404")]
    listed.write_text("\n".join([",".join(HEADER), *rows]) + "\n", encoding="utf-8")
    arguments = ["fetch", "--links", str(listed), "--out", str(tmp_path / "out"), "--pause-s", "0"]
    for more, code in (([], 0), (["--max-failed", "0.4"], 3)):
        with pytest.raises(SystemExit) as end:
            cli.main([*arguments, *more])
        assert end.value.code == code
    said = capsys.readouterr().out
    assert "removed" in said and "(0 requested in this run)" in said
    row = json.loads((tmp_path / "out" / "links.json").read_text(encoding="utf-8"))["rows"][0]
    assert (row["song"], row["dancers"], row["file"]) == ("song good", 1, "good.mp4")


def test_without_yt_dlp_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.curate.fetch, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"\.\[links\]"):
        fetch_links(Fetching(tmp_path / "l.csv", tmp_path / "out"))


def test_a_list_that_says_0_dancers_is_not_one_that_says_none(tmp_path):
    listed = tmp_path / "l.csv"
    lines = ["id,url,song,duration,dancers", "a,http://x/,,,0", "b,http://x/,,,"]
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [repr(link.dancers) for link in read_links(listed)] == ["0", "None"]
