"""The losses of masked diffusion: the chain's bound, the choice of steps, CDCD's contrast."""

from __future__ import annotations

import math

import pytest
import torch

from model.families.masked.config import Config
from model.families.masked.losses import (
    LEAST,
    Times,
    level_losses,
    masked_codes,
    shuffled,
    wrong_music,
)
from model.runtime.settings import load

CPU = torch.device("cpu")
SONGS = ["a", "a", "b", "c"]


def config_of(*settings: str) -> Config:
    return load(Config(), list(settings))


def losses(config, logits, hidden, times, codes=None):
    codes = torch.zeros(logits.shape[:2], dtype=torch.long) if codes is None else codes
    return level_losses(config, logits, codes, hidden, times, SONGS[: len(codes)])


def test_the_sum_over_the_chain_bounds_the_codes_of_a_model_that_knows_nothing():
    """Such a model needs log K for each code, whichever are masked: so does the bound."""
    torch.manual_seed(0)
    config, steps = config_of("chain_steps=10"), 10
    total = 0.0
    for t in range(1, steps + 1):
        times = torch.full((2000,), t)
        codes = torch.zeros(2000, 20, dtype=torch.long)
        hidden = masked_codes(codes, times / steps, 9) == 9
        assert float(hidden.float().mean()) == pytest.approx(t / steps, abs=0.01)
        found = losses(config, torch.zeros(2000, 20, 8), hidden, times, codes)
        total += float(found["bound"].mean())
        assert float(found["auxiliary"].mean()) == pytest.approx((1 + t / steps) * math.log(8))
    assert total == pytest.approx(math.log(8), rel=0.02)


def test_a_code_that_is_not_masked_adds_nothing_to_the_bound():
    config, logits = config_of(), torch.randn(2, 6, 8)
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[:, 2] = True
    before = losses(config, logits, hidden, torch.tensor([3, 9]))["bound"]
    logits[:, 4] = torch.randn(8)
    assert torch.equal(losses(config, logits, hidden, torch.tensor([3, 9]))["bound"], before)


def test_even_steps_cover_the_chain_in_each_batch():
    times, shares = Times(8, "even", CPU).draw(8)
    assert sorted(times.tolist()) == list(range(1, 9)) and set(shares.tolist()) == {1 / 8}


def test_steps_with_large_losses_are_drawn_more_often_once_all_are_known():
    torch.manual_seed(0)
    times = Times(4, "importance", CPU)
    every = torch.arange(1, 5)
    drawn, shares = times.draw(4000)
    assert set(shares.tolist()) == {0.25}
    for _ in range(11):
        times.record(every, torch.tensor([1.0, 1.0, 1.0, 5.0]))
    drawn, shares = times.draw(4000)
    found = torch.bincount(drawn, minlength=5)[1:] / 4000
    torch.testing.assert_close(found, torch.tensor([1, 1, 1, 5]) / 8, atol=0.03, rtol=0)
    assert shares[drawn == 4].unique().item() == pytest.approx(5 / 8, rel=1e-3)
    again = Times(4, "importance", CPU)
    again.load_state_dict(times.state_dict())
    assert torch.equal(again.squares, times.squares) and torch.equal(again.counts, times.counts)


def test_intra_negatives_are_the_own_music_in_chunks_of_a_quarter_of_a_second():
    torch.manual_seed(0)
    order = shuffled(344, 8, CPU)
    assert order.sort().values.tolist() == list(range(344)) and order.tolist() != list(range(344))
    chunks = order.view(8, 43)
    assert torch.equal(chunks - chunks[:, :1], torch.arange(43).expand(8, 43))
    assert not (chunks[:, 0] % 43).any()
    config = config_of("contrast=step", "negative_count=3")
    codes = torch.randint(8, (4, 344))
    found, valid = wrong_music(config, codes, SONGS)
    assert found.shape == (3, 4, 344) and valid.all()
    assert torch.equal(found.sort(2).values, codes.sort(1).values.expand(3, -1, -1))
    assert not torch.equal(found[0], found[1])


def test_inter_negatives_are_never_of_the_own_song():
    config = config_of("contrast=sample", "negatives=inter", "negative_count=50")
    codes = torch.arange(4)[:, None].expand(4, 5)  # the segment's number
    found, valid = wrong_music(config, codes, SONGS)
    assert valid.all()
    for segment in range(4):
        others = {i for i in range(4) if SONGS[i] != SONGS[segment]}
        assert set(found[:, segment, 0].tolist()) == others
    same, valid = wrong_music(config, codes, ["a"] * 4)
    assert not valid.any() and same.shape == (50, 4, 5)


def test_a_batch_of_one_song_has_no_contrast():
    config = config_of("contrast=sample", "negatives=inter")
    hidden = torch.ones(4, 6, dtype=torch.bool)
    codes = torch.randint(8, (4, 6))
    found = level_losses(config, torch.randn(4, 6, 8), codes, hidden, torch.ones(4), ["a"] * 4)
    assert not found["contrast"].any()


def test_contrast_rewards_a_model_that_finds_the_wrong_music_unlikely():
    """By less and less: log probabilities below the least count as the least."""
    codes = torch.zeros(4, 6, dtype=torch.long)
    codes[2:] = 5
    hidden, times = torch.ones(4, 6, dtype=torch.bool), torch.full((4,), 80)
    config = config_of("contrast=sample", "negatives=inter")
    values = []
    for sure in (0.0, 5.0, 500.0, 5000.0):
        logits = torch.zeros(4, 6, 8).scatter_(2, codes[..., None], sure)
        songs = ["a", "a", "b", "b"]
        found = level_losses(config, logits, codes, hidden, times, songs)["contrast"]
        values.append(float(found.mean()))
    assert values[0] == pytest.approx(-2 * math.log(8)) and values[1] < values[0]
    assert values[2] == values[3] == pytest.approx(2 * LEAST)


def test_the_contrast_of_a_step_looks_at_masked_codes_alone_that_of_a_sample_at_all():
    torch.manual_seed(0)
    codes, logits = torch.randint(8, (4, 16)), torch.randn(4, 16, 8)
    hidden = torch.zeros(4, 16, dtype=torch.bool)
    times = torch.tensor([1, 20, 40, 80])
    step = losses(config_of("contrast=step"), logits, hidden, times, codes)["contrast"]
    sample = losses(config_of("contrast=sample"), logits, hidden, times, codes)["contrast"]
    assert not step.any() and (sample < 0).all()
