"""The networks of masked models: both directions, masks, conditions of both kinds."""

from __future__ import annotations

import pytest
import torch
from masked_models import small_masked
from token_models import SAMPLES, small_codes, small_inputs

from model.contract.segment import MOTION
from model.data.inputs import GENRE
from model.data.source import Batch

BOTH = ("level=both",)


@pytest.fixture(scope="module")
def model():
    return small_masked(*BOTH)


def logits_of(model, codes, level):
    network = model.network
    condition, _ = network.condition(small_inputs(), 2)
    return network.logits(level, codes[level], condition, codes.get(network.above.get(level, "")))


def batch_of(model, count: int = 2) -> Batch:
    codes = {name: each for name, each in small_codes(count).items() if name in model.levels}
    keys = [f"v{i}/1" for i in range(count)]
    return Batch(keys, torch.randn(count, SAMPLES), codes, small_inputs(count), keys)


@pytest.mark.parametrize("level", ["high", "low"])
@torch.no_grad()
def test_a_masked_code_depends_on_the_codes_before_and_after_it(model, level):
    codes = small_codes()
    mask = model.network.levels[level].mask
    codes[level][:, 15] = mask
    before = logits_of(model, codes, level)[:, 15]
    for at in (3, 14, 16, 30):
        other = {name: each.clone() for name, each in codes.items()}
        other[level][:, at] = (other[level][:, at] + 1) % 64
        after = logits_of(model, other, level)[:, 15]
        assert (after - before).abs().max() > 1e-6, at


@torch.no_grad()
def test_the_logits_of_chosen_codes_are_those_of_all(model):
    for level in ("high", "low"):
        codes = small_codes()
        codes[level][:, ::3] = model.network.levels[level].mask
        network, one = model.network, model.network.levels[level]
        condition, _ = network.condition(small_inputs(), 2)
        rows = one.conditioned(condition, codes.get(network.above.get(level, "")))
        at = torch.tensor([[3, 0, 27], [9, 30, 6]])
        every, some = one(codes[level], rows), one(codes[level], rows, at)
        expected = every.gather(1, at[..., None].expand(-1, -1, 64))
        torch.testing.assert_close(some, expected)


@torch.no_grad()
def test_codes_that_do_not_fill_the_last_position_have_no_neighbours_there(model):
    codes = small_codes(low=126)
    assert logits_of(model, codes, "low").shape == (2, 126, 64)


@torch.no_grad()
def test_low_codes_see_the_upper_codes(model):
    codes = small_codes()
    before = logits_of(model, codes, "low")
    codes["high"][:, 20] = (codes["high"][:, 20] + 1) % 64
    assert (logits_of(model, codes, "low") - before).abs().max() > 1e-6


@pytest.mark.parametrize("condition", ["aligned", "vector"])
def test_a_step_in_bfloat16_has_losses_in_float32(condition):
    few = ("level=both", "contrast=step", "negatives=inter", f"condition={condition}")
    model = small_masked("bf16=true", *few, training=True)
    logs = model.step(batch_of(model))
    assert all(value.isfinite() and value.dtype == torch.float32 for value in logs.values())


# --- the reference's condition -------------------------------------------------------------------


@torch.no_grad()
def test_one_vector_holds_at_all_positions_and_the_aligned_condition_changes_with_time():
    vector = small_masked("condition=vector").network.condition(small_inputs(), 2)
    aligned = small_masked().network.condition(small_inputs(), 2)
    assert vector[1] is None and aligned[1] is not None
    assert torch.equal(vector[0], vector[0][:, :1].expand_as(vector[0]))
    assert vector[0].shape == aligned[0].shape == (2, 32, 12)
    assert (aligned[0] - aligned[0][:, :1]).abs().max() > 0.01


def test_training_does_not_reach_the_encoder_of_the_reference_but_its_last_layer():
    model = small_masked("condition=vector", training=True)
    before = {name: x.clone() for name, x in model.trained.encoder.state_dict().items()}
    for _ in range(3):
        model.step(batch_of(model))
    after = model.trained.encoder.state_dict()
    moved = {
        name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert "project" in moved and not moved & {"motion", "visual", "genre"}


@pytest.mark.parametrize("condition", ["aligned", "vector"])
@torch.no_grad()
def test_missing_inputs_and_dropped_ones_are_the_same(condition):
    network = small_masked(f"condition={condition}").network
    inputs = small_inputs()
    none = {name: torch.zeros(2, dtype=torch.bool) for name in inputs}
    torch.testing.assert_close(network.condition(inputs, 2, none)[0], network.condition({}, 2)[0])
    kept = {**none, GENRE: torch.tensor([True, False])}
    some = network.condition(inputs, 2, kept)[0]
    alone = network.condition({GENRE: inputs[GENRE]}, 2)[0]
    torch.testing.assert_close(some[0], alone[0])
    assert not torch.allclose(some[0], some[1])


@torch.no_grad()
def test_each_window_of_a_long_piece_has_the_vector_of_its_own_part_of_the_dance():
    network = small_masked("condition=vector").network
    inputs = small_inputs(segments=3)
    windows = network.conditions(inputs, 2, 96)
    own = {name: x if name == GENRE else x[:, x.shape[1] // 3 : 2 * (x.shape[1] // 3)]
           for name, x in inputs.items()}  # fmt: skip
    torch.testing.assert_close(windows(32, 64), network.condition(own, 2)[0])
    last = windows(80, 96)
    assert last.shape == (2, 16, 12)
    inputs[MOTION][:, :12] += 1
    torch.testing.assert_close(network.conditions(inputs, 2, 96)(64, 96), windows(64, 96))


@torch.no_grad()
def test_the_aligned_condition_of_a_window_is_a_part_of_that_of_the_piece():
    network = small_masked().network
    inputs = small_inputs(segments=2)
    whole = network.encoder(inputs, 2, 64).values
    assert torch.equal(network.conditions(inputs, 2, 64)(20, 52), whole[:, 20:52])
