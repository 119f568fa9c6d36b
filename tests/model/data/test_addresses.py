"""Shards behind addresses: what the folder gives, or an error that names the file."""

import http.server
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.registry import _registry
from streams import keys_of, source_of, stream_of, tensors_of

from model.contract.dataset import load_dataset
from model.contract.storage import Url, to_location
from model.data.reader import read_tar
from model.data.source import spread_batches
from model.data.stream import Position


@pytest.fixture
def served(root) -> Iterator[str]:
    """Serve the folder as the standard library does, which knows no ranges; return its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def in_memory(root: Path) -> str:
    memory = fsspec.filesystem("memory")
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)
    memory.put(str(root), "/bucket/aist", recursive=True)
    return "memory://bucket/aist"


@pytest.mark.parametrize(
    ("kind", "workers"),
    [("http", 0), ("http", 2), ("file", 2), ("memory", 0), ("filecache", 1)],
)
def test_an_address_gives_what_the_folder_gives(root, codec, served, kind, workers):
    address = {
        "http": served,
        "file": f"file://{root}",
        "memory": in_memory(root),
        "filecache": f"filecache::file://{root}",
    }[kind]
    there = to_location(address)
    assert isinstance(there, Url)
    start = Position(0, 2)
    here = keys_of(stream_of(source_of(root, codec), start), 5)
    assert keys_of(stream_of(source_of(there, codec), start), 5, workers) == here
    for ours, theirs in zip(
        spread_batches(source_of(there, codec), 4, 5),
        spread_batches(source_of(root, codec), 4, 5),
        strict=True,
    ):
        assert ours.keys == theirs.keys
        assert all(map(torch.equal, tensors_of(ours), tensors_of(theirs)))


def test_a_file_missing_or_cut_short_behind_an_address_is_named(root, codec, served):
    source = source_of(to_location(served), codec)
    path = root / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=rf"{served}/train-000001.tar: damaged tar"):
        list(source.raw(1))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{served}/train-000001.tar: listed in dataset"):
        list(source.raw(1))
    with pytest.raises(FileNotFoundError, match=rf"{served}/nowhere/dataset.json: not found"):
        load_dataset(f"{served}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"memory://nowhere/dataset.json: not found"):
        load_dataset("memory://nowhere")


def test_a_connection_that_breaks_names_the_file(root, codec):
    class Breaking(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith("json"):
                body = (root / "dataset.json").read_bytes()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)
                return
            if "codes" in self.path:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\n" + (root / "train-000000.tar").read_bytes()[:100])
            self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        source = source_of(to_location(address), codec)
        with pytest.raises((OSError, ValueError), match=rf"{address}/train-000000.tar: "):
            list(source.raw(0))
        with pytest.raises(OSError, match=rf"{address}/codes/.*503"):
            list(read_tar(to_location(address) / "codes" / codec.id / "train-000000.tar"))
        server.shutdown()
    with pytest.raises(OSError, match=rf"{address}/dataset.json: .*refused"):
        load_dataset(address)


def test_an_address_of_no_known_kind_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # if a test has used it
    with pytest.raises(ValueError, match=r"s3://bucket/aist/dataset.json: .*s3fs for s3://"):
        load_dataset("s3://bucket/aist")
    with pytest.raises(ValueError, match=r"nope://bucket/dataset.json: Protocol not known"):
        load_dataset("nope://bucket")
