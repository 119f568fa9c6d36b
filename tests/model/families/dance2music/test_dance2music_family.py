"""Dance2Music as a family: it needs no notes and no codec, and plays for any dance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from note_runs import check_resumed, small_font, train_notes
from training_runs import command, dataset_and_codec

from model.contract.notes import NOTE_COLUMNS
from model.families.dance2music.family import vectors_of
from model.families.dance2music.network import notes_before, window_of
from model.families.dance2music.search import PITCHES, dance_matrix, search
from model.families.notes.clips import NoteClip
from model.generation.run import load_run
from model.runtime.checkpoint import read_checkpoint

NET = ("--preset", "tiny")
SEARCH, ONLINE = "dance2music", "dance2music-online"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Shards without notes."""
    folder = tmp_path_factory.mktemp("dance2music")
    return dataset_and_codec(folder, {"train": 3, "val": 1, "test": 2})[0]


@pytest.fixture(autouse=True)
def font(tmp_path, monkeypatch) -> Path:
    return small_font(tmp_path, monkeypatch)


def dance(letters: str, kind: int) -> NoteClip:
    """Return a dance that holds a random pose for 0.2 s for each letter."""
    rng = np.random.default_rng(5)
    shape = (24, 3) if kind == 24 else (25, 2)
    poses = {letter: rng.normal(size=shape) for letter in sorted(set(letters))}
    joints = np.repeat([poses[letter] for letter in letters], 6, 0).astype(np.float32)
    seen = np.ones(joints.shape[:2], bool)
    seen[1::6, :10] = False  # these are filled from the frame before
    joints[~seen] = 9
    return NoteClip("toy", "song", len(letters) / 5, joints, seen, 30.0)


@pytest.mark.parametrize("kind", [24, 25])
def test_one_step_is_a_run_whose_search_repeats_where_the_dance_does(shards, tmp_path, kind):
    run = tmp_path / "run"
    assert command("train", "--family", SEARCH, "--shards", shards, "--out", run) == 0
    assert read_checkpoint(run / "last.pt")["step"] == 1
    model = load_run(run).model
    rng, options = np.random.default_rng(0), model.Options(delay_s=0.0, program=3)
    notes = model.notes_for(dance("ABABABABAB", kind), options, rng)
    assert notes.shape == (10, len(NOTE_COLUMNS)) and (notes[:, 4] == 3).all()
    assert len(set(notes[::2, 2])) == len(set(notes[1::2, 2])) == 1
    assert notes[0, 2] == 64 != notes[1, 2]
    still = model.notes_for(dance("AAAAAAAAAA", kind), options, rng)
    assert still[:, :3].tolist() == [[0, 2, 64]]


def test_the_search_plays_a_split_and_is_no_reproduction(shards, tmp_path, capsys):
    run = train_notes(SEARCH, shards, tmp_path / "run", "--set", "max_steps=1")
    out = tmp_path / "music"
    assert command("generate", "--run", run, "--shards", shards, "--out", out) == 0
    said = capsys.readouterr().out
    assert "Dance2Music: an implementation, not a reproduction; sound font" in said
    assert "searched, not trained" in said
    rows = json.loads((out / "generated.json").read_text(encoding="utf-8"))["generated"]
    assert len(rows) == 2 and all(row["notes"] > 1 for row in rows)
    again = tmp_path / "again"
    assert command("generate", "--run", run, "--shards", shards, "--out", again, "--seed", 5) == 0
    for row in rows:
        assert (out / row["file"]).read_bytes() == (again / row["file"]).read_bytes()


@pytest.mark.long
def test_the_network_learns_the_notes_of_the_search_and_resumes(shards, tmp_path, monkeypatch):
    check_resumed(ONLINE, shards, tmp_path, monkeypatch, *NET)
    model = load_run(tmp_path / "whole").model
    assert model.config.channels[-1] == 32
    notes = model.notes_for(dance("ABABABABAB", 24), model.Options(), np.random.default_rng(0))
    assert set(notes[:, 2]) <= set(PITCHES) and notes[0, 0] == pytest.approx(0.2)
    again = model.notes_for(dance("ABABABABAB", 24), model.Options(), np.random.default_rng(1))
    np.testing.assert_array_equal(notes, again)
    assert "learns the search's notes" in model.remarks(8)[0]


def test_batches_are_notes_of_the_search_with_what_was_before_them(shards, tmp_path):
    model = load_run(train_notes(ONLINE, shards, tmp_path / "run", *NET)).model
    clip = dance("ABCDEFGHIJKLMNOPQRSTUVWXYZABCD", 24)  # 6 s, as three segments
    model.validation = None
    model.prepare([clip])
    lesson, rng, drawn = model.lessons["toy"], np.random.default_rng(0), set()
    np.testing.assert_array_equal(lesson.notes, search(dance_matrix(vectors_of(clip))))
    for _ in range(60):
        batch = model.batch_of([clip.since(2.0)], rng)
        matrix = batch["matrices"][0]
        found = [n for n in range(30) if torch.equal(matrix, window_of(lesson.poses, n))]
        assert len(found) == 1
        assert torch.equal(batch["before"][0], notes_before(lesson.notes, found[0]))
        assert batch["notes"][0] == lesson.notes[found[0]]
        drawn |= set(found)
    assert drawn == set(range(10, 20))
