"""The shard stream: strict pairs, checked members, an order that can be resumed."""

import io
import wave
from typing import ClassVar

import numpy as np
import pytest
import torch
from streams import keys_of, members, read_all, rewrite, source_of, stream_of

from model.codecs.jukebox import random_codec
from model.contract.dataset import load_dataset, save_dataset
from model.contract.segment import MOTION, VISUAL
from model.contract.shards import npy_bytes as npy
from model.contract.wav import decode_pcm, encode_wav
from model.data.source import Source, spread_batches
from model.data.stream import Position, TrainingStream


def test_a_batch_has_the_segments_and_their_codes(root, codec):
    (batch,) = spread_batches(source_of(root, codec, "val"), 8, 100)
    assert batch.keys == [f"val0_seg000{i}" for i in range(1, 6)]
    assert (batch.audio.shape, batch.audio.dtype) == ((5, 44100), torch.float32)
    assert 0.1 < batch.audio.abs().max() < 1
    assert (batch.codes["high"].shape, batch.codes["high"].dtype) == ((5, 344), torch.int64)
    assert batch.inputs[MOTION].shape == (5, 120, 219)
    assert batch.inputs[VISUAL].shape == (5, 1, 2048)
    assert torch.equal(codec.encode(batch.audio, "high"), batch.codes["high"])


def test_level_and_inputs_choose_what_is_read(root, codec):
    source = Source(root, load_dataset(root), "val", codec.id, {"low": 64}, inputs=[VISUAL])
    (batch,) = spread_batches(source, 8, 100)
    assert list(batch.inputs) == [VISUAL]
    assert batch.codes["low"].shape == (5, 1378)


def test_each_epoch_shuffles_all_segments_and_leaves_the_last_partial_batch_out(root, codec):
    stream = stream_of(source_of(root, codec))
    assert (stream.batches_per_epoch, stream.left_out) == (3, 3)
    batches = keys_of(stream, 6)
    first, second = ([key for b in part for key in b] for part in (batches[:3], batches[3:]))
    assert len(set(first)) == len(set(second)) == 12
    assert first != second
    assert first != sorted(first)
    assert batches == keys_of(stream_of(source_of(root, codec)), 6)
    assert batches != keys_of(stream_of(source_of(root, codec), seed=1), 6)


@pytest.mark.parametrize("taken", [1, 3, 4])
def test_a_position_is_enough_to_go_on(root, codec, taken):
    source = source_of(root, codec)
    whole = stream_of(source)
    position = Position()
    for _ in range(taken):
        position = whole.after(position)
    assert keys_of(stream_of(source, position), 5) == keys_of(whole, taken + 5)[taken:]


def test_a_missing_code_is_named(root, codec):
    path = root / "codes" / codec.id / "train-000000.tar"
    rewrite(path, [m for m in members(path) if not m[0].startswith("train0_seg0003.")])
    with pytest.raises(ValueError, match=r"train0_seg0003.*train0_seg0004"):
        read_all(root, codec)


def test_an_extra_code_is_named(root, codec):
    path = root / "codes" / codec.id / "train-000001.tar"
    extra = npy(np.zeros(344, np.uint16))
    rewrite(path, [*members(path), ("train9_seg0001.high.npy", extra)])
    with pytest.raises(ValueError, match=r"no more samples.*train9_seg0001"):
        for _ in source_of(root, codec).raw(1):
            pass


def test_reordered_keys_are_named(root, codec):
    path = root / "codes" / codec.id / "train-000000.tar"
    entries = members(path)
    rewrite(path, entries[2:4] + entries[:2] + entries[4:])
    with pytest.raises(ValueError, match=r"train0_seg0001.*train0_seg0002.*same order"):
        read_all(root, codec)


def test_a_cut_pair_of_tars_is_noticed_by_its_count(root, codec):
    for path in (root / "train-000000.tar", root / "codes" / codec.id / "train-000000.tar"):
        rewrite(path, [m for m in members(path) if "train1_seg0003" not in m[0]])
    with pytest.raises(ValueError, match=r"7 segments, dataset.json says 8"):
        read_all(root, codec)


def test_a_truncated_tar_is_named(root, codec):
    path = root / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"train-000000.tar: damaged tar"):
        read_all(root, codec)


@pytest.mark.parametrize(
    ("suffix", "data", "message"),
    [
        ("motion.npy", npy(np.zeros((118, 219), np.float32)), r"\(118, 219\), expected float32"),
        ("motion.npy", npy(np.zeros((120, 219))), "float64"),
        ("visual.npy", b"not an array", "not a valid array"),
        ("visual.npy", npy(np.full((1, 2048), np.nan, np.float32)), "not finite"),
        ("high.npy", npy(np.zeros(344, np.uint16)), "high.npy is in .*train-000000.tar and in"),
        ("wav", b"RIFF", "not a PCM wav"),
        ("motion.npy", None, "motion.npy is missing"),
    ],
)
def test_members_are_checked_against_dataset_json(root, codec, suffix, data, message):
    path = root / "train-000000.tar"
    name = f"train0_seg0002.{suffix}"
    rest = [(n, d) for n, d in members(path) if n != name]
    place = 1 + max(i for i, (n, _) in enumerate(rest) if n.startswith("train0_seg0002."))
    rest.insert(place, (name, data))
    rewrite(path, [(n, d) for n, d in rest if d is not None])
    with pytest.raises(ValueError, match=f"train0_seg0002.*{message}"):
        read_all(root, codec)


def test_a_code_outside_the_codebook_is_named(root, codec):
    path = root / "codes" / codec.id / "train-000001.tar"
    name, bins = "train1_seg0004.high.npy", codec.level("high").size
    wrong = npy(np.full(344, bins, np.uint16))
    rewrite(path, [(n, wrong if n == name else d) for n, d in members(path)])
    with pytest.raises(ValueError, match=rf"{name} has code {bins}, the codebook has {bins}"):
        read_all(root, codec)


def test_a_few_segments_are_spread_over_all_shards(root, codec):
    source = source_of(root, codec)
    every = [key for batch in spread_batches(source, 4, 100) for key in batch.keys]
    assert len(every) == source.segments == 15
    sizes = []
    for limit in (1, 3, 5, 14, 15):
        batches = list(spread_batches(source, 4, limit))
        sizes.append([len(batch) for batch in batches])
        found = [key for batch in batches for key in batch.keys]
        assert found == [every[i * 15 // limit] for i in range(limit)]
    assert sizes == [[1], [3], [4, 1], [4, 4, 4, 2], [4, 4, 4, 3]]


class Counting(io.FileIO):
    """A file that remembers how many bytes it was asked for, each time."""

    asked: ClassVar[list[int]] = []

    def read(self, size: int = -1) -> bytes:
        self.asked.append(size)
        return super().read(size)


def test_what_is_not_wanted_is_not_read(root, codec, monkeypatch):
    monkeypatch.setattr("model.data.reader.open_binary", lambda path: Counting(path))
    monkeypatch.setattr(Counting, "asked", [])
    samples = list(source_of(root, codec).raw(0, wanted={5}))
    assert [raw["__key__"] for raw in samples] == ["train1_seg0001"]
    sizes = sorted(len(data) for name, data in samples[0].items() if name[0] != "_")
    assert len(sizes) == 6  # wav, motion, visual and json; the codes of two levels
    # Besides those only headers, and single bytes beyond what is skipped.
    assert sorted(size for size in Counting.asked if size not in (1, 512)) == sizes


def test_a_pickled_array_is_refused(root, codec):
    path = root / "train-000000.tar"
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    rewrite(
        path,
        [
            (n, buffer.getvalue() if n == "train0_seg0001.visual.npy" else d)
            for n, d in members(path)
        ],
    )
    with pytest.raises(ValueError, match=r"train0_seg0001.visual.npy: not a valid array"):
        read_all(root, codec)


def test_codes_of_another_codec_are_refused_naming_both(root, codec):
    other = random_codec(seed=1)
    with pytest.raises(ValueError, match=f"{codec.id}.*{other.id}"):
        source_of(root, other)


def test_no_codes_says_what_to_run(root, codec):
    dataset = load_dataset(root)
    dataset.codecs.clear()
    save_dataset(root, dataset)
    with pytest.raises(ValueError, match=r"pipeline extract-codes --shards .* --codec demo"):
        source_of(root, codec)


def test_too_few_segments_for_a_batch_says_what_to_set(root, codec):
    with pytest.raises(ValueError, match="--set batch_size=5"):
        TrainingStream(source_of(root, codec, "val"), 8, 0, 6, Position())


def test_a_missing_split_says_what_there_is(root, codec):
    with pytest.raises(ValueError, match=r"split 'test'; it has .*'train': 15.*; use --split val"):
        source_of(root, codec, "test")


def test_a_position_skips_what_was_taken_without_reading_it(root, codec, monkeypatch):
    source = source_of(root, codec)
    stream = TrainingStream(source, 1, 0, 1, Position(0, 14))
    opened = []
    raw = Source.raw
    monkeypatch.setattr(Source, "raw", lambda s, n, w: opened.append((n, w)) or raw(s, n, w))
    next(iter(stream))
    (shards, _) = stream.passes[0].plan(0)
    last = source.dataset.splits["train"][shards[-1]].segments - 1
    assert opened == [(shards[-1], {last})]


def test_arrays_and_sounds_of_unusual_files_are_read_too(root, codec):
    """Written by other programs: a wav with a comment before its samples, an array by columns."""
    path = root / "train-000000.tar"
    (before,) = spread_batches(source_of(root, codec), 1, 1)
    pcm = decode_pcm(dict(members(path))[f"{before.keys[0]}.wav"], "")
    plain, _ = encode_wav(before.audio[0])
    comment = b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    sound = plain[:36] + comment + plain[36:]
    sound = sound[:4] + (len(sound) - 8).to_bytes(4, "little") + sound[8:]
    columns = np.asfortranarray(before.inputs[MOTION][0].numpy())
    other = {f"{before.keys[0]}.wav": sound, f"{before.keys[0]}.motion.npy": npy(columns)}
    rewrite(path, [(n, other.get(n, d)) for n, d in members(path)])
    (after,) = spread_batches(source_of(root, codec), 1, 1)
    assert torch.equal(before.audio, after.audio)
    assert torch.equal(before.inputs[MOTION], after.inputs[MOTION])
    assert np.array_equal(decode_pcm(sound, ""), pcm)
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getnframes() == 44100
