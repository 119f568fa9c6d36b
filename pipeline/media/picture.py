"""Select requested frames from a decoded stream; turn them upright, scale and crop them, as RGB."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from pipeline.media.container import Limits, MediaError
from pipeline.media.hdr import to_rgb


@dataclass(frozen=True)
class FrameRequest:
    """A request for frames at sorted times (seconds).

    Frames are scaled so that the shorter side has `short_side_px`, then cropped to a centred square
    of `crop_px`. With `box` (x, y, width, height in px of the upright picture) only that part of
    the picture is used; it is cut out first.

    Raises ValueError if there are no times, if they are unsorted, or if the crop is larger than the
    short side.
    """

    times_s: Sequence[Fraction]
    short_side_px: int | None = None
    crop_px: int | None = None
    box: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.times_s:
            raise ValueError("no times requested; expected at least one")
        if any(a > b for a, b in pairwise(self.times_s)):
            raise ValueError("the requested times are not sorted; sort them")
        short = self.short_side_px
        if self.crop_px is not None and short is not None and self.crop_px > short:
            raise ValueError(f"a crop of {self.crop_px} px does not fit a short side of {short} px")


@dataclass(frozen=True)
class Turn:
    """How to turn a decoded picture upright: swap its axes, then reverse rows and columns.

    `rows` and `columns` are 1, or -1 to reverse.
    """

    swap: bool
    rows: int
    columns: int

    @classmethod
    def of(cls, path: Path, frame: av.VideoFrame) -> Turn:
        """Read a frame's display matrix, (a b u, c d v, x y w): x' = ax + cy, y' = bx + dy."""
        found: Mapping = frame.side_data  # PyAV's stub knows but one of its kinds
        data = found.get(SideData.DISPLAYMATRIX)
        if data is None:
            return cls(False, 1, 1)
        a, b, _, c, d = np.sign(np.frombuffer(bytes(data), np.int32)[:5]).tolist()
        if a and d and not (b or c):
            return cls(False, d, a)
        if b and c and not (a or d):
            return cls(True, b, c)
        raise MediaError(
            "undecodable",
            f"{path}: the picture is rotated by {frame.rotation} degrees, expected a multiple of "
            "90; encode it again: ffmpeg -i FILE NEW.mp4",
        )

    @property
    def clockwise_deg(self) -> int:
        """The turn in degrees. For a mirrored picture: the turn after its columns are mirrored."""
        if self.swap:
            return 90 if self.rows > 0 else 270
        return 0 if self.rows > 0 else 180

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height, in px, after the turn."""
        return (height, width) if self.swap else (width, height)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return a view of the picture (H, W, C), upright: (W, H, C) after a quarter turn."""
        image = image.transpose(1, 0, 2) if self.swap else image
        return image[:: self.rows, :: self.columns]


@dataclass
class Sink:
    """Collects the frames of one request from the decoder, or passes each one to `give`."""

    path: Path
    request: FrameRequest
    limits: Limits
    give: Callable[[np.ndarray], None] | None = None
    taken: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    @property
    def full(self) -> bool:
        """Whether every requested time has a frame."""
        return self.count == len(self.request.times_s)

    @property
    def frames(self) -> np.ndarray:
        """The collected frames, uint8 RGB (n, H, W, 3); ValueError if there are none."""
        return np.stack(self.taken)

    def take(self, frame: av.VideoFrame, until_s: Fraction | None) -> None:
        """Use `frame` for the requested times up to `until_s`; None: for all remaining times.

        Raises MediaError if the scaled frame would be too large or the box is not inside the frame,
        and ValueError if the crop is not inside it.
        """
        image = None
        while not self.full:
            wanted_s = self.request.times_s[self.count]
            if until_s is not None and wanted_s > until_s:
                return
            if image is None:
                image = self._image(frame)
            self.count += 1
            if self.give is None:
                self.taken.append(image)
            else:
                self.give(image)

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        turn = Turn.of(self.path, frame)
        if self.request.box:
            frame, turn = _part(self.path, frame, turn, self.request.box), Turn(False, 1, 1)
        width, height = frame.width, frame.height
        short = self.request.short_side_px
        if short is not None:
            scale = Fraction(short, min(width, height))
            width, height = round(width * scale), round(height * scale)
            if width * height > self.limits.max_pixels:
                raise MediaError(
                    "too_large",
                    f"{self.path}: {frame.width}x{frame.height} frames become {width}x{height}, "
                    f"expected at most {self.limits.max_pixels} pixels",
                )
        image = turn(to_rgb(frame, width, height))
        crop = self.request.crop_px
        if crop is not None:
            high, wide = image.shape[:2]
            if crop > min(high, wide):
                raise ValueError(f"{self.path}: a crop of {crop} px does not fit {wide}x{high}")
            top, left = (high - crop) // 2, (wide - crop) // 2
            image = image[top : top + crop, left : left + crop]
        return np.ascontiguousarray(image)


def _part(path: Path, frame: av.VideoFrame, turn: Turn, box: tuple[int, ...]) -> av.VideoFrame:
    """Return the part `box` of the upright picture as a frame.

    Raises MediaError if the box is not completely inside the picture.
    """
    x, y, width, height = box
    wide, high = turn.size(frame.width, frame.height)
    if not (0 <= x < x + width <= wide and 0 <= y < y + height <= high):
        raise MediaError(
            "undecodable", f"{path}: the box {box} is not inside the {wide}x{high} picture"
        )
    image = turn(to_rgb(frame, frame.width, frame.height))
    part = np.ascontiguousarray(image[y : y + height, x : x + width])
    return av.VideoFrame.from_ndarray(part, "rgb24")
