"""VGGish: the front end against a float64 reference, the network's layout, and its files."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.contract.weights_folder import VGGISH_FILE, VGGISH_PCA_FILE
from model.measures.embeddings import find_vggish, load_embedding, vggish_embedding
from model.measures.vggish import (
    VGGish,
    load_vggish,
    log_mel,
    mel_matrix,
    patches,
)
from pipeline.weights.table import lookup

PUBLISHED = {
    "features.0": (64, 1, 3, 3), "features.3": (128, 64, 3, 3), "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3), "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288), "embeddings.2": (4096, 4096), "embeddings.4": (128, 4096),
}  # fmt: skip
"""Shapes in the published port's file; each has a bias besides."""


def reference(audio: np.ndarray) -> np.ndarray:
    """Return the log-mel frames (T, 64) of audio at 16 kHz by the definition, one at a time."""
    hz = [125.0, 7500.0]
    low, high = (1127 * math.log(1 + f / 700) for f in hz)
    step = (high - low) / 65
    filters = np.zeros((64, 257))
    for band in range(64):
        left, right = low + step * band, low + step * (band + 2)
        for k in range(1, 257):
            mel = 1127 * math.log(1 + k * 16000 / 512 / 700)
            filters[band, k] = max(0, min((mel - left) / step, (right - mel) / step))
    # The transform written out: 400 windowed samples, zeros up to 512.
    turn = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)])
    frames = [audio[at : at + 400] for at in range(0, len(audio) - 399, 160)]
    return np.array([np.log(filters @ np.abs(turn @ (window * frame)) + 0.01) for frame in frames])


@pytest.mark.parametrize("kind", ["noise", "tone", "click", "silence", "full scale"])
def test_the_front_end_equals_a_float64_reference(kind):
    t = np.arange(20_000) / 16_000
    audio = {
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(t)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * t) + 1e-4 * np.sin(2 * np.pi * 7000 * t),
        "click": (np.arange(len(t)) == 9_000).astype(float),
        "silence": np.zeros(len(t)),
        "full scale": np.sign(np.sin(2 * np.pi * 123 * t)),
    }[kind]
    found, expected = log_mel(audio), reference(audio)
    assert found.shape == expected.shape == (123, 64)
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(found.astype(np.float32) - expected).max() < 1e-5  # as the network gets it
    if kind == "silence":
        assert np.allclose(found, math.log(0.01))


def test_every_band_has_a_filter_within_its_edges():
    weights = mel_matrix()
    assert weights.shape == (257, 64) and (weights.sum(0) > 0).all()
    assert not weights[:4].any() and not weights[241:].any()  # 125 and 7500 Hz, 31.25 Hz a bin
    assert weights.max() <= 1


def test_patches_are_whole_and_at_sixteen_kilohertz():
    t = np.arange(44_100) / 22_050
    found = patches(0.5 * np.sin(2 * np.pi * 1000 * t))
    assert found.shape == (2, 96, 64) and found.dtype == np.float32
    at_16k = log_mel(0.5 * np.sin(2 * np.pi * 1000 * np.arange(32_000) / 16_000))
    middle = found.reshape(192, 64)[5:185]
    assert np.abs(middle - at_16k[5:185])[:, 10:50].max() < 0.05
    assert len(patches(np.zeros(344 * 128))) == 2  # what the decoder gives back of 2 s
    with pytest.raises(ValueError, match=r"20000 samples .* 0.975 s"):
        patches(np.zeros(20_000))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Generated weights in the published layout; wide layers repeat one column, so it is small."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in PUBLISHED.items():
        wide = math.prod(shape) > 3_000_000
        drawn = torch.randn(shape[0], 1 if wide else shape[1], *shape[2:], generator=generator)
        state[f"{name}.weight"] = (drawn * math.prod(shape[1:]) ** -0.5).expand(shape)
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    path = tmp_path_factory.mktemp("vggish") / VGGISH_FILE
    torch.save(state, path)
    return path


def test_the_network_has_the_published_layout():
    with torch.device("meta"):
        state = VGGish().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        f"{name}.{part}": shape if part == "weight" else shape[:1]
        for name, shape in PUBLISHED.items()
        for part in ("weight", "bias")
    }
    assert sum(value.numel() for value in state.values()) == 72_141_184


@torch.no_grad()
def test_generated_weights_load_and_compute_what_the_layout_says(published):
    network, state = load_vggish(published), torch.load(published, weights_only=True)
    x = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(1))
    y = x[:, None]
    for name in ("0", "3", "6", "8", "11", "13"):
        weights = state[f"features.{name}.weight"], state[f"features.{name}.bias"]
        y = F.relu(F.conv2d(y, *weights, padding=1))
        if name in ("0", "3", "8", "13"):
            y = F.max_pool2d(y, 2)
    assert y.shape == (2, 512, 6, 4)
    flat = torch.stack([y[:, :, t, f] for t in range(6) for f in range(4)], 1).reshape(2, -1)
    for name in ("0", "2", "4"):
        before = F.linear(
            flat, state[f"embeddings.{name}.weight"], state[f"embeddings.{name}.bias"]
        )
        flat = F.relu(before)
    assert torch.allclose(network(x), flat, atol=1e-5)
    assert torch.allclose(network(x, last_relu=False), before, atol=1e-5)
    assert flat.shape == (2, 128) and (before < 0).any()


def test_the_embedding_is_labelled_unless_the_weights_are_the_published(published, tmp_path):
    embedding = vggish_embedding(published)
    rng = np.random.default_rng(0)
    found = embedding.patches(rng.standard_normal(44_100) * 0.1)
    assert found.shape == (2, 128) and found.dtype == np.float64
    assert "not published" in embedding.note
    assert load_embedding("vggish", published).name == "vggish"


def test_files_of_another_layout_or_with_code_are_refused(published, tmp_path):
    state = torch.load(published, weights_only=True)
    state["embeddings.4.weight"] = torch.zeros(64, 4096)
    torch.save(state, tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match=r"embeddings.4.weight is \(64, 4096\).*\(128, 4096\)"):
        load_vggish(tmp_path / "narrow.pth")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="not a file of weights only") as caught:
        load_vggish(tmp_path / "evil.pth")
    assert "weights_only" not in str(caught.value)
    assert "pipeline weights fetch vggish" in str(caught.value)
    assert not (tmp_path / "harm").exists()
    (tmp_path / "page.pth").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not a file of weights only"):
        load_vggish(tmp_path / "page.pth")


def test_fetched_weights_are_found_where_the_table_puts_them(tmp_path, monkeypatch):
    monkeypatch.setenv("D2M_CACHE", str(tmp_path))
    assert lookup("vggish").path == tmp_path / "weights" / VGGISH_FILE
    assert lookup("vggish_pca").path == tmp_path / "weights" / VGGISH_PCA_FILE
    with pytest.raises(FileNotFoundError) as error:
        find_vggish()
    assert str(lookup("vggish").path) in str(error.value)
