"""The strength of onsets in music, as a curve on the grid of the positions: what a head predicts.

Symbols: B batch, N samples at 22 050 Hz, L positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.audio import mel_filters
from model.contract.segment import SAMPLE_RATE_HZ

N_FFT, BANDS, LAG_S = 1024, 40, 0.023
"""The spectrum's window in samples, its mel bands, and over what time a rise is measured."""


class OnsetStrength(nn.Module):
    """Maps audio (B, N) to the strength of onsets (B, L), from 0 to 1 for the strongest of a clip.

    Spectral flux (Bello et al. 2005): the rise of the log mel spectrum within `LAG_S`, where it
    rises, averaged over the bands. `step_samples` is the length of a position.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, step_samples: float) -> None:
        super().__init__()
        self.step_samples = step_samples
        self.lag = max(1, round(LAG_S * SAMPLE_RATE_HZ / step_samples))
        filters = mel_filters(BANDS, N_FFT, 30.0, SAMPLE_RATE_HZ / 2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, audio: Tensor, length: int) -> Tensor:
        return strength(self.rise(audio, length))

    @torch.no_grad()
    def rise(self, audio: Tensor, length: int) -> Tensor:
        """Return the spectral flux (B, L) of audio (B, N), at any scale."""
        hop = round(self.step_samples)
        # Frames around the middle of each position, and `lag` frames before the first.
        left, right = N_FFT // 2 + self.lag * hop - hop // 2, N_FFT + hop
        padded = F.pad(audio.float(), (left, right))
        spectrum = torch.stft(
            padded, N_FFT, hop, window=self.window, center=False, return_complex=True
        ).abs()
        bands = (self.filters @ spectrum * SAMPLE_RATE_HZ / 2).clamp(min=1e-3).log()
        rise = (bands[..., self.lag :] - bands[..., : -self.lag]).clamp(min=0).mean(1)
        return F.pad(rise, (0, max(0, length - rise.shape[1])))[:, :length]


def strength(rise: Tensor) -> Tensor:
    """Return rises (B, L) as the strength of onsets, 1 for the strongest of a segment."""
    return rise / rise.amax(1, keepdim=True).clamp(min=1e-6)
