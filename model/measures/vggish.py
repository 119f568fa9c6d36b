"""VGGish: log-mel patches and network of the AudioSet embedding, for the published weights.

Source: Hershey et al., CNN Architectures for Large-Scale Audio Classification, ICASSP 2017. The
front end is that of tensorflow/models (research/audioset/vggish). The layout of the weights is that
of the PyTorch port (github.com/harritaylor/torchvggish).

Symbols: N samples at 22 050 Hz, P patches of 96 frames (0.96 s) and 64 mel bands.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.contract.segment import SAMPLE_RATE_HZ
from model.runtime.checkpoint import DAMAGED, unreadable

RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512
"""In samples: 25 ms, 10 ms, and the next power of two above the window."""
BANDS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.01
PATCH = 96
WIDTH = 128
"""Features of an embedding."""

_CONVOLUTIONS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


def mel_matrix() -> np.ndarray:
    """Return triangular filters (257, 64), linear in HTK mel, float64; DC has weight 0."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127.0 * np.log1p(np.asarray(hz) / 700.0)

    bins = mel(np.arange(FFT // 2 + 1) * RATE_HZ / FFT)[:, None]
    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    weights = np.maximum(weights, 0.0)
    weights[0] = 0.0
    return weights


def log_mel(audio: np.ndarray) -> np.ndarray:
    """Return log(mel + 0.01) of magnitudes (frames, 64) of audio at 16 kHz, in float64.

    All frames are inside the audio: there is no padding. The Hann window is periodic.
    """
    audio = np.asarray(audio, np.float64)
    if len(audio) < WINDOW:
        return np.zeros((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitude = np.abs(np.fft.rfft(frames * window, FFT))
    return np.log(magnitude @ mel_matrix() + LOG_OFFSET)


def patches(audio: np.ndarray) -> np.ndarray:
    """Return the patches (P, 96, 64), float32, of audio (N,) at 22 050 Hz; the rest is dropped.

    soxr resamples the audio; the published code uses resampy, so values differ slightly near 8 kHz.
    Raises ValueError for audio shorter than one patch, 0.975 s.
    """
    import soxr

    found = log_mel(soxr.resample(np.asarray(audio, np.float64), SAMPLE_RATE_HZ, RATE_HZ))
    count = len(found) // PATCH
    if not count:
        raise ValueError(
            f"{len(audio)} samples ({len(audio) / SAMPLE_RATE_HZ:.3f} s): VGGish needs at least "
            "0.975 s; use longer segments"
        )
    return found[: count * PATCH].reshape(count, PATCH, BANDS).astype(np.float32)


class VGGish(nn.Module):
    """Maps patches (P, 96, 64) to embeddings (P, 128): six convolutions, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for step in _CONVOLUTIONS:
            if isinstance(step, int):
                layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU()]
                channels = step
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = channels * (PATCH // 16) * (BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, WIDTH), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor, last_relu: bool = True) -> Tensor:
        """Map patches (P, 96, 64) to embeddings (P, 128); with `last_relu` they are at least 0."""
        # The original flattens (time, band, channel); torch's convolutions have channels first.
        x = self.features(x[:, None]).permute(0, 2, 3, 1).flatten(1)
        return (self.embeddings if last_relu else self.embeddings[:-1])(x)


def load_vggish(path: Path) -> VGGish:
    """Return the network with the weights of `path`, a state dict; code in the file is not run.

    Raises ValueError if the file is not a state dict of this layout.
    """
    with torch.device("meta"):
        network = VGGish()
    state, wanted = _read(path), network.state_dict()
    found = {name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}
    expected = {name: tuple(value.shape) for name, value in wanted.items()}
    if found != expected:
        odd = sorted(found.items() ^ expected.items())
        raise ValueError(
            f"{path}: {odd[0][0]} is {found.get(odd[0][0])}, VGGish has {expected.get(odd[0][0])} "
            f"({len({name for name, _ in odd})} differ); see `pipeline weights fetch vggish`"
        )
    floats = {name: torch.as_tensor(value).float() for name, value in state.items()}
    network.load_state_dict(floats, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> dict:
    """Return the state dict of a file; only tensors and plain values are read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(
            f"{path}: is not a file of weights only ({unreadable(error)}); fetch it again: "
            "pipeline weights fetch vggish"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds {type(state).__name__}, expected a dict of tensors")
    return state
