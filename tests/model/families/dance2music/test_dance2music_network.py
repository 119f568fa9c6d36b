"""The online network of Dance2Music: its size, what it sees, and how it plays."""

import numpy as np
import pytest
import torch

from model.families.dance2music.network import (
    NO_NOTE,
    SIDE,
    OnlineNetwork,
    notes_before,
    play,
    window_of,
)
from model.families.dance2music.search import unit_poses


def small() -> OnlineNetwork:
    torch.manual_seed(0)
    return OnlineNetwork((4, 4, 4, 8, 8, 8), 4, 4, (16, 16, 8), 0.5).eval()


def poses(frames: int) -> torch.Tensor:
    points = np.random.default_rng(0).normal(size=(frames, 24, 2)).cumsum(0)
    return torch.from_numpy(unit_poses(points)).float()


@pytest.mark.parametrize(
    ("channels", "mlp", "expected"),
    [
        ((64, 128, 128, 256, 512, 32), (512, 256, 128), 2_097_413),
        ((8, 16, 16, 32, 64, 32), (64, 64, 32), 95_765),
    ],
)
def test_sizes_are_those_of_the_original_and_of_the_small_preset(channels, mlp, expected):
    network = OnlineNetwork(channels, 16, 32, mlp, 0.5)
    assert sum(p.numel() for p in network.parameters()) == expected
    found = network(torch.zeros(2, SIDE, SIDE), torch.full((2, 10), NO_NOTE))
    assert found.shape == (2, 5)


def test_the_window_ends_with_the_note_and_begins_with_zeros():
    dance = poses(90)
    first = window_of(dance, 0)
    assert not first[:54].any() and not first[:, :54].any()
    torch.testing.assert_close(first[54:, 54:], dance[:6] @ dance[:6].T)
    torch.testing.assert_close(window_of(dance, 14), dance[30:90] @ dance[30:90].T)
    notes = torch.arange(12) % 5
    assert notes_before(notes, 2).tolist() == [NO_NOTE] * 8 + [0, 1]
    assert notes_before(notes, 11).tolist() == [1, 2, 3, 4, 0, 1, 2, 3, 4, 0]


def test_a_note_depends_on_no_later_pose():
    network, dance = small(), poses(150)
    notes = play(network, dance)
    assert notes.shape == (25,)
    changed = dance.clone()
    changed[60:] = torch.flip(dance[60:], [1])
    assert torch.equal(play(network, changed)[:10], notes[:10])
    with torch.no_grad():
        before = network.choose(network.see(window_of(dance, 12)[None]), notes[None, 2:12])
    assert int(before.argmax()) == notes[12]
    assert len(play(network, dance[:5])) == 0
