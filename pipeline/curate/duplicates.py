"""Find duplicate clips: compare perceptual hashes of frames, aligned in time by the sound.

Legend: n frames of a clip, four per second; 3 crops of each frame; a hash has 64 bits.
"""

from __future__ import annotations

import numpy as np

CROPS = (1.0, 0.94, 0.88)
"""Shares of the picture's sides that are hashed, so that a cropped copy is recognised, too."""
RATE_HZ = 4
FEWEST = 6
"""Fewer common frames are not compared."""
_SIDE = 32


def frame_hashes(picture: np.ndarray) -> np.ndarray:
    """Return the hashes of one picture (h, w, 3) uint8, one per crop: uint64 (3,).

    This is pHash: one bit for each of the 64 lowest frequencies of the brightness (cosine transform
    of 32 x 32 px), set if it is above their median.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    hashes = []
    for crop in CROPS:
        dy, dx = (round((1 - crop) / 2 * side) for side in (height, width))
        part = grey[dy : height - dy, dx : width - dx]
        small = cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        waves = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
        bits = waves > np.median(waves[1:])
        hashes.append(np.packbits(bits).view(np.uint64)[0])
    return np.array(hashes, np.uint64)


def distance(first: np.ndarray, second: np.ndarray, lag_s: float) -> float:
    """Return the distance of two clips' pictures: 0 to 1; 0.5 is chance, 1 if not comparable.

    `first` and `second` are hashes (n, 3); `second` starts `lag_s` after `first`. For each
    frame that both clips have, the most similar crops count; the result is the median over frames.
    """
    best = 1.0
    for lag in {int(np.floor(lag_s * RATE_HZ)), int(np.ceil(lag_s * RATE_HZ))}:
        start, stop = max(0, lag), min(len(first), len(second) + lag)
        if stop - start < FEWEST:
            continue
        a, b = first[start:stop, :, None], second[start - lag : stop - lag, None, :]
        bits = np.bitwise_count(a ^ b).min((1, 2)) / 64
        best = min(best, float(np.median(bits)))
    return best
