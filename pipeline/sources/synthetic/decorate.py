"""Put a picture on a canvas as compilations do: with bars and a watermark. Also draw a face.

H, W are the size of the canvas; h, w are the size of the picture on it. All frames are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

BARS = ("none", "black", "blurred", "clouds", "logos")
"""The kinds of bars beside a picture.

They are: no bars; black; the clip itself, enlarged and blurred; a still picture of clouds; flat
colours with a sign and text. The last two imitate the sample clips of the paper's TikTok set.
"""

WHITE, PUPIL, LIPS = (250, 250, 250), (30, 30, 40), (120, 40, 45)

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the canvas: integers, the far edges not included."""


def canvases(
    pictures: Iterable[np.ndarray], box: Box, size_px: tuple[int, int], bars: str, seed: list[int]
) -> Iterator[np.ndarray]:
    """Yield frames (H, W, 3) with each picture (h, w, 3) in `box` and `bars` around it."""
    width, height = size_px
    x, y, w, h = box
    still = backdrop(bars, box, size_px, np.random.default_rng(seed))
    for picture in pictures:
        frame = _blurred(picture, width, height) if bars == "blurred" else still.copy()
        frame[y : y + h, x : x + w] = picture
        yield frame


def backdrop(bars: str, box: Box, size_px: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the content of the bars as a still picture (H, W, 3)."""
    width, height = size_px
    if bars == "clouds":
        return _clouds(width, height, rng)
    still = np.zeros((height, width, 3), np.uint8)
    if bars == "logos":
        _logos(still, box, rng)
    return still


def watermark(frame: np.ndarray, text: str, at_px: tuple[int, int]) -> None:
    """Write half-transparent text into a frame; its lower left corner is at `at_px`."""
    import cv2

    layer = frame.copy()
    size = frame.shape[0] / 600
    cv2.putText(layer, text, at_px, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.addWeighted(layer, 0.7, frame, 0.3, 0, frame)


def face(
    background: np.ndarray, mouth: np.ndarray, times_s: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield a talking head in front of `background` (h, w, 3).

    `mouth` (F,) is how open its mouth is in each frame, from 0 to 1.
    """
    import cv2

    height, width = background.shape[:2]
    skin = [(236, 196, 168), (205, 154, 118), (150, 101, 72)][int(rng.integers(3))]
    shirt = tuple(rng.integers(40, 220, 3).tolist())
    hair = tuple(rng.integers(10, 90, 3).tolist())
    sway, phase = rng.uniform(0.3, 0.9, 2), rng.uniform(0, 6, 2)
    nose = tuple(int(0.85 * c) for c in skin)
    unit = min(width, 0.7 * height) / 10
    for time_s, wide in zip(times_s, mouth, strict=True):
        frame = background.copy()
        dx = 0.35 * np.sin(2 * np.pi * sway[0] * time_s + phase[0])
        dy = 0.2 * np.sin(2 * np.pi * sway[1] * time_s + phase[1])
        centre = (width / 2 + unit * dx, 0.45 * height + unit * dy)
        blink = 0.08 if (time_s + phase[0]) % 2.7 < 0.12 else 0.28
        parts = [
            (0, 7.2, 4.6, 3.6, shirt), (0, 3.2, 1.0, 1.6, skin), (0, -0.7, 2.5, 3.2, hair),
            (0, 0, 2.2, 2.9, skin), (0, 0.5, 0.2, 0.4, nose),
            (-0.85, -0.5, 0.42, blink, WHITE), (-0.85, -0.5, 0.18, min(blink, 0.2), PUPIL),
            (0.85, -0.5, 0.42, blink, WHITE), (0.85, -0.5, 0.18, min(blink, 0.2), PUPIL),
            (0, 1.6, 0.75, 0.1 + 0.55 * float(wide), LIPS),
        ]  # fmt: skip
        for right, down, rx, ry, colour in parts:
            at = (round(centre[0] + right * unit), round(centre[1] + down * unit))
            axes = (max(1, round(rx * unit)), max(1, round(ry * unit)))
            cv2.ellipse(frame, at, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        yield frame


def _blurred(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the middle of the picture, enlarged to the canvas, blurred and darkened."""
    import cv2

    h, w = picture.shape[:2]
    high = min(h, round(w * height / width))
    middle = picture[(h - high) // 2 : (h - high) // 2 + high]
    small = cv2.resize(middle, (max(2, width // 12), max(2, height // 12)))
    small = cv2.GaussianBlur(small, (0, 0), 1.2)
    return cv2.convertScaleAbs(cv2.resize(small, (width, height)), alpha=0.75)


def _clouds(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Return a still picture of soft coloured clouds with some fine edges."""
    import cv2

    tone: np.ndarray = np.zeros((height, width))
    for octave in range(5):
        cells = rng.normal(size=(3 * 2**octave, 5 * 2**octave))
        tone += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) / 1.8**octave
    tone = (1 / (1 + np.exp(-1.5 * tone)))[..., None]
    low, high = rng.uniform(60, 160, 3), rng.uniform(150, 255, 3)
    return (low * (1 - tone) + high * tone).astype(np.uint8)


def _logos(still: np.ndarray, box: Box, rng: np.random.Generator) -> None:
    """Paint flat bars, each with a sign in its middle and a line of text below."""
    import cv2

    height, width = still.shape[:2]
    x, _, w, _ = box
    tones = [(255, 255, 255), (0, 0, 0), tuple(rng.integers(30, 230, 3).tolist())]
    for first, last in ((0, x), (x + w, width)):
        ground = tones.pop(int(rng.integers(len(tones))))
        ink = (20, 20, 20) if sum(ground) > 380 else (240, 240, 240)
        still[:, first:last] = ground
        middle, size = (first + last) // 2, max(4, (last - first) // 6)
        for shift, colour in ((-2, (40, 220, 230)), (2, (240, 40, 80)), (0, ink)):
            cv2.circle(still, (middle + shift, height // 2), size, colour, max(2, size // 3))
        start = (first + 4, round(0.92 * height))
        cv2.putText(still[:, :last], "more every day", start, 0, height / 800, ink, 1, cv2.LINE_AA)
