"""Notes beside the shards: what was stored is read, and what is not theirs is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from note_shards import add_toy_notes
from streams import members, rewrite

from model.contract.dataset import load_dataset, save_dataset
from model.contract.notes import check_notes, notes_in
from model.contract.segment import SPLITS
from model.contract.shards import npy_bytes, read_shard, write_shard
from model.contract.storage import to_location
from model.data.notes import read_notes


def read_all(root: Path, **choice) -> dict[str, np.ndarray]:
    dataset = load_dataset(root)
    rows = [row for split in dataset.splits for row in read_notes(root, dataset, split, **choice)]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_every_window_has_its_notes_in_the_features_order(root):
    made = add_toy_notes(root)
    found = read_all(root)
    assert [*found] == [*made] and len(found) == 20
    assert all(np.array_equal(found[key], made[key]) for key in made)
    assert {len(notes) == 0 for notes in found.values()} == {True, False}
    assert all(notes.shape[1] == 7 for notes in found.values())
    dataset = load_dataset(root)
    keys = [key for shard in dataset.splits["train"] for key, _ in read_shard(root / shard.name)]
    assert [key for key, _ in read_notes(root, dataset, "train")] == keys


def test_an_address_gives_the_folder_s_notes(root):
    made = add_toy_notes(root)
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/noted/set", recursive=True)
    there = to_location("memory://noted/set")
    found = dict(read_notes(there, load_dataset(there), "train"))
    assert [*found] and all(np.array_equal(notes, made[key]) for key, notes in found.items())


def test_dataset_json_without_notes_stays_as_it_was(root):
    path = root / "dataset.json"
    before = path.read_bytes()
    assert b"notes" not in before
    save_dataset(root, load_dataset(root))
    assert path.read_bytes() == before
    add_toy_notes(root)
    dataset = load_dataset(root)
    assert dataset.notes["synthetic"].note == "toy notes"
    save_dataset(root, dataset)
    assert load_dataset(root) == dataset


def test_no_notes_or_several_say_what_to_do(root):
    with pytest.raises(ValueError, match=r"no notes; run: pipeline notes --shards .* --from"):
        read_all(root)
    add_toy_notes(root)
    add_toy_notes(root, "midi")
    with pytest.raises(ValueError, match="several sources: midi, synthetic; choose one"):
        read_all(root)
    assert read_all(root, notes_id="midi")
    with pytest.raises(ValueError, match="no notes 'piano', there are midi, synthetic"):
        read_all(root, notes_id="piano")
    dataset = load_dataset(root)
    empty = replace(dataset, splits={split: dataset.splits.get(split, []) for split in SPLITS})
    with pytest.raises(ValueError, match="no segments in split 'test'"):
        list(read_notes(root, empty, "test", "midi"))


def test_notes_of_other_shards_or_of_another_window_are_refused(root):
    add_toy_notes(root)
    tar = root / "notes" / "synthetic" / "train-000000.tar"
    name, data = members(tar)[1]
    expected = r"train-000000.tar: train0_seg0002.notes.npy: .*run pipeline notes --shards"
    late = np.array([[2.5, 0.1, 60, 90, 0, 1, -1]], np.float32)
    for wrong in (npy_bytes(late), npy_bytes(np.zeros((3, 5), np.float32)), b"none", data[:-4]):
        rewrite(tar, [(n, wrong if n == name else d) for n, d in members(tar)])
        with pytest.raises(ValueError, match=expected):
            read_all(root)
    rewrite(tar, [(n.replace("notes.npy", "other.npy"), d) for n, d in members(tar)])
    with pytest.raises(ValueError, match=r"train0_seg0001.notes.npy: missing; run"):
        read_all(root)
    add_toy_notes(root)
    rewrite(tar, members(tar)[:-1])
    with pytest.raises(ValueError, match=r"7 segments, dataset.json says 8; run"):
        read_all(root)
    dataset = load_dataset(root)
    entry = dataset.notes["synthetic"]
    fewer = write_shard(tar, [(key, found) for key, found in read_shard(tar)])
    entry.splits["train"] = [fewer, *entry.splits["train"][1:]]
    save_dataset(root, dataset)
    with pytest.raises(ValueError, match=r"the notes of synthetic have .* again"):
        read_all(root)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, -0.1, "onset_s"), (0, 2.0, "the window ends at 2 s"), (1, -1, "duration_s"),
        (2, 128, "pitch"), (2, 60.5, "pitch"), (3, 0, "velocity"), (4, 129, "program"),
        (6, -2, "step"), (1, np.nan, "NaN"),
    ],
)  # fmt: skip
def test_a_note_out_of_range_is_named(column, value, message):
    notes = np.array([[1.5, 0.1, 60, 90, 0, 1, -1]], np.float32)
    check_notes(notes, 2)
    check_notes(notes[:0], 2)
    notes[0, column] = value
    with pytest.raises(ValueError, match=message):
        check_notes(notes, 2)


def test_each_note_is_in_the_one_window_in_which_it_begins():
    rng = np.random.default_rng(0)
    song = np.tile(np.array([[0, 0.5, 60, 90, 0, 1, -1]]), (500, 1))
    song[:, 0] = rng.uniform(0, 20, 500)
    song[:4, 0] = [0, 2, 4, np.nextafter(6, 0)]  # on borders, and a hair before one
    windows = [notes_in(song, start, 2) for start in range(0, 20, 2)]
    assert sum(map(len, windows)) == 500
    for window in windows:
        check_notes(window, 2)
    assert notes_in(song[:0], 0, 2).shape == (0, 7)
