"""`pipeline extract-codes`: every segment's codes, in the features' order, once."""

from __future__ import annotations

import errno
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import clip, options, refuse_work, run
from drills import cut_short, stored

from model.codecs.base import load_codec
from model.codecs.jukebox.codec import random_codec
from model.codecs.jukebox.weights import write_weights
from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.build import build
from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import Outcome
from pipeline.features.codes import Encode, _failures, extract_codes
from pipeline.features.per_video import VideoSegments
from pipeline.output.verify import verify


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Two videos, four segments, no codes yet."""
    folder = tmp_path_factory.mktemp("codes")
    for name in ("a.mp4", "b.mp4"):
        clip(folder / "in" / name)
    build(options(folder / "in", folder / "out"))
    return folder / "out"


@pytest.fixture
def root(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def tars(root: Path, codec_id: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (root / "codes" / codec_id).glob("*.tar")}


def test_codes_are_the_codecs_own_in_the_features_order(root, codec_file, engine):
    codec_id = extract_codes(root, str(codec_file), engine=engine)
    codec = load_codec(codec_file)
    assert codec_id == codec.id
    features = list(read_shard(root / "train-000000.tar"))
    codes = list(read_shard(root / "codes" / codec_id / "train-000000.tar"))
    assert [key for key, _ in features] == [key for key, _ in codes]
    assert len(codes) == 4
    for (_, members), (_, found) in zip(features, codes, strict=True):
        sound = torch.from_numpy(read_wav(members["wav"]).astype(np.float32) / 32768)
        for level, steps in (("high", 344), ("low", 1378)):
            array = read_npy(found[f"{level}.npy"])
            assert (array.dtype, array.shape) == (np.uint16, (steps,))
            expected = codec.encode(sound[None], level)[0].numpy()
            np.testing.assert_array_equal(array, expected)
    assert len(list(verify(root))) == 2


def test_again_encodes_nothing_and_writes_the_same(root, codec_file, monkeypatch):
    codec_id = extract_codes(root, str(codec_file))
    before = tars(root, codec_id)
    monkeypatch.setattr(Encode, "_codes", lambda *a: pytest.fail("encoded again"))
    assert extract_codes(root, str(codec_file)) == codec_id
    assert tars(root, codec_id) == before


def test_a_damaged_result_is_made_again(root, codec_file):
    codec_id = extract_codes(root, codec_file)
    before = tars(root, codec_id)
    cut_short(stored(root, "codes")[0])
    extract_codes(root, codec_file)
    assert tars(root, codec_id) == before


def test_only_the_levels_asked_for_are_encoded_and_a_later_one_is_added(
    root, codec_file, monkeypatch
):
    encoded: list[str] = []
    codes = Encode._codes

    def watch(self, audio, level):
        encoded.append(level)
        return codes(self, audio, level)

    monkeypatch.setattr(Encode, "_codes", watch)
    codec_id = extract_codes(root, str(codec_file), ["high"])
    assert load_dataset(root).codecs[codec_id].levels == ["high"]
    assert set(encoded) == {"high"}
    encoded.clear()
    extract_codes(root, str(codec_file), ["low"])
    assert load_dataset(root).codecs[codec_id].levels == ["high", "low"]
    assert set(encoded) == {"low"}
    list(verify(root))


def test_a_video_without_codes_stops_no_other(root, codec_file, monkeypatch):
    encoded: list[int] = []
    encode = Encode._codes

    def fail(self, audio, level):
        encoded.append(len(audio))
        if len(encoded) == 1:
            raise MemoryError("no room for the first")
        return encode(self, audio, level)

    monkeypatch.setattr(Encode, "_codes", fail)
    expected = r"no codes of 1 of 2 videos: a_seg0001: out_of_memory: .*no room for the first; run"
    with pytest.raises(OSError, match=expected):
        extract_codes(root, str(codec_file))
    assert len(encoded) == 3  # both levels of the second video
    assert load_dataset(root).codecs == {} and not (root / "codes").exists()
    encoded[:] = [0]
    extract_codes(root, str(codec_file))
    assert len(encoded) == 3  # both levels of the first alone


def test_many_videos_without_codes_are_counted_and_a_few_named():
    def failed(key: str, code: str) -> VideoSegments:
        return VideoSegments(
            Path("x.tar"), (key,), (), "", Outcome("failed", "codes", code, "words")
        )

    some = [failed(f"{name}_seg0001", "timeout") for name in "dcba"]
    told = _failures(some, 9)
    assert told.startswith("no codes of 4 of 9 videos: a_seg0001: timeout: words; b_seg0001: ")
    assert "c_seg0001" in told and "and 1 more; run the same command again" in told
    assert "fix or remove those inputs" in _failures([*some, failed("e_seg0001", "undecodable")], 9)


def test_a_full_disk_ends_the_codes_at_once(root, codec_file, monkeypatch):
    def full(self, audio, level):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Encode, "_codes", full)
    expected = r"1 of 2 videos: .*No space left on device; free disk space at --shards and run"
    with pytest.raises(OSError, match=expected):
        extract_codes(root, str(codec_file))


def test_codes_that_take_too_long_end_as_timeout(root, codec_file, monkeypatch):
    monkeypatch.setattr(Encode, "_codes", lambda *a: time.sleep(60))
    with pytest.raises(OSError, match=r"2 of 2 videos: a_seg0001: timeout: took longer than 0\.05"):
        extract_codes(root, str(codec_file), limit_s=0.05)


def test_codes_that_are_gone_before_they_are_packed_are_named(root, codec_file, monkeypatch):
    encode = Encode._encode

    def lose(self, video):
        key = encode(self, video)
        shutil.rmtree(self.results)
        return key

    with monkeypatch.context() as patch:
        patch.setattr(Encode, "_encode", lose)
        with pytest.raises(OSError, match="a_seg0001: its stored codes are gone; run the same"):
            extract_codes(root, str(codec_file))
    extract_codes(root, str(codec_file))
    list(verify(root))


def test_a_codecs_path_is_recorded_whole(root, codec_file, monkeypatch):
    monkeypatch.chdir(codec_file.parent)
    codec_id = extract_codes(root, codec_file.name)
    assert load_dataset(root).codecs[codec_id].source == str(codec_file)


@pytest.mark.long
def test_two_codecs_live_side_by_side(root, codec_file, tmp_path):
    other = tmp_path / "other.safetensors"
    write_weights(other, random_codec(seed=1).model, "other", "untrained, for tests")
    ids = {extract_codes(root, str(path)) for path in (codec_file, other)}
    assert set(load_dataset(root).codecs) == ids and len(ids) == 2
    assert len(list(verify(root))) == 3


def test_codes_survive_a_build_that_changes_nothing_and_not_one_that_does(
    root, built, codec_file, monkeypatch, capsys
):
    codec_id = extract_codes(root, str(codec_file))
    source = built.parent / "in"
    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "run", refuse_work)
        build(options(source, root))
        assert (root / "codes" / codec_id).is_dir()
    assert codec_id in load_dataset(root).codecs
    build(options(source, root, window_s="4"))
    assert load_dataset(root).codecs == {}
    assert not list(root.glob("codes/*/*"))
    again = f"extract them again: pipeline extract-codes --shards {root} --codec {codec_file}"
    assert again in capsys.readouterr().out
    assert extract_codes(root, str(codec_file)) == codec_id
    assert len(list(verify(root))) == 2


def test_a_damaged_shard_gives_no_codes(root, codec_file):
    path = root / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-000000\.tar"):
        extract_codes(root, str(codec_file))


@pytest.mark.parametrize("damage", ["missing", "reordered"])
def test_verify_names_what_is_wrong_with_codes(root, codec_file, damage):
    codec_id = extract_codes(root, str(codec_file))
    path = root / "codes" / codec_id / "train-000000.tar"
    if damage == "missing":
        path.unlink()
    else:
        raw = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        raw["codecs"][codec_id]["splits"] = {}
        (root / "dataset.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ValueError, match=r"train-000000\.tar"):
        list(verify(root))


def test_the_command_says_what_the_codec_is(root, codec_file, capsys):
    codes = ["extract-codes", "--shards", root, "--engine", "local"]
    assert run(*codes, "--codec", codec_file) == 0
    out = capsys.readouterr().out
    assert "codes of 4 segments" in out and "NOTE" in out
    assert run(*codes, "--codec", "/no/such/file") == 1
    assert "no such file, and no codec of that name" in capsys.readouterr().err
