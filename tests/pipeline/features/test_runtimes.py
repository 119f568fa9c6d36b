"""Networks through OpenVINO, in a precision that is resolved once, and torch's own speed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT

from model.contract.dataset import Dataset, save_dataset
from pipeline.build import BuildOptions, make_settings, ready
from pipeline.engine.pool import check_nodes
from pipeline.features.motion.base import Motion
from pipeline.features.plan import Settings, settings_record
from pipeline.features.pose.detector_torchvision import Detector
from pipeline.features.precision import lacking_bf16, node_check
from pipeline.features.runtime import Compiled, batches_at_once, check_installed, each_batch
from pipeline.features.torch_on_cpu import by_onednn, keep_memory
from pipeline.features.visual import inception
from pipeline.features.visual.base import Visual
from pipeline.features.visual.i3d_r50 import I3D
from pipeline.sources.folder import Folder
from pipeline.sources.listing import Listing
from pipeline.sources.manifest import Row

FAST = "model.contract.precision.fast_bf16"
HERE = "pipeline.features.precision.fast_bf16"
PERSONS = str(ROOT / "tests" / "data" / "persons_synthetic.safetensors")
WITH_OPENVINO = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra openvino is not installed"
)
TOLERANCE = 1e-4
"""Of the largest value: the tolerance that docs/reference/features.md states for float32."""


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def options(out: Path, *features: Visual | Motion) -> BuildOptions:
    return BuildOptions(Folder("in"), out, features or (Visual(weights="untrained"),))


def test_auto_is_resolved_once_and_is_what_keys_and_records_have(tmp_path, monkeypatch, capsys):
    row = Row("v", "v.mp4", sha256="0" * 64)
    plain = options(tmp_path, Visual(weights="untrained", precision="float32"))

    def key_and_record(asked: BuildOptions) -> tuple[str, object, object]:
        listing = Listing(Path(), Path(), [])
        settings = make_settings(asked, listing, ready(asked))
        spec = settings.feature("visual").spec(Fraction(2))["precision"]
        return settings.key("visual", row), settings_record(settings)["precision"], spec

    before = key_and_record(plain)
    assert before[1:] == ("float32", "float32")
    assert key_and_record(options(tmp_path)) == before  # without such hardware
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(FAST, lambda device: True)
    fast = key_and_record(options(tmp_path))
    assert fast[1:] == ("bf16", "bf16") and fast[0] != before[0]
    assert capsys.readouterr().out == "precision: bf16 (this machine is faster with it)\n"
    assert key_and_record(plain) == before
    explicit = options(tmp_path, Visual(weights="untrained", precision="bf16"))
    assert key_and_record(explicit) == fast
    without = options(tmp_path, Visual("none"))
    assert settings_record(Settings(Path(), Path(), Path(), ready(without)))["precision"] == (
        "float32"  # no network: nothing is chosen
    )


def test_a_data_set_keeps_its_precision_on_another_machine(tmp_path, monkeypatch, capsys):
    for was, here in (("bf16", False), ("float32", True)):
        spec = {"dtype": "float32", "shape": [1, 2048], "precision": was}
        fields = {"visual.npy": spec}
        save_dataset(tmp_path, Dataset("folder", "2", fields, {}, {"train": []}, source="in"))
        monkeypatch.setattr(FAST, lambda device, here=here: here)
        (visual,) = (f for f in ready(options(tmp_path)) if f.name == "visual")
        assert visual.precision == was
    assert f"precision: bf16 ({tmp_path} was begun with it)" in capsys.readouterr().out


def test_a_node_without_the_hardware_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    asked = options(tmp_path).features
    chosen = tuple(replace(f, precision="bf16") if f.name == "visual" else f for f in asked)
    assert node_check(asked, chosen) is lacking_bf16
    assert node_check(chosen, chosen) is None  # the user's own choice
    assert node_check(asked, asked) is None
    monkeypatch.setattr(HERE, lambda device: device == "cuda")
    assert lacking_bf16(True) == ""
    assert "its CPU has no AMX" in lacking_bf16(False)
    assert "give --precision float32, or bf16 to compute slowly" in lacking_bf16(False)


@pytest.mark.slow
def test_all_nodes_of_a_cluster_are_asked(_ray):
    import ray

    check_nodes(ray, lambda gpu: "")
    with pytest.raises(ValueError, match="no bf16 on False"):
        check_nodes(ray, lambda gpu: f"no bf16 on {gpu}")


def test_another_runtime_is_part_of_keys_and_records_and_torch_is_not(tmp_path):
    row = Row("v", "v.mp4", sha256="0" * 64)
    for plain in (
        Visual(weights_id="w", precision="float32"),
        Motion("blazepose", weights_id="w", detector_id="d", precision="float32"),
    ):
        other = replace(plain, runtime="openvino")
        keys = [f.key(row, {}, f.results[-1]) for f in (plain, other)]
        assert keys[0] != keys[1]
        assert "runtime" not in plain.record() and "runtime" not in plain.spec(Fraction(2))
        assert other.record()["runtime"] == other.spec(Fraction(2))["runtime"] == "openvino"
    assert "runtime" not in Motion("smpl", runtime="openvino").record()


def test_what_openvino_cannot_run_is_an_error_that_says_so(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--runtime openvino: mmpose runs by torch only; choose"):
        Motion("mmpose", runtime="openvino").check(Fraction(2))
    monkeypatch.setattr("pipeline.features.runtime.find_spec", lambda name: None)
    check_installed("torch")
    for feature in (Visual(runtime="openvino"), Motion("blazepose", runtime="openvino")):
        with pytest.raises(ValueError, match=r"needs OpenVINO, which is not installed; .*openvino"):
            feature.check(Fraction(2))


@pytest.mark.long
@WITH_OPENVINO
def test_a_module_gives_the_same_through_openvino_for_each_shape():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(2, 4, (3, 1, 1), padding=(1, 0, 0)),
        torch.nn.BatchNorm3d(4),
        torch.nn.ReLU(),
    ).eval()
    fixed, free = Compiled(net, "float32"), Compiled(net, "float32", free=(0, 4))
    with torch.inference_mode():
        for x in (torch.randn(1, 2, 4, 6, 8), torch.randn(3, 2, 4, 6, 5)):
            for run in (fixed, free):
                close(run(x)[0].numpy(), net(x).numpy())
    assert len(fixed._requests) == 2 and len(free._requests) == 1


SIGNAL = """
import gc, os, signal, torch
from pipeline.features.runtime import Compiled
nets = [Compiled(torch.nn.Conv2d(3, 8, 3).eval(), "float32") for _ in range(2)]
for net in nets:
    net(torch.zeros(1, 3, 32, 32))
del net
while nets:
    del nets[0]
    gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.long
@WITH_OPENVINO
def test_a_signal_is_heard_after_networks_of_openvino_were_freed():
    command = [sys.executable, "-c", SIGNAL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout.strip()) == (0, "heard"), done.stderr


@pytest.mark.long
@WITH_OPENVINO
def test_a_detector_s_boxes_are_the_same_through_openvino():
    rng = np.random.default_rng(0)
    plain, other = Detector(PERSONS, device="cpu"), Detector(PERSONS, runtime="openvino")
    for detector in (plain, other):
        detector.setup()
    for shape in ((2, 120, 160, 3), (1, 160, 120, 3)):
        frames = rng.integers(0, 256, shape, np.uint8)
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            expected, found = (d._net.backbone(pictures).numpy() for d in (plain, other))
        close(found, expected)
        for a, b in zip(plain(frames), other(frames), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-2)


@pytest.mark.slow
@WITH_OPENVINO
def test_i3d_is_the_same_through_openvino():
    clips = np.random.default_rng(0).integers(0, 256, (2, 8, 224, 224, 3), np.uint8)
    plain, other = (I3D("untrained", device="cpu", runtime=r) for r in ("torch", "openvino"))
    for extractor in (plain, other):
        extractor.setup()
    close(other(clips), plain(clips))


@pytest.mark.slow
@WITH_OPENVINO
def test_a_stream_of_inception_is_the_same_through_openvino():
    net = inception.untrained(2).eval().requires_grad_(False)
    run = Compiled(net, "float32")
    for frames in (10, 13):  # with other paddings
        flow = torch.rand(1, 2, frames, 128, 128) * 2 - 1
        with torch.inference_mode():
            close(run(flow)[0].numpy(), net(flow).numpy())


def test_onednn_s_convolutions_and_kept_memory_change_no_result():
    keep_memory()
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0), bias=False),
        torch.nn.Sequential(torch.nn.Conv3d(8, 16, 1, stride=(1, 2, 2)), torch.nn.ReLU()),
        torch.nn.Conv3d(16, 8, 3, padding=1),
    ).eval()
    x = torch.randn(1, 3, 4, 16, 16).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        expected = net(x)
        found = by_onednn(net)(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    kept = [type(module) for module in net.modules()].count(torch.nn.Conv3d)
    assert kept == 1 or not torch.backends.mkldnn.is_available()


def test_batches_are_computed_at_once_and_give_the_same(monkeypatch):
    torch.set_num_threads(1)
    conv = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    pictures = np.random.default_rng(0).normal(size=(11, 3, 9, 9)).astype(np.float32)
    at_work, most = set(), set()

    def run(part: np.ndarray) -> np.ndarray:
        if meeting:
            meeting.wait(60)  # for the other two
        at_work.add(threading.get_ident())
        most.add(len(part))
        return conv(torch.from_numpy(part)).numpy()

    meeting = None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = each_batch(run, pictures, 4, "torch", "cpu")
    assert at_work == {threading.get_ident()} and most == {4, 3}
    at_work.clear()
    meeting = threading.Barrier(3)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    together = each_batch(run, pictures, 4, "torch", "cpu")
    assert len(at_work) == 3 and threading.get_ident() not in at_work
    assert [len(part) for part in together] == [4, 4, 3]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert each_batch(run, pictures[:0], 4, "torch", "cpu") == []


def test_an_error_in_one_batch_ends_all(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = []

    def run(part: np.ndarray) -> None:
        begun.append(part[0])
        if part[0] == 0:
            raise ValueError("bad 0")
        time.sleep(0.2)

    with pytest.raises(ValueError, match="bad 0"):
        each_batch(run, np.arange(40), 2, "torch", "cpu")
    assert len(begun) < 20  # those that had begun end first


@pytest.mark.long
def test_i3d_gives_the_same_whatever_is_computed_at_once(monkeypatch):
    clips = np.random.default_rng(0).integers(0, 255, (3, 8, 224, 224, 3), dtype=np.uint8)
    net = I3D("untrained", precision="float32")
    net.setup()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = net(clips)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    np.testing.assert_array_equal(net(clips), alone)
    assert net(clips[:0]).shape == (0, 2048)


def test_workers_that_share_the_cores_compute_one_batch_at_a_time(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray's workers have it
    assert batches_at_once("torch", "cpu") == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert batches_at_once("torch", "cpu") == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert batches_at_once("torch", "cpu") == 8
    assert batches_at_once("torch", "cuda") == batches_at_once("openvino", "cpu") == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert batches_at_once("torch", "cpu") >= 1
