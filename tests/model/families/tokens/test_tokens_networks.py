"""The networks of token models: causality, alignment with the dance, caches, guidance, windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from token_models import SAMPLES, small_codes, small_inputs, small_model
from torch.nn import functional as F

from model.codecs.jukebox.codec import JukeBoxCodec
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.data.inputs import GENRE
from model.families.tokens import sampling
from model.families.tokens.onsets import OnsetStrength
from model.families.tokens.sampling import Drawer, Sampler, chosen, draw, guided
from model.families.tokens.transformer import rotate

LEVELS = ("high", "low")


@pytest.fixture(scope="module")
def model():
    return small_model()


def logits_of(model, codes, inputs=None, length=32):
    network = model.network
    condition = network.condition(small_inputs() if inputs is None else inputs, 2, length).values
    return {
        name: network.logits(name, codes[name], condition, codes.get(network.above.get(name, "")))
        for name in LEVELS
    }


@torch.no_grad()
def test_levels_share_a_grid_on_which_a_position_holds_four_low_codes(model):
    assert model.network.patches == {"high": 1, "low": 4}
    assert model.network.step_samples == 128 and model.window == 32
    found = logits_of(model, small_codes())
    assert found["high"].shape == (2, 32, 64) and found["low"].shape == (2, 128, 64)


def test_a_level_whose_codes_do_not_fill_a_position_is_refused(monkeypatch):
    level = JukeBoxCodec.level
    hops = {"high": 128, "low": 48}
    monkeypatch.setattr(
        JukeBoxCodec, "level", lambda codec, name: replace(level(codec, name), hop=hops[name])
    )
    with pytest.raises(ValueError, match="positions of 128 samples are not a whole number of code"):
        small_model()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("at", [0, 5, 13])
@torch.no_grad()
def test_a_code_depends_on_the_codes_before_it_alone(model, level, at):
    codes = small_codes()
    before = logits_of(model, codes)[level]
    codes[level][:, at] = (codes[level][:, at] + 1) % 64
    changed = (logits_of(model, codes)[level] - before).abs().amax((0, 2)) > 1e-6
    assert not changed[: at + 1].any()
    assert changed[at + 1 : at + 4].all()


@torch.no_grad()
def test_low_codes_see_the_upper_codes_of_their_own_moment_and_of_two_around(model):
    codes = small_codes()
    before = logits_of(model, codes)["low"]
    codes["high"][:, 20] = (codes["high"][:, 20] + 1) % 64
    changed = (logits_of(model, codes)["low"] - before).abs().amax((0, 2)) > 1e-6
    assert not changed[: 18 * 4].any()  # more than two positions before
    assert changed[18 * 4 :].all()


@torch.no_grad()
def test_a_segment_whose_levels_end_apart_still_fits(model):
    """As 344 and 1378 of two seconds: the low level has half a position more."""
    codes = small_codes(high=32, low=130)
    condition = model.network.condition(small_inputs(), 2, 33).values
    found = model.network.logits("low", codes["low"], condition, codes["high"])
    assert found.shape == (2, 130, 64)


@torch.no_grad()
def test_the_dance_acts_on_the_codes_of_its_moment(model):
    """A movement reaches as far as the convolutions do, 4 frames, and no code before that."""
    codes, inputs = small_codes(), small_inputs()
    before = model.network.condition(inputs, 2, 32)
    inputs[MOTION][:, 6] += 1
    after = model.network.condition(inputs, 2, 32)
    changed = (after.values - before.values).abs().amax((0, 2)) > 1e-6
    frame = 32 / 12
    assert not changed[: int((6 - 5) * frame) - 1].any()
    assert changed[int(6 * frame) : int(7 * frame)].all()
    assert not changed[int((7 + 6) * frame) :].any()
    assert (after.onsets - before.onsets).abs().max() > 0
    assert logits_of(model, codes, inputs)["high"].isfinite().all()


@torch.no_grad()
def test_missing_inputs_and_dropped_ones_are_the_same(model):
    inputs = small_inputs()
    none = {name: torch.zeros(2, dtype=torch.bool) for name in inputs}
    dropped = model.network.condition(inputs, 2, 32, none).values
    assert torch.equal(dropped, model.network.condition({}, 2, 32).values)
    kept = {**none, GENRE: torch.tensor([True, False])}
    some = model.network.condition(inputs, 2, 32, kept).values
    alone = model.network.condition({GENRE: inputs[GENRE]}, 2, 32).values
    torch.testing.assert_close(some[0], alone[0])
    torch.testing.assert_close(some[1], dropped[1])
    assert not torch.allclose(some[0], dropped[0])


@torch.no_grad()
def test_rotary_positions_leave_only_distances():
    angle = torch.arange(9)[:, None] * torch.tensor([1.0, 0.1])
    turn = torch.stack([angle.cos(), angle.sin()])
    query, key = torch.randn(1, 4).double(), torch.randn(1, 4).double()
    products = [
        float((rotate(query, turn[:, i : i + 1]) * rotate(key, turn[:, i - 3 : i - 2])).sum())
        for i in (3, 5, 8)
    ]
    assert products == pytest.approx([products[0]] * 3, abs=1e-5)


# --- guidance and choice -------------------------------------------------------------------------


def test_guidance_of_one_is_the_condition_of_zero_is_none_and_two_leads_as_far_again():
    with_condition, without = torch.randn(2, 5), torch.randn(2, 5)
    both = torch.cat([with_condition, without])
    torch.testing.assert_close(guided(both, 1.0), with_condition)
    torch.testing.assert_close(guided(both, 0.0), without)
    torch.testing.assert_close(guided(both, 2.0), 2 * with_condition - without)


def test_codes_are_drawn_with_their_shares():
    torch.manual_seed(0)
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = chosen(shares.log().expand(20_000, -1), 1.0, 1.0)
    found = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(found, shares, atol=0.02, rtol=0)
    cold = chosen(shares.log().expand(20_000, -1), 0.5, 1.0)
    sharper = shares**2 / (shares**2).sum()
    found = torch.bincount(cold, minlength=4) / len(cold)
    torch.testing.assert_close(found, sharper, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("top_p", "left"), [(0.01, {0}), (0.5, {0}), (0.51, {0, 1}), (0.96, {0, 1, 2, 3})]
)
def test_top_p_leaves_the_likeliest_codes(top_p, left):
    torch.manual_seed(0)
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    assert set(chosen(shares.log().expand(2_000, -1), 1.0, top_p).tolist()) == left


# --- drawing -------------------------------------------------------------------------------------


class Recorder:
    """Chooses random codes, and keeps the logits that it was given."""

    def __init__(self, rows: int = 2, guiding: bool = False) -> None:
        self.rows, self.logits = rows, []
        self.rng = torch.Generator().manual_seed(2)

    def __call__(self, logits):
        self.logits.append(logits)
        return torch.randint(64, (self.rows,), generator=self.rng)

    def by_numpy(self, logits, _):
        return self(torch.from_numpy(logits)).numpy()


def test_numpy_chooses_the_codes_that_torch_chooses(monkeypatch):
    logits = torch.randn(6, 200) * 3
    for guidance, temperature, top_p in ((1, 1, 1), (2, 0.9, 0.8), (1, 0.5, 0.99), (3, 1, 0.01)):
        sampler = Sampler(guidance, temperature, top_p)
        for seed in range(20):
            rng = np.random.default_rng(seed)
            found = sampler.by_numpy(logits.numpy(), rng)
            places = torch.from_numpy(np.random.default_rng(seed).random(6)).float()[:, None]
            monkeypatch.setattr(torch, "rand_like", lambda of, places=places: places[: len(of)])
            assert found.tolist() == sampler(logits).tolist()


@pytest.fixture(params=["numpy", "torch"])
def _drawn_by(request, monkeypatch):
    """Let a CPU compute positions in NumPy, as it does, or in torch, as a GPU does."""
    if request.param == "torch":
        monkeypatch.setattr(sampling, "CpuDrawer", TorchDrawer)


class TorchDrawer(Drawer):
    """Draws each position anew: only a GPU records the work of one."""

    advance = Drawer.draw_position


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_drawing_with_the_cache_gives_the_logits_of_one_pass(model, level):
    network, codes = model.network, small_codes()
    condition = network.condition(small_inputs(), 2, 32).values
    upper = codes.get(network.above.get(level, ""))
    recorder = Recorder()
    patch = network.patches[level]
    drawn = draw(network.levels[level], condition, upper, 32 * patch, 32, recorder)
    whole = network.logits(level, drawn, condition, upper)
    torch.testing.assert_close(torch.stack(recorder.logits, 1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("_drawn_by")
@pytest.mark.parametrize("level", LEVELS)
@torch.no_grad()
def test_windows_continue_the_codes_of_their_predecessor_without_a_seam(model, level):
    """Each code is drawn from one full pass over its window: half of it is what came before."""
    network, window, total = model.network, 8, 30
    condition = network.condition(small_inputs(segments=1), 2, total).values
    upper = small_codes()["high"][:, :total] if level == "low" else None
    recorder, patch = Recorder(), network.patches[level]
    one = network.levels[level]
    drawn = draw(one, condition, upper, total * patch, window, recorder)
    assert drawn.shape == (2, total * patch)
    logits = torch.stack(recorder.logits, 1)
    full = one.conditioned(condition, upper)
    starts = range(0, total - window // 2, window // 2)
    assert len(starts) > 5
    for start in starts:
        stop = min(start + window, total)
        own, one.upper = one.upper, None  # `full` has the upper codes already
        whole = one(drawn[:, start * patch : stop * patch], full[:, start:stop])
        one.upper = own
        new = (window // 2 if start else 0) * patch
        got = logits[:, start * patch + new : stop * patch]
        torch.testing.assert_close(got, whole[:, new:], atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("_drawn_by")
@torch.no_grad()
def test_rows_with_and_without_the_condition_draw_the_same_codes(model):
    network = model.network
    condition = network.condition(small_inputs(), 2, 32).values
    none = network.condition({}, 2, 32).values
    recorder = Recorder()
    drawn = draw(network.levels["high"], torch.cat([condition, none]), None, 20, 32, recorder)
    logits = torch.stack(recorder.logits, 1)
    for rows, given in ((logits[:2], condition), (logits[2:], none)):
        whole = network.logits("high", drawn, given[:, :20])
        torch.testing.assert_close(rows, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("_drawn_by")
@torch.no_grad()
def test_the_likeliest_codes_alone_are_drawn_by_a_top_p_near_zero(model):
    network = model.network
    condition = network.condition(small_inputs(), 2, 32).values
    drawn = draw(network.levels["high"], condition, None, 32, 32, Sampler(top_p=1e-6))
    assert torch.equal(network.logits("high", drawn, condition).argmax(-1), drawn)


# --- onsets --------------------------------------------------------------------------------------


def test_the_strength_of_onsets_peaks_where_clicks_are():
    audio = torch.zeros(2, SAMPLE_RATE_HZ)
    for start in (0.25, 0.6):
        first = int(start * SAMPLE_RATE_HZ)
        audio[:, first : first + 400] = torch.randn(2, 400) * 0.3
    found = OnsetStrength(128)(audio, 172)
    assert found.shape == (2, 172) and found.min() == 0
    assert torch.allclose(found.amax(1), torch.ones(2))
    peaks = (
        (found[0, 1:-1] > 0.7) & (found[0, 1:-1] >= found[0, 2:]) & (found[0, 1:-1] > found[0, :-2])
    )
    times_s = (peaks.nonzero()[:, 0] + 1.5) * 128 / SAMPLE_RATE_HZ
    for start in (0.25, 0.6):
        assert (times_s - start).abs().min() < 0.03
    assert all(min(abs(t - 0.25), abs(t - 0.6)) < 0.03 for t in times_s.tolist())
    assert OnsetStrength(128)(torch.zeros(1, SAMPLES), 32).abs().max() == 0


def test_the_shape_of_a_curve_longer_than_the_sound_is_padded():
    assert OnsetStrength(128)(torch.randn(1, SAMPLES), 40).shape == (1, 40)
    assert F.relu(OnsetStrength(128)(torch.randn(1, SAMPLES), 31)).shape == (1, 31)
