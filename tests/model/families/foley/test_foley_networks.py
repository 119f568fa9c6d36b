"""Foley Music's networks: the graph, attention by distance, the cache, drawing and the beam."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from model.families.foley.config import PRESETS, Config
from model.families.foley.events import END, PAD, START
from model.families.foley.graph import BODY_25_PARENTS, GraphNetwork, adjacency, skeleton
from model.families.foley.network import Cache, FoleyNetwork, SelfAttention, by_distance
from model.families.foley.sampling import beam, draw, music


def network_of(config: Config, joints: int = 24) -> FoleyNetwork:
    return FoleyNetwork(
        joints, config.graph_widths, config.graph_strides, config.width, config.layers,
        config.heads, config.inner, config.most_events, config.dropout,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small() -> FoleyNetwork:
    torch.manual_seed(0)
    return FoleyNetwork(25, (8, 8), (1, 2), 16, 2, 2, 32, 40, 0.1).eval()


POSES = torch.randn(2, 3, 12, 25, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("joints", [24, 25])
@pytest.mark.parametrize(("preset", "millions"), [("full", 22.8), ("tiny", 0.63)])
def test_the_presets_have_the_published_size_within_4_percent(joints, preset, millions):
    network = network_of(Config(**PRESETS[preset]), joints)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.04)


# --- the graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize("joints", [24, 25])
def test_each_joint_hears_its_neighbours_by_their_distance_from_the_neck(joints):
    parents, neck = skeleton(joints)
    graph = adjacency(parents, neck)
    torch.testing.assert_close(graph.sum((0, 1)), torch.ones(joints))
    links = (graph.sum(0) > 0).int()
    assert torch.equal(links, links.T) and int(links.sum()) == joints + 2 * (joints - 1)
    same, closer, further = (graph > 0).int()
    assert torch.equal(same, torch.eye(joints, dtype=torch.int))  # a tree has no other
    assert torch.equal(closer, further.T)
    assert closer.sum(0).tolist() == [int(joint != neck) for joint in range(joints)]


def test_the_body_25_graph_links_the_limbs():
    links = {frozenset((j, p)) for j, p in enumerate(BODY_25_PARENTS) if p >= 0}
    for limb in ([1, 2, 3, 4], [1, 5, 6, 7], [8, 9, 10, 11, 22, 23], [8, 12, 13, 14, 19, 20]):
        assert all(frozenset(pair) in links for pair in pairwise(limb))
    assert {frozenset(p) for p in [(1, 0), (0, 15), (15, 17), (1, 8), (11, 24), (14, 21)]} <= links
    with pytest.raises(ValueError, match="17 joints; expected 24 of SMPL or 25 of BODY_25"):
        skeleton(17)


def test_a_block_hears_one_link_far_and_every_part_has_its_own_weights():
    torch.manual_seed(0)
    network = GraphNetwork(24, 3, (4,), (1,), 0.0).eval()
    poses = torch.randn(1, 3, 10, 24)
    moved = poses.clone()
    moved[..., 20] += 1  # a wrist
    before, after = (network.blocks(each) for each in (poses, moved))
    changed = (after - before).abs().amax((0, 1, 2)) > 1e-6
    assert set(changed.nonzero()[:, 0].tolist()) == {18, 20, 22}
    assert network.blocks[0].weight.shape == (3, 24, 24)
    assert GraphNetwork(24, 3, (4, 8), (1, 2), 0.0)(torch.randn(2, 3, 60, 24)).shape == (2, 30, 8)


# --- attention and cache -------------------------------------------------------------------------


@torch.no_grad()
def test_attention_by_distance_equals_a_loop():
    torch.manual_seed(0)
    width, heads, length, most = 12, 3, 7, 9
    attention, each = SelfAttention(width, heads, most).double(), width // heads
    x = torch.randn(2, length, width, dtype=torch.float64)
    found, _ = attention(x, None)
    q, k, v = attention.qkv(x).view(2, length, 3, heads, each).unbind(2)
    expected = torch.zeros(2, length, width, dtype=torch.float64)
    for b, h, i in product(range(2), range(heads), range(length)):
        logits = torch.stack(
            [
                q[b, i, h] @ (k[b, j, h] + attention.distance[most - 1 - (i - j)])
                for j in range(i + 1)
            ]
        )
        weights = (logits / math.sqrt(each)).softmax(0)
        expected[b, i, h * each : (h + 1) * each] = weights @ v[b, : i + 1, h]
    torch.testing.assert_close(found, attention.out(expected))


@pytest.mark.parametrize(("length", "known"), [(1, 1), (1, 6), (3, 6), (6, 6)])
def test_scores_move_to_the_keys_of_their_distance(length, known):
    scores = torch.arange(length * known).view(length, known)
    found = by_distance(scores)
    for row, key in product(range(length), range(known)):
        distance = known - length + row - key
        if distance >= 0:
            assert found[row, key] == scores[row, known - 1 - distance]


@torch.no_grad()
def test_the_cache_gives_what_one_pass_gives_whatever_the_pieces(small):
    events = torch.randint(240, (2, 30))
    whole = small(POSES, events)
    for pieces in ([1] * 30, [7, 1, 1, 21], [29, 1]):
        cache = small.begin(POSES)
        parts = [small.follow(part, cache) for part in events.split(pieces, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)
        assert cache.length == 30


@torch.no_grad()
def test_an_event_depends_on_the_dance_and_on_no_later_event(small):
    events = torch.randint(240, (2, 20))
    before = small(POSES, events)
    changed = events.clone()
    changed[:, 10] = (changed[:, 10] + 1) % 240
    differs = (small(POSES, changed) - before).abs().amax((0, 2)) > 1e-7
    assert not differs[:10].any() and differs[10:].all()
    assert ((small(POSES.flip(2), events) - before).abs().amax((0, 2)) > 1e-7).all()


def test_every_weight_learns(small):
    torch.manual_seed(0)
    small.train()
    small(POSES, torch.randint(240, (2, 20))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())
    small.zero_grad()
    small.eval()


# --- drawing -------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_events_and_others_draw_others(small):
    drawn = [
        draw(small, POSES[:1], [3, 4], 0.9, 1.0, np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][:2] == [3, 4] and not {START, END, PAD} & set(drawn[0])
    assert len(drawn[0]) <= small.most


class Told:
    """A network over 4 events, whose next event depends on the last one alone, by a table."""

    most = 6

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def begin(self, poses):
        return Cache()

    def follow(self, events, cache):
        cache.known = [(torch.zeros(len(events), 1, cache.length + events.shape[1], 1),) * 2]
        return self.table[events]


def probability(table, events):
    steps = zip([START, *events], [*events, END], strict=True)
    return sum(float(table[a].log_softmax(-1)[b]) for a, b in steps)


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_likeliest_of_all_sequences(seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.full((243, 243), -1e9)
    some = [0, 1, 2, END]
    for last in [START, 0, 1, 2]:
        table[last, some] = torch.randn(4, generator=generator) * 2
        table[last, END] -= 1
    found = beam(Told(table), torch.zeros(1), [], 300)
    every = [list(s) for n in range(6) for s in product([0, 1, 2], repeat=n)]
    best = max(probability(table, events) for events in every)
    if len(found) < Told.most:  # it ended
        assert probability(table, found) == pytest.approx(best, abs=1e-4)
    else:  # an open sequence at the end is likelier than all that ended
        open_sum = probability(table, found) - float(table[found[-1]].log_softmax(-1)[END])
        assert open_sum >= best
    greedy = beam(Told(table), torch.zeros(1), [], 1)
    assert greedy[:1] == found[:1] or probability(table, greedy) <= best + 1e-6


def test_a_beam_sums_all_steps_and_is_not_led_by_the_last_one():
    """The original ranks by the current step alone, and would take 1 here."""
    table = torch.full((243, 243), -1e9)
    table[START, [0, 1]] = torch.tensor([0.6, 0.4]).log()
    table[0, [2, 3]] = torch.tensor([0.5, 0.5]).log()
    table[1, 2] = 0.0
    table[[2, 3], END] = 0.0
    assert beam(Told(table), torch.zeros(1), [], 4) == [1, 2]
    table[START, [0, 1]] = torch.tensor([0.9, 0.1]).log()
    assert beam(Told(table), torch.zeros(1), [], 4) in ([0, 2], [0, 3])


def test_a_beam_begins_with_what_is_known(small):
    found = beam(small, POSES[:1], [5, 6, 7], 3)
    assert found[:3] == [5, 6, 7] and len(found) <= small.most
    assert not torch.isfinite(music(torch.zeros(243))[[START, PAD]]).any()
