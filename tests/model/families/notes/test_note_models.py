"""A family of notes: learnt from notes in memory, resumed bit for bit, played without a codec."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mido
import numpy as np
import pytest
from note_runs import check_resumed, small_font, train_notes
from note_shards import add_toy_notes
from training_runs import command, dataset_and_codec

from model.contract.dataset import load_dataset
from model.contract.kinds import FAMILIES
from model.contract.notes import DRUM_PROGRAM, midi_of
from model.contract.storage import to_location
from model.contract.wav import decode_wav
from model.data.source import Source
from model.families.notes.clips import read_note_clips
from model.generation.run import load_run


@pytest.fixture(autouse=True)
def pulse(monkeypatch):
    monkeypatch.setitem(FAMILIES.own, "pulse", "pulse_family:Pulse")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    root, _ = dataset_and_codec(tmp_path_factory.mktemp("pulse"), {"train": 3, "val": 1, "test": 2})
    add_toy_notes(root)
    return root


@pytest.fixture
def font(tmp_path, monkeypatch) -> Path:
    """A small sound font, in place of the default one."""
    return small_font(tmp_path, monkeypatch)


def test_clips_are_whole_and_their_notes_in_time(shards):
    root = to_location(shards)
    dataset = load_dataset(root)
    clips = read_note_clips(Source(root, dataset, "train", "", {}, ()), "synthetic")
    assert len(clips.clips) == 3 and len(clips.places) == 9
    for key, (number, start_s) in clips.places.items():
        clip, rest = clips.clips[number], clips.at(key)
        assert clip.seconds == 6 and clip.joints.shape == (360, 24, 3) and clip.fps == 60
        assert rest.seconds == 6 - start_s and len(rest.joints) == round(rest.seconds * 60)
        later = clip.notes[clip.notes[:, 0] >= start_s]
        np.testing.assert_allclose(rest.notes[:, 0] + start_s, later[:, 0])
    assert (np.diff(clips.clips[0].notes[:, 0]) >= 0).all()


def test_a_run_learns_without_codes_and_resumes_bit_for_bit(
    shards, tmp_path, font, capsys, monkeypatch
):
    bare = tmp_path / "bare"
    shutil.copytree(shards, bare, ignore=shutil.ignore_patterns("codes"))
    content = json.loads((bare / "dataset.json").read_text(encoding="utf-8"))
    (bare / "dataset.json").write_text(json.dumps({**content, "codecs": {}}), encoding="utf-8")
    found = check_resumed("pulse", bare, tmp_path, monkeypatch)
    assert "codec" not in capsys.readouterr().out
    assert found["config"]["notes"] == "synthetic" and found["codec"]["id"] == "none"
    assert float(found["network"]["mean_speed"]) > 0
    logged = [
        json.loads(line)
        for line in (tmp_path / "whole" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert any("val/loss" in row for row in logged) and not any("val/mel" in row for row in logged)


@pytest.mark.long
def test_music_is_generated_as_wav_and_midi_and_scored(shards, tmp_path, font, capsys):
    run = train_notes("pulse", shards, tmp_path / "run")
    out = tmp_path / "music"
    assert command("generate", "--run", run, "--shards", shards, "--out", out) == 0
    said = capsys.readouterr().out
    assert (
        "an implementation, not a reproduction; 8 steps on the notes synthetic; sound font" in said
    )
    summary = json.loads((out / "generated.json").read_text(encoding="utf-8"))
    assert summary["codec"] == "none" and summary["level"] == ""
    for row in summary["generated"]:
        assert row["notes"] == 12 and row["samples"] == 6 * 22_050
        played = [m for m in mido.MidiFile(out / row["midi"]) if m.type == "note_on"]
        assert len(played) == 12
        sound = decode_wav((out / row["file"]).read_bytes(), row["file"])
        assert len(sound) == row["samples"] and np.abs(sound).max() == pytest.approx(0.95, abs=1e-3)
    assert command("evaluate", "--run", run, "--shards", shards, "--embedding", "none",
                   "--music", f"files={out}") == 0  # fmt: skip
    found = json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert (
        found["row"] == "Pulse" and found["level"] == "" and {"random codes"} < set(found["rows"])
    )
    assert any("Pulse: an implementation" in label for label in found["labels"])


def test_an_exported_run_plays_the_same(shards, tmp_path, font):
    run = train_notes("pulse", shards, tmp_path / "run")
    assert command("export", "--run", run, "--out", tmp_path / "small", "--note", "toy") == 0
    loaded = load_run(tmp_path / "small")
    assert loaded.name == "Pulse" and loaded.model.levels == ()
    assert float(loaded.model.network.mean_speed) > 0


def test_what_is_missing_is_told(shards, tmp_path, font, capsys):
    run = train_notes("pulse", shards, tmp_path / "run")
    words = ("generate", "--run", run, "--shards", shards, "--out", tmp_path / "music")
    assert command(*words, "--set", f"soundfont={tmp_path / 'none.sf2'}") != 0
    assert "none.sf2: no such file; expected a sound font" in capsys.readouterr().err
    train_notes("pulse", shards, tmp_path / "other", "--set", "notes=midi", code=1)
    assert "no notes 'midi', there are synthetic" in capsys.readouterr().err


def test_any_notes_are_written_as_midi_with_a_track_for_each_program(tmp_path):
    programs = [DRUM_PROGRAM, *range(0, 120, 8)]
    notes = np.array([[i / 4, 0.2, 60, 90, program, 0, -1] for i, program in enumerate(programs)])
    path = tmp_path / "notes.mid"
    path.write_bytes(midi_of(notes, "all"))
    found = {}
    for track in mido.MidiFile(path).tracks:
        program = next((m.program for m in track if m.type == "program_change"), None)
        for message in track:
            if message.type == "note_on":
                found[message.channel] = program
    assert found.pop(9) == 0 and sorted(found.values()) == programs[1:]
    with pytest.raises(ValueError, match="16 programs, expected at most 15"):
        midi_of(np.array([[0, 1, 60, 90, program, 0, -1] for program in range(16)]), "many")
