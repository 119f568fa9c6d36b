"""`extract-codes` and `build` with an EnCodec: several codebooks for each moment of a segment."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import clip, options, run

from model.codecs.base import load_codec
from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from model.contract.wav import read_wav
from pipeline.build import build
from pipeline.features.codes import extract_codes
from pipeline.output.verify import verify

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.mp4"):
        clip(folder / name, 5.5)
    return folder


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory) -> Path:
    """An untrained EnCodec with MusicGen's rate, hop and number of codebooks."""
    from model.codecs.encodec.codec import random_encodec
    from model.codecs.encodec.weights import write_encodec

    folder = tmp_path_factory.mktemp("codec") / "encodec"
    made = random_encodec(sampling_rate=32_000, upsampling_ratios=[8, 5, 4, 4])
    write_encodec(folder, made.model, "untrained, for tests")
    return folder


@pytest.mark.parametrize(("window_s", "count", "steps"), [("5.12", 2, 256), ("2", 4, 100)])
def test_codes_are_the_codecs_own_in_every_window_and_engine(
    videos, codec_folder, tmp_path, monkeypatch, engine, window_s, count, steps
):
    build(options(videos, tmp_path / "out", window_s=window_s))
    monkeypatch.chdir(codec_folder.parent)
    root, source = tmp_path / "out", f"encodec:{codec_folder}"
    codec = load_codec(source)
    codes_id = extract_codes(root, source, engine=engine)
    assert codes_id == codec.codes_id
    entry = load_dataset(root).codecs[codes_id]
    stream = entry.streams["encodec"]
    assert (stream.shape, stream.hop, stream.size) == ([4, steps], 640, 16)
    assert (entry.levels, entry.sample_rate_hz, entry.source) == (["encodec"], 32_000, source)
    assert entry.note == "untrained, for tests"
    found = 0
    tars = sorted(root.glob("*.tar"))
    for tar in tars:
        codes = dict(read_shard(root / "codes" / codes_id / tar.name))
        for key, members in read_shard(tar):
            sound = torch.from_numpy(read_wav(members["wav"]).astype(np.float32) / 32768)
            array = read_npy(codes[key]["encodec.npy"])
            assert (array.dtype, array.shape) == (np.uint16, (4, steps))
            expected = codec.encode(sound[None], "encodec")[0].numpy()
            np.testing.assert_array_equal(array, expected)
            found += 1
    assert found == count
    assert len(list(verify(root))) == 2 * len(tars)


@pytest.mark.long
def test_the_published_codec_and_a_folder_named_from_here_are_commands_too(
    videos, codec_folder, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "out"
    monkeypatch.chdir(codec_folder.parent)
    monkeypatch.setenv("D2M_CACHE", str(tmp_path / "cache"))
    shutil.copytree(codec_folder, tmp_path / "cache" / "weights" / "encodec_32khz")
    made = ["build", "--dataset", "folder", "--source", videos, "--out", root, "--visual", "none"]
    assert run(*made, "--engine", "local", "--codec", "encodec:encodec") == 0
    (entry,) = load_dataset(root).codecs.values()
    assert entry.source == f"encodec:{codec_folder}"
    capsys.readouterr()
    codes = ["extract-codes", "--shards", root, "--engine", "local"]
    assert run(*codes, "--codec", "encodec-32khz") == 0
    out = capsys.readouterr().out
    assert "codes of 4 segments, levels encodec" in out and "NOTE" not in out
    (entry,) = load_dataset(root).codecs.values()
    assert entry.source == "encodec-32khz"
    assert run("verify", "--shards", root) == 0


def test_a_folder_that_is_no_encodec_is_one_line_before_any_work(videos, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    made = ["build", "--dataset", "folder", "--source", videos, "--out", tmp_path / "o"]
    made += ["--visual", "none", "--engine", "local"]
    assert run(*made, "--codec", f"encodec:{tmp_path}/other") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "config.json: is of a model 't5'; expected a folder" in error
    assert not list((tmp_path / "o").glob("*.tar"))
