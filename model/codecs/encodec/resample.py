"""Resampling between the shards' rate and a codec's, item by item."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def resampled_length(samples: int, from_hz: int, to_hz: int) -> int:
    """Return the number of samples after `resample`: samples · to / from, rounded half up."""
    return (2 * samples * to_hz + from_hz) // (2 * from_hz)


def resample(audio: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Resample audio (B, N), float32, on the CPU: (B, `resampled_length`).

    soxr, in its high quality, because the rest of the project resamples with it, and because it
    keeps 10 kHz where the default filter of scipy's `resample_poly` already has an error of 13 %
    (22 050 to 32 000 Hz). It is linear in phase and keeps time 0. Each item is resampled alone, so
    that it does not depend on the batch.
    """
    if from_hz == to_hz:
        return audio
    import soxr

    length = resampled_length(audio.shape[1], from_hz, to_hz)
    found = np.zeros((len(audio), length), np.float32)
    for row, item in zip(found, audio.detach().cpu().float().numpy(), strict=True):
        part = soxr.resample(item, from_hz, to_hz)[:length]
        row[: len(part)] = part
    return torch.from_numpy(found)
