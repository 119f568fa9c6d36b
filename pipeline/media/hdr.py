"""Convert decoded frames to 8-bit RGB for a standard (SDR) screen, HDR frames too.

Without conversion HDR pictures look dim and grey (PQ) or pale (HLG), unlike the training data of
networks. Light above diffuse white and colours outside BT.709 are clipped.
Source: ITU-R BT.2100 (PQ, HLG), BT.2408 (diffuse white), BT.1886 (standard screen).
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation

WHITE_NITS = 203
"""Diffuse white of an HDR picture, in cd/m²: a standard screen shows it as white."""
PQ_NITS, HLG_NITS = 10_000, 1000
HLG_GAMMA = 1.2
SCREEN_GAMMA = 2.4
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
"""Converts linear light from BT.2020 to BT.709 primaries."""


def to_rgb(
    frame: av.VideoFrame,
    width: int,
    height: int,
    interpolation: Interpolation = Interpolation.BILINEAR,
) -> np.ndarray:
    """Return a frame as RGB, scaled to `width` x `height`: uint8 (H, W, 3)."""
    hdr = frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
    image = frame.reformat(
        width, height, "rgb48le" if hdr else "rgb24", interpolation=interpolation, threads=1
    ).to_ndarray()
    if not hdr:
        return image
    signal = image.astype(np.float32) / 65535
    light = pq_nits(signal) if frame.color_trc == ColorTrc.SMPTE2084 else hlg_nits(signal)
    if frame.color_primaries == ColorPrimaries.BT2020:
        light = light @ TO_709.T
    shown = np.clip(light / WHITE_NITS, 0, 1) ** (1 / SCREEN_GAMMA)
    return np.round(shown * 255).astype(np.uint8)


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """Return the light of PQ signals (0 to 1) in cd/m²."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return PQ_NITS * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def hlg_nits(signal: np.ndarray) -> np.ndarray:
    """Return the light of HLG signals (..., 3), 0 to 1, in cd/m² on a screen of 1000 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = (scene @ LUMA_2020)[..., None]
    return HLG_NITS * luma ** (HLG_GAMMA - 1) * scene
