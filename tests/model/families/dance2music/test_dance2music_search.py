"""The search of Dance2Music: against every sequence, on repeating poses, and on a still dancer."""

from itertools import pairwise, product

import numpy as np
import pytest

from model.families.dance2music.search import (
    ALIKE,
    NOTE_FRAMES,
    PITCHES,
    dance_matrix,
    note_rows,
    reward,
    search,
    unit_poses,
)


def random_poses(count: int, seed: int = 0) -> np.ndarray:
    """Return poses (6 count, 44) of a random walk: a slow change with some jumps."""
    steps = np.random.default_rng(seed).standard_t(2, (count * NOTE_FRAMES, 24, 2))
    return unit_poses(steps.cumsum(0))


def of_poses(letters: str) -> np.ndarray:
    """Return one random pose for each letter, held for the length of a note."""
    rng = np.random.default_rng(3)
    poses = {letter: rng.normal(size=(24, 2)) for letter in sorted(set(letters))}
    return unit_poses(np.repeat([poses[letter] for letter in letters], NOTE_FRAMES, 0))


def order(notes: tuple[int, ...]) -> list[int]:
    """Sort sequences that hold their notes first, then the lower ones."""
    return [0 if note == last else 1 + note for last, note in pairwise(notes)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_a_full_beam_finds_what_exhaustive_search_finds(count, seed):
    dance = dance_matrix(random_poses(count, seed))
    every = np.array(
        sorted(((2, *rest) for rest in product(range(5), repeat=count - 1)), key=order)
    )
    scores = [
        0.0 if np.ptp(ALIKE[np.ix_(notes, notes)]) == 0
        else np.corrcoef(dance.ravel(), ALIKE[np.ix_(notes, notes)].ravel())[0, 1]
        for notes in every
    ]  # fmt: skip
    best = np.flatnonzero(np.array(scores) > max(scores) - 1e-9)[0]
    np.testing.assert_array_equal(search(dance, 5**count), every[best])


def test_a_narrow_beam_finds_no_better_and_a_beam_of_one_never_changes_a_note():
    poses = random_poses(10, 7)
    dance = dance_matrix(poses)
    found = {beam: search(dance, beam) for beam in (1, 50, 3000)}
    scores = {beam: float(reward(dance, notes[None])[0]) for beam, notes in found.items()}
    assert scores[1] < scores[50] <= scores[3000]
    for count in range(1, 10):
        part = search(dance_matrix(poses[: count * NOTE_FRAMES]), 1)
        np.testing.assert_array_equal(part, found[1][:count])


@pytest.mark.parametrize("letters", ["ABABABABAB", "AABBAABBAA", "ABCABCABC", "AAAAABBBBB"])
def test_repeated_poses_give_repeated_notes(letters):
    notes = search(dance_matrix(of_poses(letters)))
    assert notes[0] == 2
    by_pose = {
        letter: {int(note) for note, at in zip(notes, letters, strict=True) if at == letter}
        for letter in letters
    }
    assert all(len(of_one) == 1 for of_one in by_pose.values())
    assert len(set.union(*by_pose.values())) == len(by_pose)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_dancer_who_stands_still_crashes_nothing(value):
    dance = dance_matrix(unit_poses(np.full((120, 25, 2), value)))
    assert not reward(dance[:10, :10], np.arange(10)[None] % 5).any()
    notes = search(dance)
    assert notes.tolist() == [2] * 20
    assert note_rows(notes, 4.2)[:, :3].tolist() == [[0.2, 4.0, 64]]


def test_the_mean_over_blocks_ranks_as_the_enlarged_music_does():
    """The original enlarges the matrix of notes to that of frames instead."""
    poses = random_poses(8)
    some = np.random.default_rng(1).integers(0, 5, (50, 8))
    frames = poses @ poses.T
    large = np.kron(ALIKE[some[:, :, None], some[:, None]], np.ones((NOTE_FRAMES, NOTE_FRAMES)))
    theirs = [np.corrcoef(frames.ravel(), one.ravel())[0, 1] for one in large]
    ours = reward(dance_matrix(poses), some)
    np.testing.assert_array_equal(np.argsort(theirs), np.argsort(ours))
    assert np.ptp(np.array(theirs) / ours) < 1e-6


def test_only_the_last_ten_notes_are_judged():
    dance = dance_matrix(random_poses(30, 2))
    notes = search(dance)
    last = np.concatenate([notes[None, -10:-1].repeat(5, 0), np.arange(5)[:, None]], 1)
    assert reward(dance[-10:, -10:], last).argmax() == notes[-1]


def test_equal_neighbours_are_one_note_and_the_clip_ends_the_last():
    rows = note_rows(np.array([2, 2, 0, 0, 0, 4]), 1.3)
    assert rows[:, 2].tolist() == [PITCHES[2], PITCHES[0], PITCHES[4]]
    np.testing.assert_allclose(rows[:, 0], [0.2, 0.6, 1.2])
    np.testing.assert_allclose(rows[:, 1], [0.4, 0.6, 0.1])
    assert (rows[:, 3:5] == [100, 0]).all()
    np.testing.assert_allclose(note_rows(np.array([1, 3]), 9.0, 0.0)[:, 0], [0, 0.2])
    assert note_rows(np.zeros(0, int), 2.0).shape == (0, 7)


def test_less_than_a_note_of_dance_is_no_music_and_no_beam_is_refused():
    assert len(search(dance_matrix(random_poses(1)[:5]))) == 0
    with pytest.raises(ValueError, match="expected at least 1"):
        search(np.eye(3), 0)
