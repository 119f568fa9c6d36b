"""The reference network: its sizes, its arithmetic from a file in the released layout, its runs."""

import json

import pytest
import torch
from torch.nn import functional as F

from model.cli import main
from model.codecs.base import join_codes
from model.codecs.jukebox import random_codec, write_weights
from model.contract.segment import MOTION, VISUAL, window_samples
from model.data.inputs import GENRE, Inputs, InputSpec
from model.fake_dataset import write_fake_dataset
from model.families.d2m_gan.config import Config, load_config
from model.families.d2m_gan.generator import build_generator
from model.families.d2m_gan.paper import ReferenceGenerator, ReferenceMotion
from model.families.d2m_gan.released_weights import load_released
from model.generation.run import load_run
from model.training.loop import train

SMALL = [
    "channels=16",
    "motion_channels=4",
    "d_channels=4",
    "d_max_channels=16",
    "d_first_stride=16",
]
CPU = torch.device("cpu")
HOPS = {"high": 128, "low": 32}


def inputs_of(window_s: int = 2, kind: str = "aist", genres: int = 0) -> Inputs:
    fps, features = {"aist": (60, 219), "tiktok": (30, 75)}[kind]
    specs = {
        MOTION: InputSpec(features, 1 / fps, fps * window_s),
        VISUAL: InputSpec(2048, window_s, 1),
    }
    specs |= {GENRE: InputSpec(genres, window_s, 0)} if genres else {}
    return Inputs(window_samples(window_s), specs)


def generator_of(config: Config, inputs: Inputs) -> torch.nn.Module:
    return build_generator(config, inputs, HOPS[config.level], torch.randn(32, 64))


def parameters(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(("level", "expected"), [("high", 22.3), ("low", 108.7)])
def test_sizes_are_the_published_networks(level, expected):
    config = load_config("code", None, [f"level={level}"])
    with torch.device("meta"):
        generator = ReferenceGenerator(config, inputs_of(genres=10), HOPS[level], 64, 100.0)
        motion = ReferenceMotion(InputSpec(219, 1 / 60, 120), 256)
    assert parameters(motion) == pytest.approx(31.4, abs=0.05)
    assert parameters(generator) - parameters(motion) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", ["aist", "tiktok"])
@pytest.mark.parametrize(
    ("window_s", "high", "low"), [(2, 344, 1378), (3, 516, 2067), (4, 689, 2756)]
)
def test_lengths_follow_from_the_window(kind, window_s, high, low):
    inputs = inputs_of(window_s, kind, genres=10)
    spec = inputs.get(MOTION)
    for level, length in (("high", high), ("low", low)):
        config = load_config("code", None, [*SMALL, f"level={level}"])
        generator = generator_of(config, inputs)
        given = {MOTION: torch.randn(1, spec.vectors, spec.features)}
        given |= {VISUAL: torch.randn(1, 1, 2048), GENRE: torch.tensor([9])}
        with torch.no_grad():
            latents = generator(given, length)
        assert latents.shape == (1, 64, length)
        assert latents.isfinite().all()
        with pytest.raises(ValueError, match=f"gives {length} codes per segment, not 7"):
            generator(given, 7)


# --- the released layout ---------------------------------------------------------------------


class Released:
    """Writes state dicts in the released layout, and computes with them by plain functions."""

    def __init__(self) -> None:
        self.state: dict[str, torch.Tensor] = {}
        self.made = torch.Generator().manual_seed(3)

    def draw(self, name: str, *shape: int) -> torch.Tensor:
        fan = torch.tensor(shape[1:]).prod().item() if len(shape) > 1 else 4
        self.state[name] = torch.randn(*shape, generator=self.made) / fan**0.5
        return self.state[name]

    def linear(self, name: str, x: torch.Tensor, outputs: int) -> torch.Tensor:
        weight = self.draw(f"{name}.weight", outputs, x.shape[-1])
        return x @ weight.T + self.draw(f"{name}.bias", outputs)

    def conv(self, name: str, x: torch.Tensor, outputs: int, kernel: int, stride=1, zeros=0):
        weight = self.draw(f"{name}.weight", outputs, x.shape[1], kernel)
        return F.conv1d(x, weight, self.draw(f"{name}.bias", outputs), stride, zeros)

    def normed(self, name: str, x: torch.Tensor, kernel: int, dilation: int = 1) -> torch.Tensor:
        width = x.shape[1]
        bias, g = self.draw(f"{name}.bias", width), self.draw(f"{name}.weight_g", width, 1, 1)
        v = self.draw(f"{name}.weight_v", width, width, kernel)
        weight = g * v / v.square().sum((1, 2), keepdim=True).sqrt()
        return F.conv1d(x, weight, bias, dilation=dilation)

    def blocks(self, first: int, x: torch.Tensor) -> torch.Tensor:
        for i, dilation in enumerate((1, 3, 9, 27)):
            name = f"model.{first + i}"
            y = F.pad(F.leaky_relu(x, 0.2), (dilation, dilation), mode="reflect")
            y = F.leaky_relu(self.normed(f"{name}.block.2", y, 3, dilation), 0.2)
            y = self.normed(f"{name}.block.4", y, 1)
            x = self.normed(f"{name}.shortcut", x, 1) + y
        return x


def released_motion(motion: torch.Tensor, c: int) -> tuple[dict, torch.Tensor]:
    file = Released()
    x = file.linear("lin1", motion, 800)
    x = file.blocks(2, torch.relu(file.conv("model.0", x, c, 6)))
    x = file.blocks(8, file.conv("model.7", F.leaky_relu(x, 0.2), 2 * c, 4))
    x = file.blocks(14, file.conv("model.13", F.leaky_relu(x, 0.2), 4 * c, 4))
    x = file.conv("model.19", F.leaky_relu(x, 0.2), 1, 4)
    assert x.shape[-1] == 786
    return file.state, file.linear("lin2", x, 1024)[:, 0]


def released_generator(
    x: torch.Tensor, genre: int, c: int, level: str
) -> tuple[dict, torch.Tensor]:
    file = Released()
    embedded = file.draw("genre_embed.weight", 10, 256)[genre].expand(len(x), -1)
    x = torch.cat([x, embedded], 1)[:, None]
    if level == "high":
        x = file.conv("model.0", file.linear("lin", x, 2058), c // 16, 6, 2, 1)
        for i, (width, stride) in enumerate([(c // 8, 2), (c // 4, 1), (c // 2, 1), (c, 1)]):
            x = F.leaky_relu(file.blocks(1 + 6 * i, x), 0.2)
            x = file.conv(f"model.{6 + 6 * i}", x, width, 41, stride, 1)
        x = F.leaky_relu(file.blocks(25, x), 0.2)
        return file.state, 100 * torch.tanh(file.conv("model.30", x, 64, 40, 1, 1))
    x = F.pad(file.linear("lin", x, 2048), (3, 3), mode="reflect")
    x = file.blocks(2, file.conv("model.1", x, c // 16, 6, 2, 1))
    number = 6
    for width, kernel, stride, pad in (
        (c // 8, 4, 1, 32), (c // 4, 40, 2, 64), (c // 2, 40, 1, 64), (c, 40, 1, 64),
        (2 * c, 40, 1, 64),
    ):  # fmt: skip
        x = F.pad(F.leaky_relu(x, 0.2), (pad, pad), mode="reflect")
        x = file.conv(f"model.{number + 2}", x, width, kernel, stride, 1)
        x = file.blocks(number + 3, x)
        number += 7
    x = F.pad(F.leaky_relu(x, 0.2), (64, 64), mode="reflect")
    x = file.conv(f"model.{number + 2}", x, 2 * c, 40, 1, 1)
    x = file.conv(f"model.{number + 4}", F.pad(x, (64, 64), mode="reflect"), 64, 40, 1, 1)
    assert x.shape[-1] == 1045
    return file.state, 100 * file.linear("fc", torch.tanh(x), 1378)


@pytest.mark.long
@pytest.mark.parametrize("level", ["high", "low"])
def test_released_layout_loads_and_gives_the_same_latents(level, tmp_path):
    motion, visual = torch.randn(2, 120, 219), torch.randn(2, 1, 2048)
    state, vector = released_motion(motion, 4)
    torch.save(state, tmp_path / "mencoder.pt")
    state, expected = released_generator(torch.cat([vector, visual[:, 0]], 1), 6, 16, level)
    torch.save(state, tmp_path / "netG.pt")
    config = load_config("code", None, [*SMALL, f"level={level}"])
    generator = generator_of(config, inputs_of(genres=10))
    load_released(generator, tmp_path / "mencoder.pt", tmp_path / "netG.pt")
    with torch.no_grad():
        given = {MOTION: motion, VISUAL: visual, GENRE: torch.tensor([6, 6])}
        latents = generator(given, expected.shape[-1])
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-2)

    with pytest.raises(ValueError, match=r"netG\.pt: \d+ convolutions, the network of this level"):
        load_released(generator, tmp_path / "netG.pt", tmp_path / "mencoder.pt")
    plain = generator_of(config, inputs_of())
    with pytest.raises(ValueError, match=r"genre_embed.*--set use_genre"):
        load_released(plain, tmp_path / "mencoder.pt", tmp_path / "netG.pt")
    (tmp_path / "list.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"list\.pt: cannot be read .*fetch it again") as caught:
        load_released(generator, tmp_path / "list.pt", tmp_path / "netG.pt")
    assert "weights_only" not in str(caught.value)
    with pytest.raises(ValueError, match="needs the file of its motion encoder"):
        load_released(generator, None, tmp_path / "netG.pt")


# --- runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("reference")
    codec = random_codec()
    write_weights(root / "codec.safetensors", codec.model, "random", "random codec: untrained")
    write_fake_dataset(root / "shards", codec, str(root / "codec.safetensors"), segments=3)
    return root / "shards"


@pytest.mark.long
def test_imported_weights_generate_and_train_on(shards, tmp_path, capsys):
    motion, visual = torch.randn(1, 120, 219), torch.randn(1, 2048)
    state, vector = released_motion(motion, 4)
    torch.save(state, tmp_path / "mencoder.pt")
    state, _ = released_generator(torch.cat([vector, visual], 1), 0, 16, "high")
    torch.save(state, tmp_path / "netG.pt")
    run, small = tmp_path / "run", [f"--set={s}" for s in (*SMALL, "batch_size=4")]
    arguments = ["import-released", "--shards", str(shards), "--out", str(run), *small]
    files = ["--motion-encoder", str(tmp_path / "mencoder.pt"), "--generator"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *files, str(tmp_path / "netG.pt")])
    assert stop.value.code == 0, capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--run", str(run), "--shards", str(shards), "--out", str(tmp_path / "o")])
    assert stop.value.code == 0, capsys.readouterr().err
    told = json.loads((tmp_path / "o" / "generated.json").read_text(encoding="utf-8"))
    assert told["inputs"] == ["motion", "visual", "genre"]
    assert [row["samples"] for row in told["generated"]] == [3 * 44_100]
    config = load_config("code", None, [*SMALL, "max_steps=2", "batch_size=2"])
    with pytest.raises(ValueError, match="cannot resume with another configuration"):
        train(shards, run, config, resume=True)
    config = load_config("code", None, [*SMALL, "max_steps=1", "batch_size=4"])
    assert train(shards, run, config, resume=True).step == 1


@pytest.mark.long
def test_genre_is_an_input_only_where_asked_for(shards, tmp_path, capsys):
    config = load_config("tiny", None, ["use_genre=true", "max_steps=1", "d_first_stride=16"])
    train(shards, tmp_path / "run", config)
    trained = load_run(tmp_path / "run", "last.pt")
    assert trained.model.network.genre.num_embeddings == 10
    base = ["generate", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "o")]
    for more, told in (
        (["--video", "some.mp4"], "genre None, expected one of BR, PO"),
        (["--shards", str(shards), "--genre", "XX"], "--genre: genre 'XX', expected one of"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*base, *more])
        assert stop.value.code == 1
        assert told in capsys.readouterr().err


def test_joined_windows_repeat_at_most_one_code_at_a_border():
    codes = torch.arange(3 * 344).view(3, 344)
    joined = join_codes(codes, 44_100, 128, 1034)[0]
    steps = joined.diff()
    assert joined[0] == 0 and joined[-1] >= 3 * 344 - 1 and set(steps.tolist()) <= {0, 1}
    assert (steps == 0).sum() == 1034 - 3 * 344
    for border in (1, 2):
        first = (joined >= border * 344).nonzero()[0].item()
        assert abs(first * 128 - border * 44_100) <= 128
