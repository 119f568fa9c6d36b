"""The rhythm of a dance as zeros and ones, and the encoders that make words of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.families.inversion.encoders import GenreEncoder, RhythmEncoder
from model.families.inversion.rhythm import (
    BODY_25_TO_COCO,
    coco_points,
    envelope,
    frames_of,
    peaks,
    rhythm_of,
)


def pulses(seconds: float = 5.12, fps: float = 60, period_s: float = 0.5) -> np.ndarray:
    """Return BODY_25 (T, 75) whose joints jump at each multiple of a period, and then stand."""
    times = np.arange(round(seconds * fps)) / fps
    motion = np.zeros((len(times), 25, 3), np.float32)
    motion[..., 0] = np.arange(25) * 0.02 + 0.1 * np.floor(times / period_s + 1e-6)[:, None]
    motion[..., 1] = np.linspace(-0.4, 0.4, 25)
    motion[..., 2] = 1.0
    return motion.reshape(len(times), 75)


def test_a_window_of_the_papers_length_gives_the_papers_303_values():
    assert frames_of(5.12) == 305
    assert rhythm_of(pulses(), 5.12).shape == (303,)
    assert rhythm_of(pulses(2.0), 2.0).shape == (118,)


def test_the_rhythm_has_a_peak_where_a_dancer_starts_to_move():
    rhythm = rhythm_of(pulses(), 5.12)
    found = np.flatnonzero(rhythm)
    assert set(rhythm) == {0.0, 1.0}
    # The jump from frame 29 to 30 is the difference 29, whose rise is value 28.
    assert found.tolist() == [k * 30 - 2 for k in range(1, 11)]


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_motions_of_other_rates_have_their_peaks_at_the_same_times(fps):
    rhythm = rhythm_of(pulses(fps=fps), 5.12)
    found = np.flatnonzero(rhythm) / 60
    assert len(found) == 10
    assert np.abs(found - 0.5 * np.arange(1, 11)).max() < 1.6 / fps + 0.02


def test_neither_size_nor_place_nor_a_still_joint_changes_the_rhythm():
    motion = pulses()
    moved = motion.copy().reshape(-1, 25, 3)
    moved[..., :2] = moved[..., :2] * 3 + 0.7
    assert (rhythm_of(moved.reshape(-1, 75), 5.12) == rhythm_of(motion, 5.12)).all()


def test_a_dancer_who_stands_still_has_no_peaks_and_no_number_that_is_not_finite():
    still = np.tile(pulses()[:1], (307, 1))
    assert (rhythm_of(still, 5.12) == 0).all()
    assert (envelope(np.zeros((305, 17, 2))) == 0).all()
    assert peaks(np.zeros(0)).shape == (0,)


def test_of_consecutive_peaks_the_last_one_is_kept():
    """Worked by hand: while a peak fades, each value is the highest of those that follow it."""
    strength = np.array([0, 0, 1.0, 0.8, 0.6, 0, 0, 0, 0, 0, 0.5, 0, 0, 0])
    # 1.0: mean of the next four 0.6; 0.8: 0.35; 0.6: 0.15. All exceed the least; the last is kept.
    assert np.flatnonzero(peaks(strength)).tolist() == [4, 10]


def test_the_published_bins_are_the_angle_mod_10_and_true_sectors_are_an_option():
    """Two joints whose directions are 10 degrees apart: one bin in the code, two in the paper."""
    turn = np.zeros((3, 1, 2))
    turn[1, 0] = np.array([np.cos(np.radians(14.5)), np.sin(np.radians(14.5))])
    turn[2, 0] = turn[1, 0] + np.array([np.cos(np.radians(24.5)), np.sin(np.radians(24.5))])
    assert envelope(turn).tolist() == [0.0]
    assert envelope(turn, true_sectors=True).tolist() == [1.0]


def test_joints_of_every_layout_become_those_of_coco():
    motion = np.zeros((307, 25, 3), np.float32)
    motion[..., 0], motion[..., 2] = np.arange(25), 1.0
    points = coco_points(motion.reshape(307, 75), 5.12)
    assert points.shape == (305, 17, 2)
    assert points[0, :, 0].tolist() == list(BODY_25_TO_COCO)
    smpl = np.zeros((307, 24, 3), np.float32)
    smpl[:, 15, 1] = 1.7  # the head is up, and up is negative in a picture
    assert coco_points(smpl.reshape(307, 72), 5.12)[0, 0].tolist() == [0.0, pytest.approx(-1.7)]
    with pytest.raises(ValueError, match="motion has shape"):
        coco_points(np.zeros((307, 10)), 5.12)


def test_a_joint_that_is_lost_for_a_moment_makes_no_peak():
    motion = np.tile(pulses()[:1], (307, 1)).reshape(307, 25, 3)
    motion[100:110, 4] = 0.0
    assert (rhythm_of(motion.reshape(307, 75), 5.12) == 0).all()


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_encoders_have_as_many_parameters_as_the_published_ones():
    assert parameters(RhythmEncoder(303, 768, 768)) == 4_562_829
    assert parameters(GenreEncoder(10, 768, 768)) == 599_060


def test_several_words_may_carry_the_rhythm():
    encoder = RhythmEncoder(118, 64, 32, words=3).eval()
    words = encoder(torch.zeros(2, 118))
    assert words.shape == (2, 3, 32)
    one = torch.zeros(1, 118)
    one[0, 20] = 1
    assert not torch.equal(encoder(one), words[:1])
