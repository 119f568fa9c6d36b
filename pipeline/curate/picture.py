"""Find the active picture of a shot inside black, blurred or decorated bars.

Regions that move *and* are sharp belong to the picture: bars are still (black, decorated) or soft
(blurred). The picture may be larger than the moving region. Its sides are straight edges that have
the same position in all frames.

Legend: n frames, H, W size of a frame in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAMES = 12
"""How many frames of a shot are used, evenly spread."""
SPREAD_PX = 7
"""How far a sharp side spreads in `fine_detail`, in px."""


@dataclass(frozen=True)
class PictureSettings:
    """When a line counts as a side of the picture. After a change all videos are decoded again.

    `edge_grey` is the minimum step of brightness or colour across a side, in grey levels. A line is
    a side if a minimum share of it has this step. That share is `soft_share` for centred soft bars,
    `beside_share` for other soft bars, `sharp_share` for centred sharp bars, and `other_share` for
    all others. Bars are soft if they have less than the share `soft` of the picture's fine detail,
    and less than `soft_grey`. `moving_grey` is how much fine detail must change over time to belong
    to the picture. A picture takes at least `least_share` of the frame's width or height.
    """

    edge_grey: float = 7.0
    soft_share: float = 0.2
    beside_share: float = 0.3
    sharp_share: float = 0.7
    other_share: float = 0.85
    soft: float = 0.25
    soft_grey: float = 0.8
    moving_grey: float = 6.0
    least_share: float = 0.3


@dataclass(frozen=True)
class Picture:
    """The picture's box (x, y, width, height) in pixels.

    `certainty` (0 to 1) is how reliable its sides are; it is 1 without bars. `motion` is the mean
    change between neighbouring sampled frames inside the box, in grey levels.
    """

    box: tuple[int, int, int, int]
    certainty: float
    motion: float


def find_picture(frames: np.ndarray, settings: PictureSettings) -> Picture:
    """Return the active picture of one shot's frames (n, H, W, 3) uint8, n at least 1."""
    height, width = frames.shape[1:3]
    values = frames.astype(np.float32)
    fine = fine_detail(values)
    left, right, _ = _sides(values, fine, settings)
    tall, tall_fine = (array[:, :, left:right].swapaxes(1, 2) for array in (values, fine))
    top, bottom, sure_y = _sides(tall, tall_fine, settings)
    if (top, bottom) != (0, height):  # again, with the rows of the picture only
        left, right, sure_x = _sides(values[:, top:bottom], fine[:, top:bottom], settings)
    else:
        left, right, sure_x = _sides(values, fine, settings)
    part = values[:, top:bottom, left:right]
    motion = float(np.abs(np.diff(part, axis=0)).mean()) if len(part) > 1 else 0.0
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    return Picture((left, top, right - left, bottom - top), min(sure_x, sure_y), motion)


def _sides(
    values: np.ndarray, fine: np.ndarray, settings: PictureSettings
) -> tuple[int, int, float]:
    """Return the first column of the picture, the one after its last, and the certainty."""
    width = values.shape[2]
    share = edge_share(values, settings.edge_grey)
    detail = np.concatenate([[0.0], np.cumsum(np.abs(fine).mean((0, 1)))])
    moving = np.flatnonzero((fine.std(0) >= settings.moving_grey).mean(0) >= 0.04)
    first, last = (moving[0], moving[-1]) if len(moving) else (width // 2, width // 2)
    peaks = _peaks(share, settings.soft_share)
    lefts = [x for x in peaks if x <= first + SPREAD_PX]
    rights = [x for x in peaks if x >= last + 1 - SPREAD_PX]
    best, chosen = 0.0, (0, width, 1.0)
    for x0 in lefts:
        for x1 in rights:
            if x1 - x0 < settings.least_share * width:
                continue
            centred = abs(x0 - (width - x1)) <= max(2, 0.01 * width)
            soft = _soft(detail, x0, x1, settings)
            least = {
                (True, True): settings.soft_share,
                (True, False): settings.sharp_share,
                (False, True): settings.beside_share,
                (False, False): settings.other_share,
            }[centred, soft]
            score = share[x0] + share[x1] + 0.3 * centred + 0.3 * soft
            if min(share[x0], share[x1]) >= least and score > best:
                best, chosen = score, (x0, x1, float(min(share[x0], share[x1])))
    return chosen


def _soft(detail: np.ndarray, x0: int, x1: int, settings: PictureSettings) -> bool:
    """Return whether both bars have little fine detail; `detail` is its cumulative sum."""
    width = len(detail) - 1
    picture = (detail[x1] - detail[x0]) / (x1 - x0)
    spans = [(0, x0 - SPREAD_PX), (x1 + SPREAD_PX, width)]
    bars = max(((detail[b] - detail[a]) / (b - a) for a, b in spans if b > a), default=np.inf)
    return bars <= min(settings.soft_grey, settings.soft * picture)


def fine_detail(values: np.ndarray) -> np.ndarray:
    """Return brightness minus its blur (2 px) of `values` (n, H, W, 3): (n, H, W)."""
    import cv2

    grey = values.mean(-1)
    return np.stack([frame - cv2.GaussianBlur(frame, (0, 0), 2) for frame in grey])


def edge_share(values: np.ndarray, step_grey: float) -> np.ndarray:
    """Return for each x the share of rows with a permanent step between x-1 and x.

    `values` is (n, H, W, 3), the result (W + 1,); it is 0 at both ends.
    """
    step = np.abs(values[:, :, 1:] - values[:, :, :-1]).max(-1)
    lasting = np.median(step, 0)
    return np.concatenate([[0.0], (lasting >= step_grey).mean(0), [0.0]])


def _peaks(share: np.ndarray, least: float) -> list[int]:
    """Return the columns where `share` is at least `least` and the maximum within two columns."""
    return [
        int(x)
        for x in np.flatnonzero(share >= least)
        if share[x] == share[max(0, x - 2) : x + 3].max()
    ]
