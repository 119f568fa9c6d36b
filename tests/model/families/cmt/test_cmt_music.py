"""CMT's network, controls and writing: what is asked for appears, and nothing crashes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_notes import cut, song_notes

from model.contract.notes import check_notes
from model.data.inputs import Inputs
from model.families.cmt.config import PRESETS, Config, Options
from model.families.cmt.controls import HITS, Controls, Thresholds, controls_of, measure
from model.families.cmt.family import Cmt
from model.families.cmt.grid import BASS, DRUMS, PIANO, Grid, accented, to_notes
from model.families.cmt.losses import attribute_losses
from model.families.cmt.movement import movement_of
from model.families.cmt.network import CmtNetwork, prefix_of
from model.families.cmt.sampling import Writer, forced_families
from model.families.cmt.tempo import met
from model.families.cmt.words import (
    ATTRIBUTES,
    BAR,
    BEAT,
    DENSITY,
    TICK,
    TYPE,
    from_words,
    to_words,
)
from model.families.notes.clips import NoteClip
from pipeline.sources.synthetic.dance import choreograph
from pipeline.sources.synthetic.styles import STYLES

SMALL = {"embeddings": (8,) * 7, "p_beat_width": 8, "width": 32, "layers": 2, "heads": 2,
         "wide": 64, "words": 96}  # fmt: skip
EVERY_PITCH = np.ones((5, 128), bool)


def network(seed: int = 0, **sizes: int) -> CmtNetwork:
    torch.manual_seed(seed)
    return CmtNetwork((8,) * 7, 8, 32, 2, 2, 64, 0.1).eval()


def words_of(seed: int = 0) -> np.ndarray:
    rows = np.array([[t, f, 40 + 3 * f + t, 2] for t in range(0, 32, 3) for f in (0, 2, 4)])
    return to_words(rows, 32)


def model(**sizes: object) -> Cmt:
    torch.manual_seed(0)
    config = Config(**{**SMALL, **sizes})
    made = Cmt(config, Inputs({}, 44_100), None, torch.device("cpu"))  # type: ignore[arg-type]
    made.network.eval()
    return made


def dancer(
    seed: int = 0, tempo_bpm: float = 104.0, seconds: float = 8.0, fps: int = 30
) -> np.ndarray:
    rng, beat_s = np.random.default_rng(seed), 60 / tempo_bpm
    beats_s = np.arange(float(rng.uniform(0, beat_s)), seconds, beat_s)
    dance = choreograph("BR", beats_s, round(60 * seconds), rng)
    return dance.joints_m.astype(np.float32)[:: 60 // fps]


def clip(seed: int, genre: str = "BR", seconds: float = 8.0) -> NoteClip:
    joints = dancer(seed, 104.0, seconds)
    seen = np.ones(joints.shape[:2], bool)
    notes = cut(song_notes(genre, seed, 104.0), 0, seconds)
    return NoteClip(f"c{seed}", f"s{seed}", seconds, joints, seen, 30.0, notes)


# --- network -------------------------------------------------------------------------------------


def test_presets_have_the_sizes_of_the_paper_and_of_ten_minutes():
    for name, millions in (("full", 38.9), ("tiny", 0.88)):
        config = Config(**PRESETS[name])
        made = CmtNetwork(config.embeddings, config.p_beat_width, config.width, config.layers,
                          config.heads, config.wide, config.dropout)  # fmt: skip
        count = sum(p.numel() for p in made.parameters()) / 1e6
        assert count == pytest.approx(millions, rel=0.01)


def test_decoding_with_the_cache_equals_full_recomputation():
    made, words = network(), torch.from_numpy(words_of())[None]
    prefix = prefix_of(np.array([[True, False, True, False, True]]))
    with torch.inference_mode():
        whole = made(prefix, words)
        state, cache = made.begin(prefix, words[:, :0])
        states = [state]
        for i in range(words.shape[1]):
            state, cache = made.go_on(words[:, i], cache)
            states.append(state)
        torch.testing.assert_close(torch.stack(states, 1), whole, atol=1e-5, rtol=1e-4)
        begun, _ = made.begin(prefix, words[:, :20])
        torch.testing.assert_close(begun, whole[:, 20], atol=1e-5, rtol=1e-4)


def test_no_state_sees_what_follows():
    made, words = network(), torch.from_numpy(words_of())[None]
    prefix = prefix_of(np.ones((1, 5), bool))
    other = words.clone()
    other[:, 30:, :7] = 1
    with torch.inference_mode():
        first, second = made(prefix, words), made(prefix, other)
    torch.testing.assert_close(first[:, :31], second[:, :31])
    assert (first[:, 31:] - second[:, 31:]).abs().max() > 1e-3


def test_the_loss_is_a_mean_over_attributes_of_the_words_that_have_them():
    words = torch.from_numpy(words_of())[None]
    known = torch.ones(words.shape[:2], dtype=torch.bool)
    known[:, 10:] = False
    sizes = {"beat": 18, "type": 3, "density": 18, "pitch": 129, "duration": 18, "instrument": 6,
             "strength": 20}  # fmt: skip
    logits = {name: torch.zeros(1, words.shape[1], sizes[name]) for name in ATTRIBUTES}
    found = attribute_losses(logits, words, known)
    for name in ATTRIBUTES:
        assert float(found[name]) == pytest.approx(np.log(sizes[name]), rel=1e-5)
    assert float(found["total"]) == pytest.approx(np.mean([np.log(n) for n in sizes.values()]))
    certain = {name: x.clone() for name, x in logits.items()}
    for column, name in enumerate(ATTRIBUTES):
        certain[name][0, torch.arange(10), words[0, :10, column]] = 50.0
    assert float(attribute_losses(certain, words, known)["total"]) < 1e-6


# --- controls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempo_bpm", [82.0, 97.5, 111.3, 128.0])
@pytest.mark.parametrize(("noisy", "fps"), [(False, 30), (False, 60), (True, 30), (True, 60)])
def test_tempo_and_beats_of_a_dance_of_8_s_are_found(tempo_bpm, noisy, fps):
    rng = np.random.default_rng(3)
    joints = dancer(4, tempo_bpm, fps=fps)
    seen = np.ones(joints.shape[:2], bool)
    if noisy:  # as 2D poses of a picture: jitter, lost joints, single wrong ones
        joints = joints[..., :2] / 1.9 + rng.normal(0, 0.005, (*joints.shape[:2], 2))
        seen = rng.random(seen.shape) > 0.2
        seen[:, 5] = False
        joints[~seen] = 0
        joints[rng.random(seen.shape) < 0.01] = 3.0
    beat_s = 60 / tempo_bpm
    true_s = np.arange(float(np.random.default_rng(4).uniform(0, beat_s)), 8, beat_s)
    dance = measure(joints, seen, float(fps), 8.0)
    assert dance.grid.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02)
    distance_s = np.abs(true_s[:, None] - dance.grid.beats_s).min(1)
    assert distance_s.mean() < (0.03 if noisy else 0.02)
    assert len(dance.speeds) == -(-dance.end // 16) and (dance.speeds > 0).all()
    assert 0.5 * len(true_s) < len(dance.ticks) < 2 * len(true_s)


def test_a_grid_is_moved_to_the_events_near_its_half_beats():
    true_s = 0.13 + 0.3 * np.array([0, 1, 2, 4, 5, 8, 9, 12, 13])
    times_s = np.append(true_s, 0.13 + 0.3 * 6.5)  # between two half beats: does not count
    first_s, beat_s = met(0.09, 0.606, times_s, np.ones(len(times_s)))
    assert (first_s, beat_s) == (pytest.approx(0.13), pytest.approx(0.6))
    first_s, beat_s = met(0.09, 0.606, true_s[:2], np.ones(2))
    assert beat_s == pytest.approx(0.606) and first_s == pytest.approx(0.13, abs=0.01)
    assert met(0.09, 0.606, np.zeros(0), np.zeros(0)) == (pytest.approx(0.09), 0.606)


def test_gaps_are_interpolated_and_do_not_count_as_movement():
    joints, seen = dancer(1), np.ones((240, 24), bool)
    whole = movement_of(joints, seen, 30.0)
    seen[100:104, 3] = False
    seen[::7, 20] = False
    joints[~seen] = 1e6
    found = movement_of(joints, seen, 30.0)
    assert np.abs(found.speed - whole.speed).max() < 0.2 * whole.speed.max()


@pytest.mark.parametrize("case", ["still", "unseen", "short", "not finite"])
def test_whoever_does_not_move_gets_music(case):
    joints = np.repeat(dancer(2)[:1], 240, 0)
    seen = np.ones(joints.shape[:2], bool)
    seconds = 8.0
    if case == "unseen":
        seen[:] = False
    if case == "short":
        joints, seen, seconds = joints[:2], seen[:2], 2 / 30
    if case == "not finite":
        joints[:] = np.nan
    dance = measure(joints, seen, 30.0, seconds)
    assert dance.grid.tempo_bpm == pytest.approx(120) and not len(dance.ticks)
    quiet = NoteClip("still", "", seconds, joints, seen, 30.0)
    notes = model().notes_for(quiet, Options(), np.random.default_rng(0))
    assert notes.shape[1] == 7 and (case == "short" or len(notes))


def test_thresholds_match_quantiles_of_movement_with_those_of_music():
    dances = [measure(dancer(seed), None, 30.0, 8.0) for seed in range(4)]
    densities = np.array([4, 4, 8, 8, 12, 12, 16, 16])
    strengths = [np.array([1, 1, 2, 5]), *(np.zeros(0) for _ in range(4))]
    fitted = Thresholds.fit(dances, densities, strengths)
    speeds = np.concatenate([dance.speeds for dance in dances])
    found = fitted.density(speeds)
    assert (np.diff(found[np.argsort(speeds)]) >= 0).all()
    assert found.min() == 4 and found.max() == 16
    assert abs(found.mean() - 10) < 1
    strength = fitted.strength(np.array([0.0, 1e3]))
    assert strength[:, DRUMS].tolist() == [1, 5] and (strength[:, 1:] == 1).all()
    # A dance that is as fast as nobody in the training split gets the highest density.
    fast = replace(dances[0], speeds=dances[0].speeds * 100, impacts=dances[0].impacts * 100)
    assert set(controls_of(fast, fitted).densities) == {16}


def test_statistics_are_those_of_the_training_split_alone():
    made = model()
    other = dict(made.network.statistics.named_buffers())
    before = {name: x.clone() for name, x in other.items()}
    made.batch_of([clip(7)], np.random.default_rng(0))
    made.notes_for(replace(clip(8), notes=None), Options(), np.random.default_rng(0))
    for name, x in made.network.statistics.named_buffers():
        assert torch.equal(x, before[name])
    made.prepare([clip(0), clip(1)])
    fitted = {name: x.clone() for name, x in made.network.statistics.named_buffers()}
    assert not torch.equal(fitted["densities"], before["densities"])
    made.prepare([clip(0), clip(1)])
    for name, x in made.network.statistics.named_buffers():
        assert torch.equal(x, fitted[name])
    played = np.unique(np.concatenate([clip(s).notes[:, 2] for s in (0, 1)]))
    assert set(np.flatnonzero(fitted["pitches"][:1].any(0).numpy())) <= set(played.astype(int))


# --- writing -------------------------------------------------------------------------------------


def controls(bars: int = 4, first: int = 5, end: int = 60) -> Controls:
    rng = np.random.default_rng(1)
    ticks = sorted({*rng.integers(first, end, 9).tolist(), 59})
    beats = {tick: rng.integers(1, 5, 5) for tick in ticks}
    return Controls(Grid.steady(110, -0.2, 8.0), first, end, np.array([3, 9, 0, 16]), beats)


@pytest.mark.parametrize(
    "families", [(1, 1, 1, 1, 1), (1, 0, 0, 1, 1), (0, 1, 0, 0, 0), (0, 0, 0, 1, 0)]
)
@pytest.mark.parametrize("control", [0.0, 0.7, 1.0])
def test_forced_densities_and_strengths_appear_in_what_is_drawn(families, control):
    asked, families = controls(), np.array(families, bool)
    options = Options(control=control)
    writer = Writer(network(), asked, families, EVERY_PITCH, options, 4000,
                    np.random.default_rng(0))  # fmt: skip
    words = writer.write()
    rows = from_words(words)
    # What the words say is what they do: made from the notes again, they are the same.
    expected = to_words(rows, asked.end)
    np.testing.assert_array_equal(words, expected)
    assert rows[:, 0].min() >= asked.first and rows[:, 0].max() < asked.end
    assert set(rows[:, 1]) <= set(np.flatnonzero(families))
    forced = forced_families(families)
    for tick, strengths in asked.beats.items():
        for family in forced:
            count = ((rows[:, 0] == tick) & (rows[:, 1] == family)).sum()
            assert count == strengths[family]
    if control == 1.0:
        found = words[words[:, BEAT] == BAR, DENSITY] - 1
        for bar, density in enumerate(asked.densities):
            inside = range(max(asked.first, 16 * bar), min(asked.end, 16 * bar + 16))
            visual = sum(tick in inside for tick in asked.beats)
            part = round(int(density) * len(inside) / 16)
            assert found[bar] == max(part, visual)


def test_drums_play_bass_and_snare_drum_at_visual_beats_where_they_have_them():
    asked, everyone, pitches = controls(), np.ones(5, bool), EVERY_PITCH.copy()
    for strengths in asked.beats.values():
        strengths[DRUMS] = max(2, strengths[DRUMS])
    for without in (False, True):
        pitches[DRUMS, [pitch for each in HITS for pitch in each]] = not without
        writer = Writer(network(), asked, everyone, pitches, Options(), 4000,
                        np.random.default_rng(0))  # fmt: skip
        rows = from_words(writer.write())
        for tick in asked.beats:
            hits = sorted(rows[(rows[:, 0] == tick) & (rows[:, 1] == DRUMS), 2])[:2]
            found = [pitch in each for pitch, each in zip(hits, HITS, strict=True)]
            assert found == [not without] * 2


def test_what_began_before_the_clip_sounds_from_its_beginning_on():
    grid = Grid.steady(120, 0.5, 4.0)  # a bar begins at -1.5 s, and tick 12 at 0 s
    rows = np.array([[0, PIANO, 60, 16], [4, BASS, 40, 2], [8, DRUMS, 36, 8], [13, PIANO, 62, 1]])
    notes = to_notes(rows, grid, 4.0, times_s={13: 0.15})
    np.testing.assert_allclose(notes[:, :3], [[0, 0.5, 60], [0.15, 0.1, 62]])


def test_an_accent_raises_visual_beats_above_the_rest():
    notes = np.array([[0.0, 0.1, 60, 80, 0, 1, tick] for tick in (0, 3, 4, 8)])
    loud = [accented(notes, [0, 4], accent)[:, 3].tolist() for accent in (0, 0.5, 1)]
    assert loud == [[80, 80, 80, 80], [104, 60, 104, 60], [127, 40, 127, 40]]
    np.testing.assert_array_equal(accented(notes, [], 1.0), notes)


def test_who_plays_at_visual_beats():
    assert forced_families(np.array([1, 1, 1, 1, 1], bool)) == [0, 1, 2]
    assert forced_families(np.array([1, 0, 0, 1, 1], bool)) == [0, 4]
    assert forced_families(np.array([0, 0, 0, 1, 0], bool)) == [3]


@pytest.mark.slow
def test_a_long_piece_is_written_with_a_short_memory():
    bars = 24
    asked = Controls(Grid.steady(120, 0, 48), 0, 16 * bars, np.full(bars, 10), {})
    writer = Writer(network(), asked, np.ones(5, bool), EVERY_PITCH, Options(), 64,
                    np.random.default_rng(0))  # fmt: skip
    words = writer.write()
    assert len(words) > 300 and (words[:, BEAT] == BAR).sum() == bars
    np.testing.assert_array_equal(words, to_words(from_words(words), asked.end))
    assert writer.cache[0][0].shape[2] <= 6 + 64
    seen = writer.tensor(writer.from_word)[0, :, TICK]
    assert 0 <= int(seen.min()) < 16 and int(seen.max()) < 16 * bars


@pytest.mark.long
def test_the_state_after_forgetting_is_that_of_the_remembered_words():
    asked = Controls(Grid.steady(120, 0, 16), 0, 128, np.full(8, 12), {})
    writer = Writer(network(), asked, np.ones(5, bool), EVERY_PITCH, Options(), 48,
                    np.random.default_rng(2))  # fmt: skip
    writer.write()
    with torch.inference_mode():
        expected, _ = writer.network.begin(writer.prefix, writer.tensor(writer.from_word))
    assert writer.from_word > 0
    torch.testing.assert_close(writer.state, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.long
def test_the_same_seed_gives_the_same_notes_on_the_dancers_beats():
    made, dance = model(), replace(clip(3), notes=None)
    made.prepare([clip(0), clip(1, "LO"), clip(2, "JB")])
    first, second, other = (
        made.notes_for(dance, Options(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape or (first != other).any()
    check_notes(first.astype(np.float32), dance.seconds)
    measured = measure(dance.joints, dance.seen, 30.0, 8.0)
    asked = controls_of(measured, made.statistics.thresholds)
    ticks = first[:, 6].astype(int)
    moved = np.isin(ticks, [*asked.beats])
    at_s = measured.grid.time_of(ticks)
    np.testing.assert_allclose(first[~moved, 0], np.maximum(at_s[~moved], 0), atol=1e-6)
    np.testing.assert_allclose(first[moved, 0], [asked.times_s[t] for t in ticks[moved]])
    assert np.abs(first[moved, 0] - at_s[moved]).max() <= 0.04 + 1e-9
    assert len(asked.beats) > 3 and set(asked.beats) <= set(ticks)


def test_one_instrument_plays_alone():
    made, dance = model(), replace(clip(3), notes=None)
    made.prepare([clip(0, "LO"), clip(1, "LO")])
    notes = made.notes_for(dance, Options(instruments="one"), np.random.default_rng(0))
    assert len(set(notes[:, 4])) == 1 and notes[0, 4] in (0, 24, 48)
    every = made.statistics.who_plays("all", np.random.default_rng(0))
    assert every.all()


def test_training_lowers_the_loss_of_songs():
    made = model()
    clips = [clip(seed, genre) for seed, genre in enumerate(sorted(STYLES)[:4])]
    made.prepare(clips)
    rng, losses = np.random.default_rng(0), []
    optimiser = torch.optim.Adam(made.network.parameters(), 1e-2)
    made.network.train()
    for _ in range(25):
        batch = made.batch_of(clips, rng)
        assert batch["words"].shape == (4, 96, 9) and batch["prefix"].shape == (4, 6)
        assert (batch["words"][:, 0, BEAT] == BAR).all() and (batch["words"][:, 0, TICK] == 0).all()
        assert ((batch["words"][..., TYPE] > 0) | ~batch["known"]).any()
        loss = made.loss(made.network, batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:2])
