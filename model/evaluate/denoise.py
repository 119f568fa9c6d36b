"""Denoising as the paper does after generation: spectral gating by the noisereduce package.

Source: Sainburg, Thielk & Gentner 2020 (the package's paper). D2M-GAN's paper names the package and
no settings: these are its defaults, a noise floor that follows the sound. They take much of any
music for noise (docs/evaluation.md).
"""

from __future__ import annotations

import numpy as np

from model.segment import SAMPLE_RATE_HZ

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
    """
    check_available()
    from noisereduce import reduce_noise

    audio = np.asarray(audio, np.float32)
    if not audio.any():  # its threshold is a ratio: of silence it makes NaN
        return audio.copy()
    return np.asarray(reduce_noise(audio, SAMPLE_RATE_HZ, stationary=stationary), np.float32)


def removed_share(before: np.ndarray, after: np.ndarray) -> float:
    """Return the energy of what was taken out as a share of the energy before; 0 of silence."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    total = float((before**2).sum())
    return float(((before - after) ** 2).sum()) / total if total else 0.0
