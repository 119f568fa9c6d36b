"""The training losses of codecs, JukeBox's: errors of samples and spectra, relative to the music.

Formulas follow openai/jukebox (`vqvae.py`, `audio_utils.py`). Targets and outputs are audio (B, N).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.codecs.training.config import TrainingConfig


@dataclass(frozen=True)
class STFT:
    """The settings of a short-time Fourier transform, in samples."""

    n_fft: int
    hop: int
    window: int


SPECTRAL = STFT(2048, 256, 1536)
MULTISPECTRAL = (STFT(2048, 240, 1200), STFT(1024, 120, 600), STFT(512, 50, 240))
LINF_WEIGHT, LINF_SAMPLES = 0.02, 2048
LOG_FLOOR = 0.1
"""Magnitude below which differences have little weight: about 70 dB below a full-scale tone."""


@dataclass(frozen=True)
class Bandwidth:
    """Statistics of the training music, by which the losses are divided to be comparable."""

    l2: float
    l1: float
    spec: float


def magnitude(audio: Tensor, stft: STFT) -> Tensor:
    """Return |STFT| (B, n_fft // 2 + 1, frames): Hann window, centred, reflection padding."""
    window = torch.hann_window(stft.window, device=audio.device, dtype=torch.float32)
    spectrum = torch.stft(
        audio.float(), stft.n_fft, stft.hop, stft.window, window, return_complex=True
    )
    return torch.view_as_real(spectrum).square().sum(-1).clamp_min(1e-14).sqrt()


def _distance(target: Tensor, output: Tensor, stft: STFT) -> Tensor:
    return (magnitude(target, stft) - magnitude(output, stft)).flatten(1).norm(dim=1)


def spectral(target: Tensor, output: Tensor, stft: STFT = SPECTRAL) -> Tensor:
    """Return for each item the norm of the magnitude difference over bins and frames (B,)."""
    return _distance(target, output, stft)


def multispectral(targets: list[Tensor], outputs: list[Tensor]) -> Tensor:
    """Return for each item the mean of the `spectral` norm over several resolutions (B,)."""
    pairs = zip(targets, outputs, strict=True)
    return torch.stack([(t - o).flatten(1).norm(dim=1) for t, o in pairs]).mean(0)


def log_spectral(targets: list[Tensor], outputs: list[Tensor]) -> Tensor:
    """Return for each item the mean absolute log-magnitude difference over resolutions (B,)."""
    pairs = zip(targets, outputs, strict=True)
    logs = [(t + LOG_FLOOR).log() - (o + LOG_FLOOR).log() for t, o in pairs]
    return torch.stack([log.abs().flatten(1).mean(1) for log in logs]).mean(0)


def lmix(target: Tensor, output: Tensor, bandwidth: Bandwidth) -> dict[str, Tensor]:
    """Return l1, l2, linf (worst 2048 samples of each item) and their mixture lmix."""
    error = (output - target).square()
    l2 = error.mean() / bandwidth.l2
    linf = error.topk(min(LINF_SAMPLES, error.shape[1]), dim=1).values.mean() / bandwidth.l2
    l1 = (output - target).abs().mean() / bandwidth.l1
    return {"l1": l1, "l2": l2, "linf": linf, "lmix": l2 + LINF_WEIGHT * linf}


def reconstruction(
    target: Tensor, output: Tensor, bandwidth: Bandwidth, weights: TrainingConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss without the commitment loss, and all its terms."""
    target, output = target.float(), output.float()
    terms = lmix(target, output, bandwidth)
    spectra = [[magnitude(audio, stft) for stft in MULTISPECTRAL] for audio in (target, output)]
    terms["multispectral"] = multispectral(*spectra).mean() / bandwidth.spec
    loss = terms["lmix"] + weights.multispectral * terms["multispectral"]
    if weights.spectral:
        terms["spectral"] = spectral(target, output).mean() / bandwidth.spec
        loss = loss + weights.spectral * terms["spectral"]
    if weights.log_spectral:
        terms["log_spectral"] = log_spectral(*spectra).mean()
        loss = loss + weights.log_spectral * terms["log_spectral"]
    return loss, terms


def commitment(latents: Tensor, quantised: Tensor) -> Tensor:
    """Return the mean squared distance of latents to their entries; only latents get a gradient."""
    return F.mse_loss(latents.float(), quantised.detach())


def straight_through(latents: Tensor, quantised: Tensor) -> Tensor:
    """Return the values of the entries, with the gradient of the latents."""
    return latents + (quantised - latents).detach()


def measure_bandwidth(items: Iterable[Tensor]) -> Bandwidth:
    """Measure training items (channels, N): variance and mean |x| over all samples and channels.

    `spec` is the mean over items of the norm of the magnitude spectrum, averaged over channels. It
    depends on the length, so the items must be as long as the training crops.
    """
    count, total, squares, absolute, norms = 0, 0.0, 0.0, 0.0, []
    for item in items:
        item = item.double()
        count += item.numel()
        total += item.sum().item()
        squares += item.square().sum().item()
        absolute += item.abs().sum().item()
        norms.append(magnitude(item.mean(0, keepdim=True), SPECTRAL).norm().item())
    if not count or squares == 0:
        raise ValueError("the training audio is silent or empty; expected music to measure")
    return Bandwidth(
        squares / count - (total / count) ** 2, absolute / count, sum(norms) / len(norms)
    )
