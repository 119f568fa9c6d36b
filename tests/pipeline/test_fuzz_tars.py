"""Strangers' tars, made up and mutated: every reader gives what it promises, or says which file."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fuzz_edits import EDITS, JUNK, Watch, check, edited, fuzz
from hostile_parts import member
from hypothesis import given
from hypothesis import strategies as st

from model.codecs.jukebox.codec import random_codec
from model.codecs.training.corpus import read_shards
from model.contract.dataset import load_dataset
from model.contract.segment import MOTION, VISUAL
from model.data.inputs import GENRE
from model.data.source import Source
from model.fake_dataset import write_fake_dataset
from pipeline.features.codes import video_spans
from pipeline.output.verify import verify

TAR = "train-000000.tar"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of one shard for training, of two segments, and one for validation."""
    root = tmp_path_factory.mktemp("shards")
    codec = random_codec()
    write_fake_dataset(root, codec, videos={"train": 1, "val": 1}, segments=2, motion=(60, 4))
    list(verify(root))
    read_shards(root, 4000)
    assert len(trained(root)) == 2
    return root


def trained(root: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Read what the trainer would, genre and all."""
    dataset = load_dataset(root)
    (codec,) = dataset.codecs
    source = Source(root, dataset, "train", codec, {"high": 64}, inputs=[MOTION, VISUAL, GENRE])
    return [source.decode(raw) for raw in source.raw(0)]


def are_segments(found: list[tuple[str, dict[str, np.ndarray]]]) -> None:
    assert len(found) == 2
    for _, arrays in found:
        assert arrays["wav"].shape == (44100,) and arrays["motion.npy"].shape == (120, 4)
        assert all(np.isfinite(a).all() for a in arrays.values()) and arrays["high"].max() < 64


def hold_to(root: Path, data: bytes, which: str, watch: Watch) -> None:
    """Put a tar in the place of one, its hash into dataset.json, and let every reader read it."""
    path = root / TAR if which == "features" else next(root.glob(f"codes/*/{TAR}"))
    listed = (root / "dataset.json").read_bytes()
    whole = path.read_bytes()
    raw = json.loads(listed)
    places = raw if which == "features" else next(iter(raw["codecs"].values()))
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    places["splits"]["train"][0] |= facts
    try:
        path.write_bytes(data)
        (root / "dataset.json").write_text(json.dumps(raw), encoding="utf-8")
        watched = root / TAR
        check(watch, lambda: list(verify(root)), lambda lines: None, watched)
        check(watch, lambda: trained(root), are_segments, watched)
        check(watch, lambda: video_spans(path), lambda videos: None, watched)
        if which == "features":
            check(watch, lambda: read_shards(root, 4000), lambda corpus: None, watched)
    finally:
        path.write_bytes(whole)
        (root / "dataset.json").write_bytes(listed)


@pytest.mark.parametrize("which", ["features", "codes"])
@fuzz
@given(data=st.data(), edits=EDITS)
def test_mutated_tars(which, shards, watch, data, edits):
    """Near the head of a member, or at its first bytes: what lies between is only sound."""
    path = shards / TAR if which == "features" else next(shards.glob(f"codes/*/{TAR}"))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        start = data.draw(st.sampled_from([info.offset for info in tar]))
    near = whole[start : start + 700]
    near = edited(near, edits)
    hold_to(shards, whole[:start] + near + whole[start + 700 :], which, watch)


@pytest.mark.parametrize("which", ["features", "codes"])
@fuzz
@given(data=st.data(), edits=EDITS)
def test_tars_of_other_members(which, shards, watch, data, edits):
    path = shards / TAR if which == "features" else next(shards.glob(f"codes/*/{TAR}"))
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(members) - 1))
        name, content = members[at]
        name = data.draw(
            st.sampled_from([name, *(n for n, _ in members), "a", ".wav", "a_seg0001."])
        )
        kind = data.draw(
            st.sampled_from(["edit", "swap", "drop", "twice", "junk", "array", "link"])
        )
        if kind == "edit":
            content = edited(content[:128], edits) + content[128:]
        elif kind == "swap":
            content = data.draw(st.sampled_from(members))[1]
        elif kind == "junk":
            content = json.dumps(data.draw(JUNK)).encode()
        elif kind == "array":
            form = data.draw(st.sampled_from(["<f4", "<u2", "|O", "<i8", "|V0", "<M8[s]", "nan"]))
            shape = data.draw(
                st.sampled_from(["(1, 2048)", "(344,)", "(9999999999999,)", "(-1,)", "x"])
            )
            head = f"{{'descr': '{form}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
            content = b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + content[128:]
        members[at] = (name, content)
        if kind == "drop":
            del members[at]
        elif kind == "twice":
            members.insert(at, members[at])
        elif kind == "link":
            members[at] = (name, None)
    made = b"".join(
        member(name, content) if content is not None else member(name, kind=tarfile.SYMTYPE)
        for name, content in members
    )
    hold_to(shards, made + bytes(1024), which, watch)


@fuzz
@given(size=st.sampled_from([-512, -1024, -(1 << 40), 1 << 60, 1]), codes=st.booleans())
def test_members_of_impossible_sizes(shards, watch, size, codes):
    """A size below zero leads a reader of tars back to where it was, for ever."""
    info = tarfile.TarInfo("train0_seg0001.wav")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (b"\xff" if size < 0 else b"\x80") + size.to_bytes(12, "big", signed=True)[1:]
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    first = member("train0_seg0001.json", b"{}")
    data = first + bytes(head) + bytes(1024)
    hold_to(shards, data, "codes" if codes else "features", watch)
