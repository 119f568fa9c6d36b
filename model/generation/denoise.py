"""Denoising after generation, as in the paper: spectral gating by the noisereduce package.

Source: Sainburg, Thielk & Gentner 2020 (the package's paper). D2M-GAN's paper names the package but
no settings. These are the package's defaults, with a noise floor that follows the audio. They treat
much of any music as noise (docs/results/metrics.md).
"""

from __future__ import annotations

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 1024
"""The window of the package, and the shortest audio that it accepts."""
MISSING = "denoising needs the package noisereduce: pip install 'dance2music[denoise]'"


def check_available() -> None:
    """Raise ValueError, with the command to install it, if noisereduce is missing."""
    try:
        import noisereduce  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(MISSING) from None


def denoise(audio: np.ndarray, stationary: bool = False) -> np.ndarray:
    """Return audio (N,) at 22 050 Hz without the parts below the noise floor, float32 (N,).

    The floor follows the audio over two seconds, or is constant for the entire clip (`stationary`).
    Silence, and audio shorter than a window, is returned unchanged.
    """
    check_available()
    from noisereduce import reduce_noise

    def reduced(audio: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = reduce_noise(audio, SAMPLE_RATE_HZ, stationary=stationary)
        return np.asarray(found, np.float32)

    audio = np.asarray(audio, np.float32)
    if len(audio) < WINDOW_SAMPLES or not audio.any():
        return audio.copy()
    found = reduced(audio)
    if not np.isfinite(found).all():
        # The threshold is a ratio to the floor, which is 0 / 0 in long silence. There, compute the
        # samples again with added noise of -120 dB, which is below the resolution of 16 bits.
        noise = 1e-6 * np.random.default_rng(0).standard_normal(len(audio))
        found = np.where(np.isfinite(found), found, reduced(audio + noise.astype(np.float32)))
    return found


def removed_share(before: np.ndarray, after: np.ndarray) -> float:
    """Return the removed energy as a fraction of the energy before; 0 for silence."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    total = float((before**2).sum())
    return float(((before - after) ** 2).sum()) / total if total else 0.0
