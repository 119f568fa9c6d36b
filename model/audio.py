"""Music files, the mel spectrogram used in losses and pictures, and distances between signals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.segment import SAMPLE_RATE_HZ


def read_music(path: Path, advice: str = "give a wav, flac, ogg or mp3 file") -> np.ndarray:
    """Return the music (N,) float32 of a file of any rate and channels: mono at 22 050 Hz.

    Raises FileNotFoundError, and ValueError, with `advice`, if it cannot be read.
    """
    import soundfile
    import soxr

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of music")
    try:
        audio, rate_hz = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not readable as music ({error}); {advice}") from None
    audio = audio.mean(1)
    return audio if rate_hz == SAMPLE_RATE_HZ else soxr.resample(audio, rate_hz, SAMPLE_RATE_HZ)


def mel_filters(bands: int, n_fft: int, low_hz: float, high_hz: float) -> Tensor:
    """Return triangular filters (bands, n_fft // 2 + 1) of equal area on Slaney's mel scale.

    The scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (27 mel per factor
    6.4); after Slaney's Auditory Toolbox, 1998. Equal area makes white noise flat across bands.
    """
    edge_hz, edge_mel, per_octave = 1000.0, 15.0, 27.0 / np.log(6.4)

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < edge_hz else edge_mel + np.log(hz / edge_hz) * per_octave

    mels = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    points = np.where(
        mels < edge_mel,
        mels * 200 / 3,
        edge_hz * np.exp((np.maximum(mels, edge_mel) - edge_mel) / per_octave),
    )
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE_HZ / n_fft
    lower, middle, upper = points[:-2, None], points[1:-1, None], points[2:, None]
    rise, fall = (bins - lower) / (middle - lower), (upper - bins) / (upper - middle)
    triangles = np.maximum(0, np.minimum(rise, fall)) * 2 / (upper - lower)
    return torch.from_numpy(triangles.astype(np.float32))


def wave_loss(audio: Tensor, target: Tensor) -> Tensor:
    """Return the L1 distance of decoded and target audio (B, N), cut to the decoded length."""
    return F.l1_loss(audio.float(), target[:, : audio.shape[1]].float())


def mel_loss(audio: Tensor, target: Tensor, log_mel: LogMel) -> Tensor:
    """Return the L1 distance of the log mel spectrograms of decoded and target audio (B, N)."""
    return F.l1_loss(log_mel(audio), log_mel(target[:, : audio.shape[1]]))


class LogMel(nn.Module):
    """log10 of the mel magnitude spectrogram: audio (B, N) to (B, bands, N // hop), float32.

    Frames, bands and floor are those of MelGAN (Kumar et al. 2019), on which the paper builds.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, n_fft: int = 1024, hop: int = 256, bands: int = 80) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        filters = mel_filters(bands, n_fft, 0.0, SAMPLE_RATE_HZ / 2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Map audio (B, N), N above (n_fft - hop) / 2 = 384, to (B, bands, N // hop), float32."""
        pad = (self.n_fft - self.hop) // 2
        padded = F.pad(audio.float(), (pad, pad), mode="reflect")
        spectrum = torch.stft(
            padded, self.n_fft, self.hop, window=self.window, center=False, return_complex=True
        )
        # The square root has no finite gradient at zero: without epsilon, silence would give NaN.
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
        return torch.log10((self.filters @ magnitude).clamp(min=1e-5))
