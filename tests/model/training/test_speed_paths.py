"""What was made fast computes what the plain form does."""

import copy

import pytest
import torch
from places import ROOT
from torch.nn import functional as F

from model.codecs.base import Codec
from model.codecs.jukebox import random_codec
from model.contract.dataset import Dataset
from model.contract.kinds import D2M_GAN
from model.contract.segment import MOTION, VISUAL, WAV
from model.data.inputs import GENRE
from model.data.source import Batch
from model.families.d2m_gan.config import load_config
from model.families.d2m_gan.layers import Conv, pad_time
from model.runtime.distributed import Team
from model.runtime.optimiser import adam, gradient_norm
from model.training.memory import step_in_memory
from model.training.state import State, build

CPU = torch.device("cpu")
SMALL = ["d_channels=8", "d_max_channels=64", "d_layers=3", "d_first_stride=4", "batch_size=2"]
PAPER = [*SMALL, "channels=16", "motion_channels=4"]
TEMPORAL = [*SMALL, "channels=16", "min_channels=8", "motion_channels=8", "visual_channels=8"]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return random_codec(levels=("high", "low", "bottom"))


def state_of(codec: Codec, preset: str, settings: list[str]) -> State:
    fields = {
        WAV: {"dtype": "int16", "shape": [44_100]},
        MOTION: {"dtype": "float32", "shape": [60, 75]},
        VISUAL: {"dtype": "float32", "shape": [1, 2048]},
    }
    config = load_config(preset, None, settings)
    return build(D2M_GAN, config, Dataset("made up", "2", fields, {}, {}), codec, CPU)


def batch_of(codec: Codec, level: str, items: int = 2) -> Batch:
    torch.manual_seed(2)
    audio = torch.randn(items, 44_100) * 0.1
    inputs = {MOTION: torch.randn(items, 60, 75), VISUAL: torch.randn(items, 1, 2048)}
    keys = [f"a_seg{i:04d}" for i in range(1, items + 1)]
    inputs[GENRE] = torch.arange(items)
    return Batch(keys, audio, {level: codec.encode(audio, level)}, inputs)


@pytest.mark.parametrize("length", [5, 41, 344, 345, 347])
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "dilation", "groups"),
    [(32, 64, 41, 4, 1, 8), (8, 32, 41, 4, 1, 2), (8, 16, 41, 3, 1, 2), (16, 16, 1, 1, 1, 1),
     (8, 8, 3, 1, 9, 1), (8, 4, 4, 2, 1, 1)],
)  # fmt: skip
def test_every_convolution_is_conv1d_of_the_padded_signal(
    inputs, outputs, kernel, stride, dilation, groups, length
):
    torch.manual_seed(0)
    layer = Conv(inputs, outputs, kernel, stride, dilation, groups)
    given = torch.randn(2, inputs, length, requires_grad=True)
    count = -(-length // stride)
    left = max(layer.span - stride, 0) // 2
    right = max((count - 1) * stride + layer.span - length - left, 0)
    plain = F.conv1d(
        pad_time(given, left, right), layer.conv.weight, layer.conv.bias, stride, 0, dilation,
        groups,
    )  # fmt: skip
    ours = layer(given)
    assert ours.shape == plain.shape == (2, outputs, count)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    wanted = [given, *layer.parameters()]
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, wanted, upstream),
        torch.autograd.grad(plain, wanted, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("level", ["high", "low"])
def test_a_step_has_the_losses_and_gradients_of_the_references_order(codec, level, monkeypatch):
    """The benchmark's other side: all encoders, passes apart, one conv1d per layer."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from reference_step import ReferenceStep

    # A learning rate of 0: the reference compares with activations from before D's update.
    state = state_of(codec, "code", [*PAPER, f"level={level}", "lr_discriminator=0"])
    batch = batch_of(codec, level)
    before = {name: value.clone() for name, value in state.model.network.state_dict().items()}
    theirs = ReferenceStep(state)(batch)
    expected = [p.grad.clone() for p in state.model.network.parameters()]
    changed = [not torch.equal(before[n], v) for n, v in state.model.network.state_dict().items()]
    assert any(changed)
    state.model.network.load_state_dict(before)
    ours = state.model.step(batch)
    for name in ("adversarial", "feature", "codebook", "latent"):
        torch.testing.assert_close(ours[f"loss/{name}"], theirs[name], atol=1e-4, rtol=1e-4)
    whole = torch.cat([gradient.flatten() for gradient in expected]).norm()
    for parameter, gradient in zip(state.model.network.parameters(), expected, strict=True):
        assert (parameter.grad - gradient).norm() < 1e-3 * gradient.norm() + 1e-6 * whole


def test_gradient_norms_are_logged(codec):
    state = state_of(codec, "tiny", TEMPORAL)
    logs = state.model.step(batch_of(codec, "high"))
    for tag, network in (
        ("generator", state.model.network),
        ("adversary", state.model.adversary.network),
    ):
        flat = torch.cat([p.grad.flatten() for p in network.parameters()])
        torch.testing.assert_close(logs[f"gradient/{tag}"], flat.norm(), atol=0, rtol=1e-4)
        assert logs[f"gradient/{tag}"] > 0


def test_adam_goes_on_from_the_state_of_the_plain_form():
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    fast = adam(ours.parameters(), 1e-2, (0.5, 0.9))
    plain = torch.optim.Adam(theirs.parameters(), 1e-2, betas=(0.5, 0.9))
    x = torch.randn(4, 3)

    def take(network, optimiser):
        optimiser.zero_grad()
        network(x).square().sum().backward()
        optimiser.step()

    for _ in range(3):
        take(ours, fast), take(theirs, plain)
    fast.load_state_dict(copy.deepcopy(plain.state_dict()))
    ours.load_state_dict(theirs.state_dict())
    for _ in range(3):
        take(ours, fast), take(theirs, plain)
    torch.testing.assert_close(ours.weight, theirs.weight)
    assert gradient_norm(fast) == pytest.approx(gradient_norm(plain).item(), rel=1e-4)


@pytest.mark.parametrize(("room", "told"), [(2, "batch_size=2 "), (0, "not even 1 segment fits")])
def test_out_of_memory_says_which_batch_fits(codec, monkeypatch, room, told):
    tried = []

    def limited(batch):
        tried.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore")
        return step(batch)

    state, batch = state_of(codec, "tiny", TEMPORAL), batch_of(codec, "high", items=8)
    step = state.model.step
    monkeypatch.setattr(state.model, "step", limited)
    with pytest.raises(ValueError, match=f"step 1: out of memory .* batches of 8 .*{told}"):
        step_in_memory(state, batch, Team())
    assert tried == ([8, 4, 2] if room else [8, 4, 2, 1])
    with pytest.raises(ValueError, match=r"batch_size=4$"):
        step_in_memory(state, batch, Team(0, 2))
