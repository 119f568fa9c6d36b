"""Filling in masked codes: passes, orders, windows for long pieces and for gaps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from masked_models import small_masked
from token_models import small_inputs

from model.families.masked.config import Options
from model.families.masked.sampling import Filler, fill, window_start
from model.runtime.settings import load

MASK = 64


class Model:
    """Predicts evenly, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []
        self.windows: list[tuple[int, int]] = []

    def __call__(self, codes, at):
        self.seen.append(codes.clone())
        count = codes.shape[1] if at is None else at.shape[1]
        return torch.zeros(len(codes), count, MASK)

    def window(self, start, stop):
        self.windows.append((start, stop))
        return self


@pytest.mark.parametrize("order", ["random", "confident"])
@pytest.mark.parametrize(("steps", "masked"), [(1, 32), (5, 32), (32, 32), (99, 32), (8, 16)])
def test_each_pass_keeps_some_codes_and_the_last_the_rest(order, steps, masked):
    model, codes = Model(), torch.full((2, 32), 7)
    codes[:, 32 - masked :] = MASK
    found = Filler(steps, order)(model, codes, MASK)
    assert found.max() < MASK and (codes == MASK).sum() == 2 * masked
    assert torch.equal(found[:, : 32 - masked], codes[:, : 32 - masked])
    left = [int((seen == MASK).sum()) for seen in model.seen]
    assert left[0] == 2 * masked and all(a > b for a, b in pairwise(left))
    # As many passes as the share that is masked, and never more than codes.
    assert len(left) == min(masked, -(-steps * masked // 32))
    if order == "confident" and steps == 5:
        taken = [a - b for a, b in zip(left, [*left[1:], 0], strict=True)]
        assert taken == sorted(taken)


def test_a_pass_in_confident_order_keeps_what_the_network_is_sure_of(monkeypatch):
    monkeypatch.setattr("model.families.masked.sampling.NOISE", 0.0)
    shares = torch.full((1, 12, MASK), 0.0)
    shares[0, 3, 9] = shares[0, 8, 2] = 1000.0
    seen = []

    def predict(codes, at):
        seen.append(codes.clone())
        return shares if at is None else shares[:, at[0]]

    torch.manual_seed(0)
    found = Filler(12, "confident")(predict, torch.full((1, 12), MASK), MASK)
    first = [int((codes[0, [3, 8]] != MASK).sum()) for codes in seen]
    assert first[:3] == [0, 1, 2] and found[0, 3] == 9 and found[0, 8] == 2


@pytest.mark.parametrize("patch", [1, 4])
def test_a_long_piece_is_filled_in_windows_that_know_half_of_their_codes(patch):
    model = Model()
    codes = torch.full((1, 100 * patch - patch // 2), MASK)
    found = fill(codes, MASK, patch, 32, model.window, Filler(1))
    assert found.max() < MASK and found.shape == codes.shape
    assert model.windows[0] == (0, 32) and model.windows[-1][1] == 100
    assert all(stop - start == 32 for start, stop in model.windows)
    steps = [b[0] - a[0] for a, b in pairwise(model.windows)]
    assert all(0 < step <= 16 for step in steps)
    # In one pass each; after the first, each knows half a window of codes.
    assert len(model.seen) == len(model.windows)
    assert all((seen[0, : 16 * patch] != MASK).all() for seen in model.seen[1:])


def test_the_last_codes_of_a_window_are_drawn_again_if_the_gap_goes_on():
    model = Model()
    fill(torch.full((1, 60), MASK), MASK, 1, 32, model.window, Filler(1))
    # Windows of 32 have an edge of 4: the second begins half a window before code 28.
    assert model.windows[:2] == [(0, 32), (12, 44)]
    second = model.seen[1][0]
    assert (second[:16] != MASK).all() and (second[16:] == MASK).all()


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (40, 46), (97, 100), (35, 51), (30, 70)])
def test_a_gap_is_filled_and_all_other_codes_are_kept(start, stop):
    torch.manual_seed(0)
    codes = torch.randint(MASK, (2, 100))
    gap = codes.clone()
    gap[:, start:stop] = MASK
    model = Model()
    found = fill(gap, MASK, 1, 32, model.window, Filler(8))
    outside = torch.ones(100, dtype=torch.bool)
    outside[start:stop] = False
    assert torch.equal(found[:, outside], codes[:, outside]) and found.max() < MASK
    assert (found[:, start:stop] != codes[:, start:stop]).any()
    first, last = model.windows[0]
    if stop - start <= 16:
        # One window sees as much before the gap as after it, unless the piece ends there.
        assert len(model.windows) == 1
        if 10 < start and stop < 90:
            assert abs((start - first) - (last - stop)) <= 1


def test_several_gaps_are_filled_each_in_its_own_window():
    codes = torch.zeros(1, 200, dtype=torch.long)
    codes[:, 20:25] = codes[:, 150:160] = MASK
    model = Model()
    fill(codes, MASK, 1, 32, model.window, Filler(8))
    assert len(model.windows) == 2
    hidden = codes[0] == MASK
    assert window_start(hidden, 1, 32, 200) == model.windows[0][0]


def test_a_piece_shorter_than_a_window_is_one_window():
    model = Model()
    found = fill(torch.full((1, 20), MASK), MASK, 1, 32, model.window, Filler(3))
    assert model.windows == [(0, 20)] and found.max() < MASK


@torch.no_grad()
def test_the_likeliest_codes_alone_are_drawn_by_a_top_p_near_zero():
    model = small_masked()
    options = load(Options(), ["steps=1", "guidance=1", "top_p=0.000001"])
    found = model.generate(small_inputs(), {"high": 32}, options)["high"]
    condition, _ = model.network.condition(small_inputs(), 2)
    logits = model.network.logits("high", torch.full((2, 32), MASK), condition)
    assert torch.equal(logits.argmax(-1), found)


@torch.no_grad()
def test_guidance_leads_away_from_music_without_the_dance():
    model = small_masked()
    condition, without = (model.network.condition(i, 2)[0] for i in (small_inputs(), {}))
    masked = torch.full((2, 32), MASK)
    with_dance, alone = (model.network.logits("high", masked, c) for c in (condition, without))
    options = load(Options(), ["steps=1", "guidance=3", "top_p=0.000001"])
    found = model.generate(small_inputs(), {"high": 32}, options)["high"]
    assert torch.equal((alone + 3 * (with_dance - alone)).argmax(-1), found)


@torch.no_grad()
def test_a_long_piece_of_both_levels_has_all_codes():
    model = small_masked("level=both")
    options = load(Options(), ["steps=3"])
    found = model.generate(small_inputs(segments=3), {"high": 96, "low": 382}, options)
    assert found["high"].shape == (2, 96) and found["low"].shape == (2, 382)
    assert all(codes.max() < 64 for codes in found.values())


@torch.no_grad()
def test_the_low_level_is_filled_given_the_high_codes_that_were_drawn():
    model = small_masked("level=both")
    codes = {"high": torch.zeros(2, 32).long(), "low": torch.zeros(2, 128).long()}
    replaced = {name: torch.zeros(each.shape[1]).bool() for name, each in codes.items()}
    replaced["high"][8:12] = True
    replaced["low"][32:48] = True
    options = load(Options(), ["steps=16"])
    found = model.inpaint(small_inputs(), codes, replaced, options)
    for name, each in found.items():
        assert torch.equal(each[:, ~replaced[name]], codes[name][:, ~replaced[name]])
        assert each[:, replaced[name]].any()
