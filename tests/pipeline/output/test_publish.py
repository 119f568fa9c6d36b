"""`pipeline publish`: what is there is whole, what was there is not sent again, whatever breaks."""

from __future__ import annotations

import hashlib
import logging
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from moto.server import ThreadedMotoServer
from training_runs import command, settings

from model.codecs.base import load_codec
from model.codecs.jukebox import random_codec, write_weights
from model.contract.dataset import load_dataset, save_dataset
from model.fake_dataset import write_fake_dataset
from model.runtime.run_log import read_metrics
from pipeline import cli
from pipeline.output.publish import LAST, MARK, Published, publish
from pipeline.output.remote import open_store
from pipeline.output.verify import verify
from pipeline.report.report import Report

FILES = 8  # three tars and their three of codes, report.json, dataset.json


@pytest.fixture(scope="module")
def codec_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("codec") / "small.safetensors"
    write_weights(path, random_codec().model, "small", "untrained, for tests")
    return path


@pytest.fixture
def root(codec_file, tmp_path) -> Path:
    """Return a made-up data set: two train shards, one of val, and their codes."""
    folder = tmp_path / "shards"
    write_fake_dataset(
        folder, load_codec(codec_file), str(codec_file), {"train": 2, "val": 1}, 2,
        segments_per_shard=2,
    )  # fmt: skip
    Report([]).save(folder)
    return folder


class Wire:
    """A TCP relay to a server, which counts what is sent and can be cut."""

    def __init__(self, port: int) -> None:
        self._target, self.left_bytes = port, float("inf")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            far = socket.create_connection(("127.0.0.1", self._target))
            for pair in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        """Pass bytes on until one side ends, or those counted have used up what is left."""
        try:
            while data := source.recv(16_384):
                if counted and len(data) > self.left_bytes:
                    sink.sendall(data[: int(self.left_bytes)])
                    self.left_bytes = 0
                    break
                self.left_bytes -= len(data) if counted else 0
                sink.sendall(data)
        except OSError:
            pass  # the other direction has ended it
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    yield moto.get_host_and_port()[1]
    moto.stop()


@pytest.fixture
def wire(server, monkeypatch) -> Wire:
    """Lead this process' S3 client through a relay to a server with an empty bucket."""
    relay = Wire(server)
    known = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    if s3.exists("bucket"):
        s3.rm("bucket", recursive=True)
    s3.mkdir("bucket")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield relay
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(params=["file", "memory", "s3"])
def address(request, tmp_path) -> str:
    if request.param == "s3":
        request.getfixturevalue("wire")
        return "s3://bucket/sets/fake"
    if request.param == "memory":
        memory = fsspec.filesystem("memory")
        if memory.exists("/sets"):
            memory.rm("/sets", recursive=True)
        return "memory://sets/fake"
    return f"file://{tmp_path}/there/fake"


def content(address: str) -> dict[str, bytes]:
    """Return what lies at an address, without the marks."""
    store = open_store(address)
    return {n: store.read(n) for n in store.sizes() if not n.endswith(MARK)}


def here(root: Path) -> dict[str, bytes]:
    paths = [p for p in root.rglob("*") if p.is_file() and ".work" not in p.parts]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths}


def test_all_of_it_arrives_dataset_json_last_and_nothing_is_sent_twice(root, address, capsys):
    first = publish(root, address)
    assert first.sent[-1] == LAST and len(first.sent) == FILES and first.there == 0
    assert first.sent_bytes == sum(map(len, here(root).values()))
    assert content(address) == here(root)
    assert load_dataset(address) == load_dataset(root)
    with pytest.raises(SystemExit) as ended:
        cli.main(["publish", "--shards", str(root), "--to", address])
    assert ended.value.code == 0
    assert f"sent 0 files, 0 bytes; {FILES} were already there" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify", "--shards", address])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        *verify(root),
        "all shards are complete and valid",
    ]
    for name, data in here(root).items():
        if name != LAST:
            sha256, of = open_store(address).read(name + MARK).decode().split()
            assert (sha256, of) == (hashlib.sha256(data).hexdigest(), Path(name).name)


@pytest.mark.long
def test_one_more_shard_is_one_more_file(root, codec_file, address, tmp_path):
    whole = load_dataset(root)
    less = load_dataset(root)
    less.splits["train"] = less.splits["train"][:1]
    for codes in less.codecs.values():
        codes.splits["train"] = codes.splits["train"][:1]
    save_dataset(root, less)
    assert len(publish(root, address).sent) == FILES - 2
    save_dataset(root, whole)
    added = publish(root, address)
    last = whole.splits["train"][1].name
    (codec_id,) = whole.codecs
    assert added.sent == [last, f"codes/{codec_id}/{last}", LAST]
    assert load_dataset(address) == whole
    save_dataset(root, less)
    removed = publish(root, address)
    assert removed.sent == [LAST] and removed.unlisted == sorted(added.sent[:2])
    assert "delete them there" in removed.lines()[1]


@pytest.mark.long
def test_a_broken_connection_leaves_no_data_set_and_is_gone_on_from(root, wire):
    sizes = [shard.bytes for shards in load_dataset(root).splits.values() for shard in shards]
    wire.left_bytes = sizes[0] + sizes[1] * 1.5
    with pytest.raises(OSError, match=r"s3://bucket/sets/fake/.*run the same command again"):
        publish(root, "s3://bucket/sets/fake")
    assert wire.left_bytes == 0
    wire.left_bytes = float("inf")
    arrived = content("s3://bucket/sets/fake")
    assert LAST not in arrived and 0 < len(arrived) < FILES - 1
    assert arrived.items() <= here(root).items()  # nothing half-sent under its name
    with pytest.raises(FileNotFoundError, match=r"dataset\.json: not found"):
        list(verify("s3://bucket/sets/fake"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    again = publish(root, "s3://bucket/sets/fake")
    marked = {n for n in arrived if n not in again.sent}
    assert again.there == len(marked) >= 1
    assert content("s3://bucket/sets/fake") == here(root)


def test_a_full_disk_leaves_no_half_file_under_its_name(root, tmp_path, monkeypatch):
    address, put = f"file://{tmp_path}/there", LocalFileSystem.put_file
    sent = []

    def full(self, path, to, **more):
        sent.append(to)
        if len(sent) == 3:
            Path(to).write_bytes(Path(path).read_bytes()[:1000])
            raise OSError(28, "No space left on device")
        put(self, path, to, **more)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", full)
        with pytest.raises(OSError, match="No space left on device"):
            publish(root, address)
    there = {n: d for n, d in content(address).items() if not n.endswith(".part")}
    assert len(there) == 2 and there.items() <= here(root).items()
    kept = {name: (tmp_path / "there" / name).stat().st_mtime_ns for name in there}
    again = publish(root, address)
    assert again.there == 2 and len(again.sent) == FILES - 2
    assert content(address) == here(root)
    assert kept == {name: (tmp_path / "there" / name).stat().st_mtime_ns for name in there}


@pytest.mark.long
def test_a_listed_tar_that_changes_takes_the_data_set_away_first(root, address, monkeypatch):
    publish(root, address)
    changed = root.parent / "changed"
    shutil.copytree(root, changed)
    dataset = load_dataset(root)
    old = dataset.splits["val"][0]
    data = bytearray((changed / old.name).read_bytes())
    data[-1] ^= 1  # in the padding: the same size, another hash
    (changed / old.name).write_bytes(data)
    dataset.splits["val"] = [replace(old, sha256=hashlib.sha256(data).hexdigest())]
    save_dataset(changed, dataset)
    seen = []
    put = type(open_store(address)).put

    def watched(self, path, name):
        seen.append((name, LAST in self.sizes()))
        put(self, path, name)

    monkeypatch.setattr(type(open_store(address)), "put", watched)
    assert publish(changed, address).sent == [old.name, LAST]
    assert seen == [(old.name, False), (LAST, False)]
    assert content(address) == here(changed)


@pytest.mark.long
def test_what_is_damaged_there_is_found(root, address):
    publish(root, address)
    name = load_dataset(root).splits["val"][0].name
    data = bytearray((root / name).read_bytes())
    data[-1] ^= 1
    store = open_store(address)
    store.write(name, bytes(data))
    with pytest.raises(ValueError, match=rf"{address}/{name}: .*do not match dataset.json"):
        list(verify(address))
    store.remove(name)
    with pytest.raises(OSError, match=rf"{address}/{name}: "):
        list(verify(address))
    fsspec.get_filesystem_class(address.partition(":")[0]).clear_instance_cache()
    assert publish(root, address).sent == [name, LAST]
    assert list(verify(address)) == list(verify(root))


def test_what_is_damaged_here_is_not_sent(root, tmp_path):
    name = load_dataset(root).splits["train"][1].name
    data = bytearray((root / name).read_bytes())
    data[len(data) // 2] ^= 1
    (root / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name}: .*do not match dataset.json"):
        publish(root, f"file://{tmp_path}/there")
    assert not (tmp_path / "there" / name).exists()
    assert not (tmp_path / "there" / LAST).exists()
    (root / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: missing"):
        publish(root, f"file://{tmp_path}/nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_another_data_set_is_not_written_over(root, tmp_path):
    address = f"file://{tmp_path}/there"
    publish(root, address)
    other = load_dataset(root)
    other.name = "other"
    save_dataset(root, other)
    with pytest.raises(
        ValueError, match=r"holds fake from .*, not other from .*choose another --to"
    ):
        publish(root, address)
    assert load_dataset(address).name != "other"


def test_a_build_that_has_not_ended_is_not_published(root, tmp_path):
    Report([], stopped="more than 20% failed").save(root)
    with pytest.raises(ValueError, match="not finished: more than 20% failed"):
        publish(root, f"file://{tmp_path}/there")
    (root / "report.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"report.json: not found; run pipeline build"):
        publish(root, f"file://{tmp_path}/there")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1/x", "cannot be written to"),
        ("simplecache::s3://bucket/x", "cannot be written to"),
        ("nosuch://bucket/x", "expected a folder, or an address like"),
        ("gs://bucket/x", "needs a package that is not installed here .*gcsfs for gs://"),
    ],
)
def test_addresses_that_cannot_be_are_refused(root, address, words, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["publish", "--shards", str(root), "--to", address])
    assert ended.value.code == 1
    with pytest.raises(ValueError, match=words):
        open_store(address)
    assert "error: " in capsys.readouterr().err


@pytest.mark.long
def test_a_bucket_that_is_not_there_and_missing_credentials_say_so(root, wire, monkeypatch):
    with pytest.raises(OSError, match=r"s3://other/x/.*: no such bucket.*make it first"):
        publish(root, "s3://other/x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(root / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(OSError, match="no credentials; for s3:// set AWS_ACCESS_KEY_ID"):
        publish(root, "s3://bucket/sets/fake")
    with pytest.raises(OSError, match="no credentials; for s3:// set AWS_ACCESS_KEY_ID"):
        list(verify("s3://bucket/sets/fake"))


def test_no_rights_by_the_stores_word(root, tmp_path, monkeypatch):
    def refused(self, path, to, **more):
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(LocalFileSystem, "put_file", refused)
    with pytest.raises(OSError, match=r"these credentials may not do that there .*Access Denied"):
        publish(root, f"file://{tmp_path}/there")


@pytest.mark.slow
def test_two_steps_of_training_from_an_s3_address(root, wire, tmp_path):
    publish(root, "s3://bucket/sets/fake")
    short = settings("max_steps=2", "log_every=1")
    for name, where, workers in (("there", "s3://bucket/sets/fake", 1), ("here", root, 0)):
        words = ["train", "--shards", where, "--preset", "tiny", "--out", tmp_path / name]
        assert command(*words, *short, "--set", f"workers={workers}") == 0
    there, here = (
        [{k: v for k, v in row.items() if "loss" in k} for row in read_metrics(tmp_path / name)]
        for name in ("there", "here")
    )
    assert there == here and sum(map(bool, there)) >= 2


def test_lines_name_no_more_than_five():
    assert Published(unlisted=[f"{k}.tar" for k in range(7)]).lines()[1].endswith("4.tar …")
