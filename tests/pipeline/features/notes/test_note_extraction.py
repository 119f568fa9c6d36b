"""`pipeline notes`: every window's notes in the features' order, whatever a file of notes is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from builds import run
from drills import cut_short
from drills import stored as stored_results
from note_shards import toy_notes

from model.codecs.jukebox import random_codec
from model.contract.dataset import load_dataset, save_dataset
from model.contract.notes import NOTE_COLUMNS, NOTES, midi_bytes, notes_in
from model.contract.shards import read_npy, read_shard
from model.fake_dataset import write_fake_dataset
from pipeline.features.notes.base import NOTE_SOURCES, NoteSource
from pipeline.features.notes.extract import extract_notes
from pipeline.features.notes.sources import Midi, Synthetic, joined
from pipeline.features.notes.video import VideoNotes
from pipeline.output.verify import verify

VIDEOS = {"train": 3, "val": 1}
SEGMENTS, WINDOW_S = 4, 2.0
IDS = [f"{split}{video}" for split, count in VIDEOS.items() for video in range(count)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return shards of four videos of 8 s; the second one's segments lie in two tars."""
    folder = tmp_path_factory.mktemp("notes") / "set" / "shards"
    write_fake_dataset(folder, random_codec(), "", VIDEOS, SEGMENTS, segments_per_shard=6)
    return folder


@pytest.fixture
def root(made, tmp_path) -> Path:
    """Return the shards beside the ground truth of their songs, as a build records its source."""
    folder = Path(shutil.copytree(made, tmp_path / "shards"))
    (tmp_path / "made" / "truth").mkdir(parents=True)
    for seed, video in enumerate(IDS):
        write_truth(tmp_path / "made" / "truth" / f"{video}.npz", song_notes(seed), f"{video}-song")
    dataset = load_dataset(folder)
    dataset.source = str(tmp_path / "made" / "videos")
    save_dataset(folder, dataset)
    return folder


def song_notes(seed: int) -> np.ndarray:
    """Return the notes of 8 s, with none from 2 to 4 s."""
    parts = [toy_notes(8 * seed + k + 1) for k in range(SEGMENTS)]
    for k, part in enumerate(parts):
        part[:, 0] += WINDOW_S * k
    return np.concatenate([parts[0], *parts[2:]])


def write_truth(path: Path, notes: np.ndarray, song: str) -> None:
    np.savez(path, notes=notes, note_columns=np.array(NOTE_COLUMNS), song=np.array(song))


def stored(root: Path, name: str) -> dict[str, np.ndarray]:
    tars = sorted((root / "notes" / name).glob("*.tar"))
    return {key: read_npy(found[NOTES]) for tar in tars for key, found in read_shard(tar)}


def tars(root: Path, name: str) -> dict[str, bytes]:
    return {tar.name: tar.read_bytes() for tar in (root / "notes" / name).glob("*.tar")}


def write_midis(folder: Path) -> Path:
    folder.mkdir()
    for seed, video in enumerate(IDS):
        file = midi_bytes(song_notes(seed), 120.0, video)
        (folder / f"{video}-song.mid").write_bytes(file)
    return folder


def test_synthetic_notes_are_the_truth_in_the_features_order(root, engine):
    result = extract_notes(root, Synthetic(), engine)
    found = stored(root, "synthetic")
    keys = [key for tar in sorted(root.glob("*.tar")) for key, _ in read_shard(tar)]
    assert [*found] == keys and len(keys) == result.segments == 16
    for seed, video in enumerate(IDS):
        windows = [found[f"{video}_seg{k + 1:04d}"].copy() for k in range(SEGMENTS)]
        assert windows[1].shape == (0, 7)  # a window without notes is a window
        for k, window in enumerate(windows):
            window[:, 0] += WINDOW_S * k
        np.testing.assert_allclose(np.concatenate(windows), song_notes(seed), atol=1e-6)
    total = sum(map(len, found.values()))
    assert (result.pitched + result.drums, result.empty) == (total, 4)
    entry = load_dataset(root).notes["synthetic"]
    assert entry == result.entry and entry.note.startswith("exact") and not entry.without
    assert len(list(verify(root))) == 3 * len([*root.glob("*.tar")])  # features, codes, notes


def test_again_finds_nothing_anew_and_writes_the_same(root, monkeypatch):
    extract_notes(root, Synthetic())
    before = tars(root, "synthetic")
    with monkeypatch.context() as patch:
        patch.setattr(Synthetic, "notes", lambda *_: pytest.fail("read again"))
        extract_notes(root, Synthetic())
    assert tars(root, "synthetic") == before
    cut_short(stored_results(root, "notes")[0])
    extract_notes(root, Synthetic())
    assert tars(root, "synthetic") == before


def test_a_stopped_run_continues_where_it_was(root, monkeypatch):
    asked: list[str] = []
    notes = Synthetic.notes

    def stop_at_the_third(self, video, window_s):
        asked.append(video.keys[0])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return notes(self, video, window_s)

    monkeypatch.setattr(Synthetic, "notes", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract_notes(root, Synthetic())
    assert not (root / "notes").exists() and not load_dataset(root).notes
    extract_notes(root, Synthetic())
    assert len(asked) == 3 + 3 and asked[2] == asked[3]  # five parts of videos, two were stored
    assert len(stored(root, "synthetic")) == 16


def test_midi_files_by_song_give_the_notes_within_a_millisecond(root, tmp_path):
    folder = write_midis(tmp_path / "midis")
    result = extract_notes(root, Midi(folder))
    assert result.entry.note.startswith("MIDI files of midis: 4, SHA-256 ")
    found = stored(root, "midi")
    for seed, video in enumerate(IDS):
        for k in range(SEGMENTS):
            notes = found[f"{video}_seg{k + 1:04d}"]
            wanted = notes_in(song_notes(seed), WINDOW_S * k, WINDOW_S)
            order = np.lexsort((notes[:, 2], notes[:, 0]))
            np.testing.assert_allclose(notes[order, :2], wanted[:, :2], atol=0.0011)
            np.testing.assert_array_equal(notes[order, 2:4], wanted[:, 2:4])
    (folder / "train0.mid").write_bytes(midi_bytes(song_notes(9), 120.0, "of the video"))
    assert extract_notes(root, Midi(folder)).segments == 16
    changed = stored(root, "midi")
    assert [key for key in found if not np.array_equal(found[key], changed[key])]
    assert all(np.array_equal(found[k], changed[k]) for k in found if not k.startswith("train0_"))


def test_broken_midi_is_named_and_the_others_go_on(root, tmp_path, monkeypatch):
    folder = write_midis(tmp_path / "midis")
    good = (folder / "train1-song.mid").read_bytes()
    (folder / "train0-song.mid").write_bytes(good[:40])
    (folder / "train1-song.mid").write_bytes(midi_bytes(np.zeros((0, 7)), 120.0, "empty"))
    (folder / "val0-song.mid").unlink()
    expected = (
        r"no notes of 4 of 5 videos: train0: bad_notes: .*train0-song.mid: not a MIDI file, or "
        r"damaged .*train1: bad_notes: .*train1-song.mid: a MIDI file without notes.*; and 1 more; "
        r"correct these files, and run the same command again, or go on .*: --allow-missing"
    )
    with pytest.raises(OSError, match=expected):
        extract_notes(root, Midi(folder))
    assert not (root / "notes").exists() and not load_dataset(root).notes
    result = extract_notes(root, Midi(folder), allow_missing=True)
    assert result.entry.without == ["train0", "train1", "val0"]
    assert load_dataset(root).notes["midi"] == result.entry
    found = stored(root, "midi")
    assert len(found) == 16 and result.empty == 13  # 12 of these videos, and one that is empty
    assert any(len(notes) for key, notes in found.items() if key.startswith("train2_"))
    assert "their windows are stored without notes" in result.lines()[1]
    list(verify(root))
    asked: list[str] = []
    notes = Midi.notes
    monkeypatch.setattr(
        Midi, "notes", lambda self, video, s: asked.append(video.video_id) or notes(self, video, s)
    )
    for name in ("train0", "train1", "val0"):
        (folder / f"{name}-song.mid").write_bytes(good)
    assert not extract_notes(root, Midi(folder)).entry.without
    assert asked and "train2" not in asked  # equal files in equal windows are read once


def test_a_truth_that_does_not_fit_is_named(root, tmp_path):
    truth = tmp_path / "made" / "truth"
    write_truth(truth / "train0.npz", song_notes(0), "another-song")
    np.savez(truth / "train1.npz", song=np.array("train1-song"))
    (truth / "train2.npz").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(OSError) as told:
        extract_notes(root, Synthetic())
    assert "the ground truth of song another-song, expected train0-song" in str(told.value)
    assert "train1.npz: a ground truth without notes, of an earlier version" in str(told.value)
    (truth / "train0.npz").unlink()
    with pytest.raises(OSError, match=r"train0: missing_notes: .*train0.npz: not found; write it"):
        extract_notes(root, Synthetic())


def test_the_command_says_what_was_written_and_what_to_do(root, tmp_path, capsys):
    command = ("notes", "--shards", root, "--engine", "local")
    assert run(*command, "--from", "synthetic") == 0
    written = capsys.readouterr().out.splitlines()
    assert written[0].startswith("notes of 16 segments: ") and "4 segments have none" in written[0]
    assert written[1].startswith("NOTE exact") and written[2].endswith("/notes/synthetic")
    assert run(*command, "--from", "midi") == 2
    assert "add --midi DIR" in capsys.readouterr().err
    assert run(*command, "--from", "midi", "--truth", tmp_path) == 2
    assert "--truth goes with --from synthetic" in capsys.readouterr().err
    assert run(*command, "--from", "midi", "--midi", tmp_path / "none") == 1
    assert "no such folder; expected <song>.mid" in capsys.readouterr().err
    assert run(*command, "--from", "piano") == 2
    assert "synthetic, basic-pitch, midi" in capsys.readouterr().err
    dataset = load_dataset(root)
    dataset.source = ""
    save_dataset(root, dataset)
    assert run(*command, "--from", "synthetic") == 1
    assert "give the folder of the ground truth: --truth DIR" in capsys.readouterr().err
    assert run(*command, "--from", "synthetic", "--truth", tmp_path / "made" / "truth") == 0


def test_a_source_of_another_package_needs_no_change_here(root):
    class Metronome(NoteSource):
        name = "metronome"

        def content(self, video: VideoNotes) -> str:
            return "the same for every video"

        def notes(self, video: VideoNotes, window_s: float) -> np.ndarray:
            return np.array([[at, 0.1, 76, 100, 128, 0, -1] for at in np.arange(0, 8, 0.5)])

    extract_notes(root, Metronome())
    assert {len(notes) for notes in stored(root, "metronome").values()} == {4}
    assert NOTE_SOURCES.kind == "note-sources"


def test_segments_are_joined_as_far_as_they_follow_each_other():
    starts = (0.0, 2.0, 6.0, 8.0, 10.0, 14.0)
    video = VideoNotes(Path("x.tar"), ("k",) * 6, starts_s=starts)
    assert list(joined(video, 2.0)) == [[0, 1], [2, 3, 4], [5]]


def test_what_may_pass_next_time_is_tried_again_and_never_left_out(root, monkeypatch):
    monkeypatch.setattr(Synthetic, "notes", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(OSError, match=r"of 5 videos: .*out_of_memory.*run the same command again"):
        extract_notes(root, Synthetic(), allow_missing=True)
    monkeypatch.undo()
    assert extract_notes(root, Synthetic()).segments == 16
