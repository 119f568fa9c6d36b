"""The listening test: balanced orders, sounds of one level, and exact figures of answers."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from model.contract.segment import SAMPLE_RATE_HZ
from model.listening.clips import Settings
from model.listening.design import balanced_orders, insert_checks, repeats, williams
from model.listening.plan import (
    ANCHOR,
    PARTS,
    TEST,
    TRUTH,
    Meaning,
)
from model.listening.prepare import make_orders
from model.listening.sounds import beeps, level, modulated_noise, rms
from model.listening.stats import alpha, interval

# ---------------------------------------------------------------- design


@pytest.mark.parametrize("conditions", [2, 3, 4, 5, 6, 7])
def test_in_williams_rows_each_condition_follows_each_other_equally_often(conditions):
    square = williams(conditions)
    assert all(sorted(row) == list(range(conditions)) for row in square)
    for place in range(conditions):
        assert len({Counter(row[place] for row in square)[c] for c in range(conditions)}) == 1
    follows = Counter(pair for row in square for pair in pairwise(row))
    assert len(follows) == conditions * (conditions - 1)
    assert len(set(follows.values())) == 1


@pytest.mark.parametrize(("conditions", "clips", "blocks"), [(4, 10, 10), (5, 10, 4), (3, 7, 2)])
def test_orders_are_balanced_and_differ(conditions, clips, blocks):
    orders = balanced_orders(conditions, clips, blocks, 70, seed=3)
    for order in orders:
        assert len(set(order)) == len(order) == conditions * blocks
        assert set(Counter(c for _, c in order).values()) == {blocks}
    assert len(set(map(tuple, orders))) == len(orders)
    period = len(orders[: clips if blocks == clips else clips // np.gcd(clips, blocks)])
    heard = Counter(trial for order in orders[:period] for trial in order)
    assert len(heard) == conditions * clips
    assert len(set(heard.values())) == 1
    assert repeats(orders) < 0.02 * conditions * blocks * len(orders)
    assert orders != balanced_orders(conditions, clips, blocks, 70, seed=4)


@pytest.mark.parametrize(("conditions", "blocks"), [(3, 2), (3, 10), (4, 10), (5, 4), (6, 10)])
def test_over_the_borders_of_rows_all_conditions_follow_each_other_and_none_itself(
    conditions, blocks
):
    orders = balanced_orders(conditions, 10, blocks, 100, seed=1)
    pairs: dict[bool, Counter] = {True: Counter(), False: Counter()}
    for order in orders:
        for place, ((_, one), (_, other)) in enumerate(pairwise(order), 1):
            pairs[place % conditions == 0][one, other] += 1
    inside, borders = pairs[False].values(), pairs[True].values()
    assert max(inside) - min(inside) <= 3
    assert len(borders) == conditions * (conditions - 1)
    assert max(borders) < 6 * min(borders)
    assert not [pair for pair in pairs[True] if pair[0] == pair[1]]
    first = Counter(order[0][1] for order in orders)
    assert max(first.values()) - min(first.values()) <= 8


@pytest.mark.parametrize(("conditions", "clips", "raters"), [(4, 3, 30), (3, 2, 30), (4, 4, 60)])
def test_small_sets_repeat_no_order_while_others_are_left(conditions, clips, raters):
    for seed in range(10):
        orders = balanced_orders(conditions, clips, 1, raters, seed)
        assert len(set(map(tuple, orders))) == raters


def test_checks_come_once_each_and_never_first():
    for seed in range(50):
        order = insert_checks(list("abcdefgh"), ["1", "2", "3"], random.Random(seed))
        assert sorted(order) == sorted("abcdefgh123")
        assert order[0] not in "123"
        assert [name for name in order if name in "abcdefgh"] == list("abcdefgh")


def test_more_checks_than_trials_do_not_come_first_either():
    for trials, seed in ((t, s) for t in (1, 3, 4) for s in range(30)):
        order = insert_checks(list("abcd"[:trials]), list("12345"), random.Random(seed))
        assert sorted(order) == sorted("abcd"[:trials] + "12345")
        assert order[0] == "a"


# ---------------------------------------------------------------- sounds


def test_sounds_are_level_anchors_noisy_and_beeps_countable():
    rng = np.random.default_rng(0)
    quiet = 0.01 * rng.standard_normal(22_050)
    assert 20 * np.log10(rms(level(quiet))) == pytest.approx(-26)
    click = np.zeros(22_050)
    click[100] = 0.5
    assert np.abs(level(click)).max() == pytest.approx(0.999)
    assert not level(np.zeros(100)).any()
    noisy = modulated_noise(quiet, 0.0, rng)
    assert 20 * np.log10(rms(quiet) / rms(noisy - quiet)) == pytest.approx(0.0, abs=0.2)
    for count in range(1, 6):
        for seconds in (1, 2, 10):
            sound = np.abs(beeps(count, seconds * SAMPLE_RATE_HZ))
            loud = sound.reshape(-1, 63).max(1) > 0.1  # 3 ms at a time
            assert np.count_nonzero(np.diff(loud.astype(int)) == -1) == count


# ---------------------------------------------------------------- prepare


def test_the_two_parts_of_a_listener_have_sequences_of_their_own():
    systems = ["ours", TRUTH, ANCHOR]
    named = [SimpleNamespace(name=f"clip{n}") for n in range(4)]
    meanings = {
        f"{part} {clip.name} {system}": Meaning(part, TEST, clip.name, system)
        for part in PARTS for clip in named for system in systems
    }  # fmt: skip
    orders = make_orders(meanings, systems, named, Settings(checks=0, raters=20), seed=1)
    for order in orders:
        found = {
            part: [(m.clip, m.system) for m in map(meanings.get, order) if m.part == part]
            for part in PARTS
        }
        assert sorted(found["coherence"]) == sorted(found["quality"])
        assert found["coherence"] != found["quality"]


# ---------------------------------------------------------------- report


def test_alpha_is_krippendorff_s_of_his_own_example():
    """Computing Krippendorff's Alpha-Reliability (2011), example C: 4 observers, 12 units."""
    dot = None
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, dot, dot, dot],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, dot, 3],
        [dot, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, dot],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, dot],
    ]
    units = [[v for v in unit if v is not dot] for unit in zip(*observers, strict=True)]
    assert alpha(units, "interval") == pytest.approx(0.849, abs=5e-4)
    assert alpha(units, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert alpha([[1, 1], [5, 5], [3, 3]]) == 1
    assert alpha([[1, 5], [5, 1]]) == pytest.approx(-0.5)
    assert alpha([[3, 3], [3, 3]]) is None
    assert alpha([[1], [2]]) is None
    with pytest.raises(ValueError, match="ordinal or interval"):
        alpha(units, "nominal")


def test_intervals_widen_with_what_differs_and_hold_the_truth():
    rng = np.random.default_rng(1)
    raters, clips = rng.normal(0, 0.5, 12), rng.normal(0, 0.3, 8)
    by_rater = 3 + np.repeat(raters[:, None], 8, 1)
    low, high = interval(by_rater, clips=False)
    assert low < by_rater.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * raters.std() / 12**0.5, rel=0.1)
    assert np.ptp(interval(by_rater, raters=False)) < 1e-9
    by_clip = 3 + np.repeat(clips[None], 12, 0)
    assert np.ptp(interval(by_clip, clips=False)) < 1e-9
    assert interval(by_clip[:1]) is None and interval(by_rater[:, :1]) is None
    assert interval(by_rater[:1], raters=False) is not None
    assert interval(np.full((3, 3), np.nan)) is None
    held = 0
    for _ in range(120):
        table = 3 + rng.normal(0, 0.5, (12, 1)) + rng.normal(0, 0.5, (1, 10))
        table = table + rng.normal(0, 0.7, (12, 10))
        table[rng.random((12, 10)) < 0.3] = np.nan
        low, high = interval(table)
        held += low <= 3 <= high
    assert held >= 0.9 * 120
