"""`pipeline verify` and `publish` know the tars of notes as they know those of codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from note_shards import add_toy_notes

from model.codecs.jukebox import random_codec
from model.contract.dataset import load_dataset, save_dataset
from model.contract.shards import read_shard, write_shard
from model.fake_dataset import write_fake_dataset
from pipeline.output.folder import keep_codes
from pipeline.output.publish import publish
from pipeline.output.verify import verify
from pipeline.report.report import Report


@pytest.fixture
def root(tmp_path) -> Path:
    """Return a made-up data set: two train shards, one of val, and their codes."""
    folder = tmp_path / "shards"
    write_fake_dataset(folder, random_codec(), "", {"train": 2, "val": 1}, 2, segments_per_shard=2)
    Report([]).save(folder)
    return folder


def test_notes_are_verified_and_published_as_codes_are(root, tmp_path):
    there = f"file://{tmp_path / 'there'}"
    without = len([*verify(root)])
    add_toy_notes(root)
    assert len([*verify(root)]) == without + 3
    sent = publish(root, there)
    assert len([name for name in sent.sent if name.startswith("notes/synthetic/")]) == 3
    assert [*verify(there)] == [*verify(root)]
    tar = root / "notes" / "synthetic" / "val-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1024])
    with pytest.raises(ValueError, match=r"notes/synthetic/val-000000.tar: "):
        list(verify(root))
    dataset = load_dataset(root)
    last = dataset.notes["synthetic"].splits["train"].pop()
    save_dataset(root, dataset)
    with pytest.raises(ValueError, match=f"{last.name}: not in dataset.json; delete it or run"):
        list(verify(root))
    (root / "notes" / "synthetic" / last.name).unlink()
    with pytest.raises(ValueError, match=f"notes/synthetic: {last.name} is missing"):
        list(verify(root))


def test_verify_refuses_notes_of_other_segments(root):
    add_toy_notes(root)
    dataset = load_dataset(root)
    rows = list(read_shard(root / "notes" / "synthetic" / "val-000000.tar"))
    swapped = [(key, members) for (key, _), (_, members) in zip(rows[::-1], rows, strict=True)]
    tar = write_shard(root / "notes" / "synthetic" / "val-000000.tar", swapped)
    dataset.notes["synthetic"].splits["val"] = [tar]
    save_dataset(root, dataset)
    with pytest.raises(ValueError, match=r"notes: val-000000.tar: keys differ from the features'"):
        list(verify(root))


def test_notes_stay_while_the_shards_do(root, capsys):
    add_toy_notes(root)
    before, same, other = (load_dataset(root) for _ in range(3))
    same.notes = {}
    keep_codes(root, before, same)
    assert same.notes == before.notes and (root / "notes" / "synthetic").is_dir()
    other.notes, other.splits = {}, {"train": other.splits["train"]}
    keep_codes(root, before, other)
    assert not other.notes and not (root / "notes" / "synthetic").exists()
    assert f"pipeline notes --shards {root} --from synthetic" in capsys.readouterr().out
