"""Read frames of a long video with little memory: all frames tiny, or some frames larger.

Open the videos with the limits of this module: `Video(path, LIMITS)`.

Legend: n frames, h, w size of a frame. Frames are uint8 RGB (h, w, 3), upright.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from pipeline.media.container import Limits, MediaError
from pipeline.media.decode import time_s
from pipeline.media.hdr import to_rgb
from pipeline.media.picture import Turn
from pipeline.media.reader import Video

LIMITS = Limits(max_duration_s=1800, max_frames=60_000)
"""All tiny frames of a compilation are in memory at once: 60 000 of them take 0.5 GB."""
TINY_PX = 72


def tiny_frames(video: Video) -> tuple[list[Fraction], np.ndarray]:
    """Return the times of all frames in seconds, and the frames (n, h, w, 3): longer side 72 px.

    Raises MediaError.
    """
    times_s: list[Fraction] = []
    frames: list[np.ndarray] = []
    path, most = video.path, video.limits.max_frames
    for at_s, frame in _shown(video):
        if len(times_s) == most:
            raise MediaError("too_long", f"{path}: more than {most} frames")
        times_s.append(at_s)
        frames.append(_upright(path, frame, TINY_PX / max(frame.width, frame.height)))
    if not frames:
        raise MediaError("empty", f"{path}: the video stream shows no frame")
    return times_s, np.stack(frames)


def some_frames(video: Video, indices: Sequence[int], short_side_px: int) -> Iterator[np.ndarray]:
    """Yield the frames at `indices` (sorted, no duplicates); the shorter side is at most
    `short_side_px`.

    Raises MediaError.
    """
    wanted = iter(indices)
    index = next(wanted, None)
    for position, (_, frame) in enumerate(_shown(video)):
        if index is None:
            return
        if position == index:
            yield _upright(
                video.path, frame, min(1.0, short_side_px / min(frame.width, frame.height))
            )
            index = next(wanted, None)
    if index is not None:
        raise MediaError(
            "undecodable", f"{video.path}: frame {index} is missing; was the file changed?"
        )


def paced_frames(
    video: Video,
    cuts: Sequence[tuple[int, int, tuple[int, int, int, int]]],
    rate_hz: float,
    longest_s: float,
    short_side_px: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each cut the times (n,) in seconds and pictures (n, h, w, 3) of some frames.

    Cuts are (first frame, frame after the last, box in px); they are in order and do not overlap.
    From each cut, frames of its first `longest_s` seconds are taken at `rate_hz`, no frame twice.
    They are cropped to the box and scaled so that its shorter side is at most `short_side_px`.
    n is at least 1.

    Raises MediaError.
    """
    todo = list(cuts)
    times_s: list[float] = []
    pictures: list[np.ndarray] = []
    for index, (at_s, frame) in enumerate(_shown(video)):
        if todo and index == todo[0][1]:
            todo.pop(0)
            yield np.array(times_s), np.stack(pictures)
            times_s, pictures = [], []
        if not todo:
            return
        since_s = float(at_s) - times_s[0] if times_s else 0.0
        if index < todo[0][0] or since_s >= longest_s or since_s < len(times_s) / rate_hz - 1e-6:
            continue
        x, y, width, height = todo[0][2]
        scale = min(1.0, short_side_px / min(width, height))
        left, top, right, bottom = (round(scale * v) for v in (x, y, x + width, y + height))
        times_s.append(float(at_s))
        pictures.append(_upright(video.path, frame, scale)[top:bottom, left:right])
    if len(todo) != 1 or not pictures:
        raise MediaError("undecodable", f"{video.path}: frames are gone; was the file changed?")
    yield np.array(times_s), np.stack(pictures)


def _shown(video: Video) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    path = video.path
    first: av.VideoFrame | None = None
    last_s: Fraction | None = None
    with closing(video.frames()) as frames:
        for frame in frames:
            first = first or frame
            if (frame.width, frame.height) != (first.width, first.height):
                raise MediaError(
                    "undecodable", f"{path}: the picture's size changes; encode the file again"
                )
            if last_s is not None and time_s(frame) < last_s:
                raise MediaError("undecodable", f"{path}: frames go back in time")
            last_s = time_s(frame)
            yield last_s, frame


def _upright(path: Path, frame: av.VideoFrame, scale: float) -> np.ndarray:
    width, height = (max(2, round(scale * side)) for side in (frame.width, frame.height))
    kind = Interpolation.AREA if scale < 1 else Interpolation.BILINEAR
    image = to_rgb(frame, width, height, kind)
    return np.ascontiguousarray(Turn.of(path, frame)(image))
