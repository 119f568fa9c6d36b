"""The bits per code of masked models: a bound, equal to the exact value of a causal model."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from masked_models import small_masked
from token_models import SAMPLES, small_inputs, small_model
from torch.nn import functional as F

from model.data.source import Batch

COUNT, STATES, LIKELY = 32, 8, 0.75


def walks(count: int) -> torch.Tensor:
    """Return codes (count, 32) that rise by 1, or with a chance of a quarter by 2, modulo 8."""
    first = torch.randint(STATES, (count, 1))
    steps = 1 + (torch.rand(count, COUNT - 1) >= LIKELY).long()
    return torch.cat([first, first + steps.cumsum(1)], 1) % STATES


def entropy() -> float:
    """Return the bits per code of `walks`."""
    step = -(LIKELY * math.log2(LIKELY) + (1 - LIKELY) * math.log2(1 - LIKELY))
    return (math.log2(STATES) + (COUNT - 1) * step) / COUNT


def trained(model, steps: int):
    """Return a model after some steps on walks, with inputs that say nothing about them."""
    inputs = {name: torch.zeros_like(x) for name, x in small_inputs(32).items()}
    for _ in range(steps):
        codes = {"high": walks(32)}
        keys = [f"{i}" for i in range(32)]
        model.step(Batch(keys, torch.zeros(32, SAMPLES), codes, inputs, keys))
    model.network.eval()
    return model


@pytest.mark.slow
@torch.no_grad()
def test_causal_and_masked_models_of_a_known_distribution_agree_within_their_bounds():
    common = ("level=high", "dropout=0", "drop_all=0.5", "width=48", "local_width=48", "heads=4",
              "code_width=16", "lr=4e-3", "warmup_steps=20", "max_steps=500", "average=0.98",
              "wrong_codes=0")  # fmt: skip
    with torch.enable_grad():
        causal = trained(small_model(*common, training=True), 300)
        masked = trained(small_masked(*common, "bound_draws=16", training=True), 500)
    torch.manual_seed(7)
    codes = {"high": walks(256)}
    exact, bound = (model.bits({}, codes)["high"] for model in (causal, masked))
    true = entropy()
    print(true, exact.mean(), bound.mean(), exact.std(), bound.std())
    margin = 3 * float(exact.std()) / 16
    # Neither may promise fewer bits than the distribution has; both come near it.
    assert true - margin < exact.mean() < true + 0.05 + margin
    assert true - margin < bound.mean() < true + 0.15 + margin
    assert bound.mean() > exact.mean() - margin


@torch.no_grad()
def test_the_bound_is_the_mean_over_all_orders_of_drawing_one_code_after_another():
    model = small_masked("level=high", "bound_draws=60")
    network, mask = model.network, model.network.levels["high"].mask
    codes = torch.tensor([[3, 60, 17]])
    condition, _ = network.condition({}, 1)

    def nll(known: frozenset[int], at: int) -> float:
        shown = torch.tensor([[int(codes[0, i]) if i in known else mask for i in range(3)]])
        logits = network.logits("high", shown, condition)[0, at]
        return float(F.cross_entropy(logits, codes[0, at]))

    orders = [
        sum(nll(frozenset(order[:i]), at) for i, at in enumerate(order))
        for order in permutations(range(3))
    ]
    exact = sum(orders) / len(orders) / 3 / math.log(2)
    same = {"high": codes.expand(400, -1)}
    found = model.bits({}, same)["high"]
    assert float(found.mean()) == pytest.approx(exact, rel=0.003)
    assert torch.equal(model.bits({}, same)["high"], found)
