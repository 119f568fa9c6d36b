"""Denoising as the paper does after generation: spectral gating by the noisereduce package.

Source: Sainburg, Thielk & Gentner 2020 (the package's paper). D2M-GAN's paper names the package and
no settings: these are its defaults, a noise floor that follows the sound. They take much of any
music for noise (docs/results/metrics.md).
"""

from __future__ import annotations

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 1024
"""The package's window; it cannot take less."""
MISSING = "denoising needs the package noisereduce: pip install 'dance2music[denoise]'"


def check_available() -> None:
    """Raise ValueError that says what to install where noisereduce is not there."""
    try:
        import noisereduce  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(MISSING) from None


def denoise(audio: np.ndarray, stationary: bool = False) -> np.ndarray:
    """Return audio (N,) at 22 050 Hz with what is below the noise floor taken out, float32 (N,).

    The floor follows the sound over two seconds, or is one for the whole clip (`stationary`).
    Silence, and what is shorter than a window, comes back as it is.
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
        # The threshold is a ratio to the floor, which in long silence is 0 / 0. Noise of -120 dB,
        # less than 16 bit can hold, gives the samples lost to that a floor.
        noise = 1e-6 * np.random.default_rng(0).standard_normal(len(audio))
        found = np.where(np.isfinite(found), found, reduced(audio + noise.astype(np.float32)))
    return found


def removed_share(before: np.ndarray, after: np.ndarray) -> float:
    """Return the energy of what was taken out as a share of the energy before; 0 of silence."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    total = float((before**2).sum())
    return float(((before - after) ** 2).sum()) / total if total else 0.0
