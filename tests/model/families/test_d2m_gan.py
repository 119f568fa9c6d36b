"""D2M-GAN's networks and losses: shapes, gradients, and what must stay frozen."""

import ast
from pathlib import Path

import pytest
import torch

import model
from model.audio import LogMel, mel_filters
from model.codecs.jukebox import random_codec
from model.contract.dataset import Dataset
from model.contract.kinds import D2M_GAN
from model.contract.segment import MOTION, VISUAL, WAV, window_samples
from model.contract.wav import decode_wav, encode_wav
from model.data.inputs import GENRE, Inputs, InputSpec
from model.data.source import Batch
from model.families.aligned import Standardise, resample_time
from model.families.d2m_gan.config import LOSSES, Config, load_config
from model.families.d2m_gan.discriminators import arrange, build_adversary
from model.families.d2m_gan.generator import build_generator
from model.families.d2m_gan.layers import pad_time
from model.families.d2m_gan.losses import straight_through, weighted_total
from model.runtime.settings import override
from model.training.state import build

HOPS = {"high": 128, "low": 32}
SPECS = {
    "smpl": {MOTION: InputSpec(219, 1 / 60, 120), VISUAL: InputSpec(2048, 2.0, 1)},
    "openpose": {MOTION: InputSpec(75, 1 / 30, 60), GENRE: InputSpec(10, 2.0, 0)},
    "video only": {VISUAL: InputSpec(2048, 1.0, 2)},
}
SPECS = {kind: Inputs(44_100, specs) for kind, specs in SPECS.items()}


def given(inputs: Inputs, window_s: int) -> dict[str, torch.Tensor]:
    made = {GENRE: torch.tensor([3])}
    for name, spec in inputs.specs.items():
        if name != GENRE:
            made[name] = torch.randn(1, round(window_s / spec.step_s), spec.features)
    return made


def generator_of(config: Config, inputs: Inputs, codebook: torch.Tensor) -> torch.nn.Module:
    return build_generator(config, inputs, HOPS[config.level], codebook)


@pytest.fixture(scope="module")
def codec():
    return random_codec()


@pytest.fixture
def state(codec):
    torch.manual_seed(1)
    fields = {
        WAV: {"dtype": "int16", "shape": [window_samples("2")]},
        MOTION: {"dtype": "float32", "shape": [60, 75]},
        VISUAL: {"dtype": "float32", "shape": [1, 2048]},
    }
    dataset = Dataset("made up", "2", fields, {}, {})
    config = load_config("tiny", None, ["batch_size=2", "audio_items=0"])
    return build(D2M_GAN, config, dataset, codec, torch.device("cpu"))


@pytest.fixture
def batch(codec):
    torch.manual_seed(2)
    audio = torch.randn(2, window_samples("2")) * 0.1
    return Batch(
        ["a_seg0001", "a_seg0002"],
        audio,
        {"high": codec.encode(audio, "high")},
        {MOTION: torch.randn(2, 60, 75), VISUAL: torch.randn(2, 1, 2048)},
    )


@pytest.mark.parametrize("level", ["high", "low"])
@pytest.mark.parametrize(
    ("preset", "window_s"), [("tiny", 2), ("tiny", 3), ("tiny", 4), ("paper", 2)]
)
@pytest.mark.parametrize("kind", list(SPECS))
def test_generator_gives_one_latent_per_code(level, preset, window_s, kind):
    config = load_config(preset, None, [f"level={level}"])
    inputs = SPECS[kind]
    generator = generator_of(config, inputs, torch.randn(16, 64))
    length = window_samples(window_s) // HOPS[level]
    assert length == {2: (344, 1378), 3: (516, 2067), 4: (689, 2756)}[window_s][level == "low"]
    with torch.no_grad():
        latents = generator(given(inputs, window_s), length)
    assert latents.shape == (1, 64, length)
    assert latents.abs().max() <= generator.sigma


def test_joined_windows_are_one_pass_of_any_length():
    inputs = SPECS["smpl"]
    generator = generator_of(load_config("tiny", None), inputs, torch.randn(16, 64))
    for window_s, length in ((14, 2412), (6, 7), (1, 1)):
        with torch.no_grad():
            motion, visual = torch.randn(1, 60 * window_s, 219), torch.randn(1, 7, 2048)
            latents = generator({MOTION: motion, VISUAL: visual}, length)
        assert latents.shape == (1, 64, length)
        assert latents.isfinite().all()


def test_every_frame_reaches_every_code_and_keeps_its_place():
    generator = generator_of(load_config("tiny", None), SPECS["openpose"], torch.randn(16, 64))
    motion = torch.randn(1, 60, 75, requires_grad=True)
    for code in (0, 343):
        latents = generator({MOTION: motion, GENRE: torch.tensor([3])}, 344)
        (gradient,) = torch.autograd.grad(latents[..., code].sum(), motion)
        per_frame = gradient.abs().sum((0, 2))
        assert (per_frame > 0).all()
        nearest = 0 if code == 0 else 59
        assert abs(per_frame.argmax().item() - nearest) < 12


def test_first_latents_are_at_the_codebooks_scale():
    codebook = torch.randn(512, 64) * 7 + 3
    generator = generator_of(Config(), SPECS["smpl"], codebook)
    latents = generator({MOTION: torch.randn(2, 120, 219), VISUAL: torch.randn(2, 1, 2048)}, 344)
    assert 2 < latents.std().item() < 20
    assert abs(latents.mean().item() - 3) < 3


def test_resample_time_is_linear_in_real_time():
    frames = (torch.arange(60.0)[None, None] + 0.5) / 30  # each frame holds its own time
    middles = resample_time(frames, 1 / 30, 344, 128 / 22050)[0, 0]
    expected = (torch.arange(344) + 0.5) * 128 / 22050
    inside = (expected > 0.5 / 30) & (expected < 2 - 0.5 / 30)
    torch.testing.assert_close(middles[inside], expected[inside])


def test_padding_longer_than_the_sequence_falls_back_to_zeros():
    padded = pad_time(torch.tensor([[[1.0, 2.0, 3.0]]]), 4, 3)
    assert padded.tolist() == [[[0, 0, 3, 2, 1, 2, 3, 2, 1, 0]]]


def test_time_major_arrangement_keeps_a_codes_values_together():
    latents = torch.arange(2 * 3 * 4).view(2, 3, 4)
    assert arrange(latents, "time")[0, 0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert arrange(latents, "channel")[0, 0].tolist() == list(range(12))
    assert arrange(latents, "none").shape == (2, 3, 4)


@pytest.mark.parametrize("order", ["time", "channel", "none"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_adversary_judges_every_arrangement(order, count):
    config = load_config("tiny", None, [f"reshape={order}", f"discriminators={count}"])
    adversary = build_adversary(config, 64, torch.device("cpu"))
    real, fake = torch.randn(2, 64, 344), torch.randn(2, 64, 344, requires_grad=True)
    assert adversary.step(real, fake) > 0
    assert fake.grad is None
    hinge, matching = adversary.losses(real, fake)
    (hinge + matching).backward()
    assert fake.grad.abs().sum() > 0
    assert len(adversary.network.scales) == count


def test_discriminators_at_full_size_have_the_references_parameters():
    adversary = build_adversary(Config(), 64, torch.device("cpu"))
    count = sum(p.numel() for p in adversary.network.parameters())
    assert abs(count - 9.2e6) < 0.05e6  # REFERENCE: three discriminators of 9.2 M


def test_channels_that_groups_do_not_divide_are_refused():
    config = load_config("tiny", None, ["d_channels=5", "d_max_channels=30"])
    with pytest.raises(ValueError, match=r"d_max_channels \(30\).* 30 to 30 .*powers of two"):
        build_adversary(config, 64, torch.device("cpu"))


def test_a_feature_that_hardly_changes_keeps_its_scale():
    standardise = Standardise(3)
    values = torch.randn(4, 200, 3) * torch.tensor([2.0, 1e-5, 0.0]) + 5
    standardise.measure(values)
    assert standardise.deviation[0] == pytest.approx(2, rel=0.1)
    assert standardise.deviation[1:].tolist() == [1, 1]
    assert standardise(values + 1)[..., 1:].abs().max() < 1.1


def test_the_adversary_is_untouched_by_the_generators_losses(state, batch):
    before = [p.clone() for p in state.model.adversary.network.parameters()]
    real = state.codec.embed(batch.codes["high"], "high")
    fake = state.model.network(batch.inputs, 344)
    losses = state.model.generator_losses(batch, real, real, fake)
    weighted_total(losses, state.model.config.weights).backward()
    for parameter, old in zip(state.model.adversary.network.parameters(), before, strict=True):
        assert parameter.grad is None
        assert parameter.requires_grad
        assert torch.equal(parameter, old)


def test_the_generator_is_untouched_by_the_adversarys_step(state, batch):
    fake = state.model.network(batch.inputs, 344)
    state.model.adversary.step(state.codec.embed(batch.codes["high"], "high"), fake)
    assert all(p.grad is None for p in state.model.network.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_reaches_the_generator(state, batch, name):
    def gradient(weights: dict[str, float]) -> torch.Tensor:
        state.model.config = override(state.model.config, {"weights": weights}, "test")
        state.model.network.zero_grad()
        real = state.codec.embed(batch.codes["high"], "high")
        fake = state.model.network(batch.inputs, 344)
        raw = state.codec.latents(batch.audio, "high")
        losses = state.model.generator_losses(batch, real, raw, fake)
        assert name in losses or not weights[name]
        weighted_total(losses, state.model.config.weights).backward()
        return torch.cat([p.grad.flatten() for p in state.model.network.parameters()])

    all_of_them = {**Config().weights, "latent": 5.0}
    with_it, without = gradient(all_of_them), gradient({**all_of_them, name: 0.0})
    assert with_it.isfinite().all()
    assert (with_it - without).norm() > 1e-4 * with_it.norm()


def test_codec_is_bit_identical_after_steps(state, batch):
    before = {k: v.clone() for k, v in state.codec.model.state_dict().items()}
    weights = [p.clone() for p in state.model.network.parameters()]
    for _ in range(2):
        state.model.step(batch)
    for key, value in state.codec.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None and not p.requires_grad for p in state.codec.model.parameters())
    changed = [
        not torch.equal(p, w)
        for p, w in zip(state.model.network.parameters(), weights, strict=True)
    ]
    assert all(changed)


def test_straight_through_has_the_entries_value_and_the_latents_gradient():
    latents, entries = torch.randn(1, 4, 5, requires_grad=True), torch.randn(1, 4, 5)
    through = straight_through(latents, entries)
    torch.testing.assert_close(through, entries)
    through.sum().backward()
    assert (latents.grad == 1).all()


def test_silence_has_a_finite_mel_gradient():
    audio = torch.zeros(1, 4096, requires_grad=True)
    LogMel()(audio).sum().backward()
    assert audio.grad.isfinite().all()


@pytest.mark.long
def test_mel_filters_are_slaneys():
    librosa = pytest.importorskip("librosa")
    ours = mel_filters(80, 1024, 0.0, 11025.0)
    theirs = torch.from_numpy(librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80))
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)


def test_wav_round_trip_and_clipping():
    data, clipped = encode_wav(torch.tensor([0.0, 0.5, -1.0, 1.5]))
    assert decode_wav(data, "x").tolist() == [0.0, 0.5, -1.0, 32767 / 32768]
    assert clipped == 1
    with pytest.raises(ValueError, match=r"x\.wav: not a PCM wav file"):
        decode_wav(b"RIFF", "x.wav")


def test_loss_and_weight_names_must_match():
    one = torch.ones(())
    with pytest.raises(ValueError, match="melody"):
        weighted_total({"mel": one}, {"mel": 1.0, "melody": 1.0})
    with pytest.raises(ValueError, match="do not match"):
        weighted_total({"mel": one}, {"mel": 1.0, "wave": 2.0})
    assert weighted_total({"mel": one}, {"mel": 3.0, "wave": 0.0}) == 3


def test_paper_weights():
    weights = load_config("paper", None).weights
    assert weights == {
        "adversarial": 1,
        "feature": 3,
        "codebook": 15,
        "wave": 40,
        "mel": 15,
        "latent": 0,
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr_generatr=1", "did you mean 'lr_generator'"),
        ("weights.wav=1", "did you mean 'wave'"),
        ("batch_size=1.5", "expected int"),
        ("use_motion=1", "expected bool"),
        ("reshape=rows", "expected one of time, channel, none"),
        ("batch_size", "expected key=value"),
        ("weights.mel=-1", "weights.mel is -1.0; expected a finite number"),
        ("weights.mel=.nan", "weights.mel is nan"),
        ("sigma=.nan", "sigma is nan"),
        ("lr_generator=.inf", "lr_generator is inf"),
        ("dilations=[0]", r"dilations are \[0\]"),
        ("seed=-1", "seed is -1"),
        ("betas=[]", r"expected a list like \[0.5, 0.9\]"),
        ("betas=[0.5, 1.5]", r"\[0, 1\)"),
    ],
)
def test_settings_are_refused_with_a_reason(setting, message):
    with pytest.raises(ValueError, match=message):
        load_config("paper", None, [setting])


def test_file_and_settings_override_the_preset(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("lr_generator: 1e-3\nweights: {mel: 5}\ndilations: [1, 2]\n", encoding="utf-8")
    config = load_config("tiny", file, ["weights.wave=0", "lr_discriminator=2e-4"])
    assert (config.lr_generator, config.lr_discriminator) == (1e-3, 2e-4)
    preset = load_config("tiny", None).weights
    assert config.weights == {**preset, "mel": 5, "wave": 0}
    assert config.dilations == (1, 2)


def test_every_config_key_is_read_somewhere():
    read = set()
    for path in Path(model.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                if owner == "config" or owner.endswith(".config"):
                    read.add(node.attr)
    assert set(Config.__dataclass_fields__) - read == set()
