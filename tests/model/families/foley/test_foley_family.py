"""Foley Music as a family: batches, augmentation, windows that continue, and whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from note_runs import check_resumed, small_font, train_notes
from note_shards import add_toy_notes
from training_runs import command, dataset_and_codec

from model.codecs.none import NoCodec
from model.contract.segment import MOTION
from model.data.inputs import Inputs, InputSpec
from model.families.foley.config import Config, Options
from model.families.foley.events import END, NOTE_OFF, NOTE_ON, PAD, SHIFT, SHIFTS_S, START
from model.families.foley.family import Foley, starts, window_of
from model.families.notes.clips import NoteClip
from model.generation.run import load_run
from model.runtime.checkpoint import read_checkpoint

TINY = {
    "clip_s": 2.0, "graph_widths": (8, 8), "graph_strides": (1, 2), "width": 16, "layers": 2,
    "heads": 2, "inner": 32, "most_events": 64, "max_steps": 8, "warmup_steps": 2,
}  # fmt: skip
WORDS = [
    word
    for name, value in TINY.items()
    if name != "max_steps"
    for word in ("--set", f"{name}={value}".replace("(", "").replace(")", ""))
]


def small_model(**settings) -> Foley:
    torch.manual_seed(0)
    inputs = Inputs(44_100, {MOTION: InputSpec(72, 2.0 / 60, 60)})
    model = Foley(Config(**(TINY | settings)), inputs, NoCodec(), torch.device("cpu"))
    model.network.eval()
    model.validation = None
    return model


def dance(seconds: float, notes=(), fps: float = 30.0) -> NoteClip:
    frames = round(seconds * fps)
    joints = np.random.default_rng(0).normal(size=(frames, 24, 3)).astype(np.float32)
    rows = np.array(notes, np.float64).reshape(-1, 7)
    return NoteClip("toy", "song", seconds, joints, np.ones((frames, 24), bool), fps, rows)


def note(onset_s: float, pitch: int, track: int = 2, program: int = 4) -> tuple[float, ...]:
    return (onset_s, 0.2, pitch, 100, program, track, -1)


# --- windows and batches -------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_a_window_has_x_y_and_what_is_seen(fps):
    clip = dance(2.0, fps=fps)
    clip.seen[:, 7] = False
    window = window_of(clip, 2.0)
    assert window.shape == (3, 60, 24) and window.dtype == torch.float32
    assert not window[2, :, 7].any() and window[2, :, 8].all()
    late = window_of(clip.since(1.5), 2.0)
    assert late[2, :15, 8].all() and not late[2, 15:].any()
    assert torch.equal(late[:2, 15:], late[:2, 14:15].expand(-1, 45, -1))
    with pytest.raises(ValueError, match="toy: no joints; build the shards with --motion"):
        window_of(replace(clip, joints=None), 2.0)


def test_windows_of_a_piece_overlap_by_half_and_end_with_it():
    assert list(starts(2.0, 2.0)) == [0] and list(starts(1.2, 2.0)) == [0]
    assert list(starts(4.0, 2.0)) == [0, 1, 2]
    assert list(starts(4.5, 2.0)) == [0, 1, 2, 2.5]


def test_batches_have_the_wanted_notes_of_random_windows():
    model = small_model()
    notes = [note(i * 0.5, 60 + i, track=1 + i % 3) for i in range(16)] + [note(1.0, 36, 0, 128)]
    clip = dance(8.0, sorted(notes))
    model.prepare([clip])
    rng, seen = np.random.default_rng(0), set()
    for _ in range(30):
        batch = model.batch_of([clip.since(2.0), clip.since(6.0)], rng)
        assert batch["poses"].shape == (2, 3, 60, 24)
        first, last = batch["events"].tolist()
        assert first[0] == START and first.count(END) == 1 and len(first) <= 65
        assert not set(first[first.index(END) + 1 :]) - {PAD}
        pitches = {event + 21 for event in first if event < NOTE_OFF}
        assert pitches <= {61, 62, 64, 65, 67, 68, 70, 71, 73, 74} and len(pitches) >= 2
        assert {event + 21 for event in last if event < NOTE_OFF} == {73, 74}  # bass is left out
        seen |= pitches
    assert {65, 67, 68, 71} <= seen
    with pytest.raises(ValueError, match="none of the tracks chords, lead; choose others with"):
        model.prepare([replace(clip, notes=clip.notes[clip.notes[:, 5] == 1])])
    model = small_model(tracks=("pitched",))
    model.prepare([clip])
    assert len(model.wanted(clip)) == 16


def test_a_sequence_that_is_too_long_is_cut_without_an_end():
    model = small_model()
    clip = dance(2.0, [note(i / 30, 40 + i) for i in range(60)])
    model.prepare([clip])
    batch = model.batch_of([clip], np.random.default_rng(0))
    assert batch["events"].shape == (1, 65) and END not in batch["events"]
    assert model.loss(model.network, batch)["total"].isfinite()


def test_training_poses_turn_grow_and_move_slowly_and_validation_poses_do_not():
    model = small_model()
    poses = window_of(dance(2.0), 2.0)[None].expand(200, -1, -1, -1)
    moved = model.moved(poses)
    assert torch.equal(moved[:, 2], poses[:, 2])
    middle = moved[:, :2].mean(3) - poses[:, :2].mean(3)  # the shift, as the mean pose is near 0
    assert 0.15 < middle.abs().max() < 0.5
    limb = (moved[..., 20] - moved[..., 5])[:, :2]
    true = (poses[..., 20] - poses[..., 5])[:, :2]
    size = limb.norm(dim=1) / true.norm(dim=1)
    assert 0.9 - 1e-4 < size.min() < 0.93 and 1.07 < size.max() < 1.1 + 1e-4
    turn = (torch.atan2(limb[:, 1], limb[:, 0]) - torch.atan2(true[:, 1], true[:, 0])).rad2deg()
    turn = (turn + 180) % 360 - 180
    assert turn.min() < -8 and turn.max() > 8 and turn.abs().max() < 10.01
    torch.testing.assert_close(turn[:, 30], (turn[:, 20] + turn[:, 40]) / 2, atol=0.02, rtol=0)
    batch = {"poses": poses[:2], "events": torch.tensor([[START, 40, END]] * 2)}
    losses = {model.loss(model.network, batch)["total"].item() for _ in range(2)}
    assert len(losses) == 1
    model.network.train()
    assert len({model.loss(model.network, batch)["total"].item() for _ in range(2)}) == 2


# --- generation ----------------------------------------------------------------------------------


def test_each_window_begins_with_the_music_so_far_and_goes_on(monkeypatch):
    """What is drawn here: a note every half second, held over the middle of the next window."""
    model, begun = small_model(), []
    half = [SHIFT + int(i) for i in (SHIFTS_S.searchsorted(0.5) - 1,)]

    def drawn(network, poses, begin, *rest):
        begun.append(list(begin))
        pitch = 10 + len(begun)
        return [*begin, *half, NOTE_ON + pitch, *half, NOTE_OFF + pitch, NOTE_ON + pitch + 40]

    monkeypatch.setattr("model.families.foley.family.draw", drawn)
    notes = model.notes_for(dance(4.0), Options(program=7), np.random.default_rng(0))
    assert len(begun) == 3 and begun[0] == []
    assert begun[1] == []  # the notes of the first window began before the second one
    assert (np.diff(notes[:, 0]) >= 0).all()
    assert (notes[:, 4] == 7).all() and (notes[:, 5] == 2).all()
    assert notes[:, 2].tolist() == [32, 72, 33, 73, 34, 74]
    assert notes[:, 0] == pytest.approx([0.46, 0.92, 1.46, 1.92, 2.46, 2.92], abs=0.1)
    ends = notes[:, 0] + notes[:, 1]
    assert ends.max() == pytest.approx(4.0)


def test_a_note_held_over_a_window_s_end_is_ended_by_the_next_window(monkeypatch):
    model, begun = small_model(), []
    second = [SHIFT + 30]  # 1.02 s

    def drawn(network, poses, begin, *rest):
        begun.append(list(begin))
        if len(begun) == 1:
            return [*second, NOTE_ON + 39]  # sounds at the end of the first window
        return [*begin, *second, NOTE_OFF + 39] if len(begun) == 2 else list(begin)

    monkeypatch.setattr("model.families.foley.family.draw", drawn)
    notes = model.notes_for(dance(4.0), Options(), np.random.default_rng(0))
    assert begun[1][-1] == NOTE_ON + 39 and NOTE_OFF + 39 not in begun[1]
    assert len(notes) == 1
    assert notes[0, 0] == pytest.approx(1.018, abs=0.02)
    assert notes[0, 1] == pytest.approx(1.018, abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("beam", [0, 2])
def test_the_same_seed_plays_the_same_notes_within_the_dance(beam):
    model = small_model()
    for seconds in (1.0, 2.0, 5.3):
        played = [
            model.notes_for(dance(seconds), Options(beam=beam), np.random.default_rng(seed))
            for seed in (3, 3)
        ]
        np.testing.assert_array_equal(*played)
        onsets = played[0][:, 0]
        assert (onsets >= 0).all() and (onsets < seconds).all() and (np.diff(onsets) >= 0).all()


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    root, _ = dataset_and_codec(tmp_path_factory.mktemp("foley"), {"train": 3, "val": 1, "test": 2})
    add_toy_notes(root)
    return root


@pytest.mark.long
def test_a_run_resumes_bit_for_bit_and_its_average_has_the_statistics(
    shards, tmp_path, monkeypatch
):
    small_font(tmp_path, monkeypatch)
    check_resumed("foley", shards, tmp_path, monkeypatch, *WORDS)
    state = read_checkpoint(tmp_path / "whole" / "last.pt")
    name = "graph.norm.running_mean"
    assert torch.equal(state["network"][name], state["trained"][name])
    assert state["network"][name].abs().max() > 0
    assert not torch.equal(state["network"]["out.weight"], state["trained"]["out.weight"])


@pytest.mark.long
def test_a_run_plays_a_split_the_same_for_the_same_seed(shards, tmp_path, monkeypatch, capsys):
    small_font(tmp_path, monkeypatch)
    run = train_notes("foley", shards, tmp_path / "run", *WORDS)
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        assert command("generate", "--run", run, "--shards", shards, "--out", out, "--seed", seed,
                       "--set", "top_p=0.95") == 0  # fmt: skip
        rows = json.loads((out / "generated.json").read_text(encoding="utf-8"))["generated"]
        found[name] = [(out / row["midi"]).read_bytes() for row in rows]
    assert found["a"] == found["b"] != found["c"]
    assert "Foley Music: an implementation, not a reproduction; 8 steps" in capsys.readouterr().out
    assert load_run(run).model.config.tracks == ("chords", "lead")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("graph_strides=1,1,1", "graph_widths has 10 blocks, graph_strides 3"),
        ("width=100", "width is 100; expected a multiple of 16"),
        ("tracks=drums", "expected one of bass, chords, lead, pitched"),
    ],
)
def test_settings_that_fit_no_network_are_refused(setting, expected, shards, tmp_path, capsys):
    words = ("train", "--family", "foley", "--shards", shards, "--out", tmp_path / "run")
    assert command(*words, "--set", setting) != 0
    assert expected in capsys.readouterr().err
