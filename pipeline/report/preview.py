"""A small film to look at: a span of a video with the dancer's skeleton and beats drawn into it.

Any picture becomes H.264 of a moderate size, which every browser shows. Symbols: T motion frames,
J joints, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.features.motion.body25 import BODY_25
from pipeline.report.examples import Points, points_of

SHORT_SIDE_PX = 360
MAX_FPS = 30
CHUNK_S = Fraction(1)
"""So much of the picture is held in memory at once."""
BEAT_S = 0.12
"""How long the frame around the picture lights up at a beat."""
MAX_S = 600
"""The longest film."""
SKELETON, BEAT = (120, 255, 170), (255, 208, 60)
EMPTY_PX = (480, 360)
"""Width and height of a film without a video."""


def write_preview(
    out: Path,
    span_s: tuple[Fraction, Fraction],
    *,
    video: Path | None = None,
    box: tuple[int, ...] = (),
    audio: Path | None = None,
    motion: np.ndarray | None = None,
    motion_fps: float = 30.0,
    beats_s: Sequence[float] = (),
) -> None:
    """Write the half-open span (s, on the video's clock) as an mp4 that starts at 0 s.

    `motion` (T, D), in any layout, and `beats_s` (K,) begin with the span. BODY_25 is drawn over
    the dancer; other layouts have no place in the picture and are drawn in its corner. Without a
    video the background is black. `audio` is a wav file; without it the video's own sound is used.

    Raises MediaError if the video cannot be read, ValueError for an empty or long span or a motion
    of no known layout, and OSError if a file is missing or `out` cannot be written.
    """
    from pipeline.media.ffmpeg import encode

    start_s, stop_s = span_s
    if not 0 < stop_s - start_s <= MAX_S:
        raise ValueError(
            f"{out}: a film from {float(start_s):g} to {float(stop_s):g} s; expected more than 0 "
            f"and at most {MAX_S} s"
        )
    fps, size_px = _shape(video, box)
    count = max(1, math.ceil((stop_s - start_s) * fps))
    times_s = [start_s + Fraction(index) / fps for index in range(count)]
    drawn = None if motion is None or not len(motion) else points_of(motion)
    over = drawn is not None and motion is not None and motion.shape[-1] == 3 * len(BODY_25)
    frames = _frames(video, box, times_s, size_px)

    def finished() -> Iterator[np.ndarray]:
        for time_s, frame in zip(times_s, frames, strict=True):
            at_s = float(time_s - start_s)
            frame = np.ascontiguousarray(frame)
            if drawn is not None:
                _draw(frame, drawn, round(at_s * motion_fps), over and video is not None)
            if any(0 <= at_s - beat < BEAT_S for beat in beats_s):
                _flash(frame)
            yield frame

    sound, rate_hz = _sound(video, audio, span_s)
    encode(finished(), fps, size_px, sound, rate_hz, out, crf=23, options={"bf": 0})


def _shape(video: Path | None, box: tuple[int, ...]) -> tuple[Fraction, tuple[int, int]]:
    """Return frames a second, and the width and height of the film, both even."""
    from pipeline.media.reader import probe

    if video is None:
        return Fraction(MAX_FPS), EMPTY_PX
    found = probe(video, with_sound=False)
    width, height = box[2:] if box else (found.width, found.height)
    scale = min(1.0, SHORT_SIDE_PX / min(width, height))
    fps = found.fps
    while fps > MAX_FPS:
        fps /= 2
    wide, high = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    return max(fps, Fraction(1)).limit_denominator(1001), (wide, high)


def _frames(
    video: Path | None, box: tuple[int, ...], times_s: Sequence[Fraction], size_px: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Yield the picture at each time, uint8 (H, W, 3) RGB."""
    import cv2

    from pipeline.media.reader import FrameRequest, Video

    width, height = size_px
    if video is None:
        for _ in times_s:
            yield np.full((height, width, 3), 16, np.uint8)
        return
    reader = Video(video)
    place = 0
    while place < len(times_s):
        stop = place
        while stop < len(times_s) and times_s[stop] < times_s[place] + CHUNK_S:
            stop += 1
        wanted = FrameRequest(times_s[place:stop], min(SHORT_SIDE_PX, min(size_px)), box=box)
        for frame in reader.read_frames({"look": wanted})["look"]:
            if frame.shape[:2] != (height, width):
                frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            yield frame
        place = stop


def _draw(frame: np.ndarray, drawn: Points, index: int, over: bool) -> None:
    """Draw the pose of a motion frame: over the dancer, or else large in the middle."""
    import cv2

    points, bones = drawn
    pose = points[min(index, len(points) - 1)]
    high, wide = frame.shape[:2]
    if over:
        px = pose * high + (wide / 2, high / 2)
    else:
        seen = points[np.isfinite(points).all(-1)]
        if not len(seen):
            return
        low, top = seen.min(0), seen.max(0)
        scale = 0.9 * min(np.array([wide, high]) / np.maximum(top - low, 1e-3))
        px = (pose - (low + top) / 2) * scale + (wide / 2, high / 2)
    thick = max(2, high // 120)
    for a, b in bones:
        if np.isfinite(px[[a, b]]).all():
            ends = [tuple(int(v) for v in np.clip(px[k], -9999, 9999)) for k in (a, b)]
            cv2.line(frame, ends[0], ends[1], SKELETON, thick, cv2.LINE_AA)


def _flash(frame: np.ndarray) -> None:
    wide = max(4, min(frame.shape[:2]) // 40)
    for side in (frame[:wide], frame[-wide:], frame[:, :wide], frame[:, -wide:]):
        side[:] = BEAT


def _sound(
    video: Path | None, audio: Path | None, span_s: tuple[Fraction, Fraction]
) -> tuple[np.ndarray | None, int]:
    """Return the sound (N,) from the start of the span on, at most as long, and its rate in Hz."""
    import soundfile

    from model.contract.segment import SAMPLE_RATE_HZ
    from pipeline.media.reader import MediaError, read_audio

    start_s, stop_s = span_s
    rate_hz = SAMPLE_RATE_HZ
    if audio is not None:
        samples, rate_hz = soundfile.read(audio, dtype="float32")
    elif video is not None:
        try:
            found = read_audio(video)
        except MediaError:
            return None, rate_hz
        first = round((start_s - found.start_s) * rate_hz)
        samples = np.pad(found.samples[max(0, first) :], (max(0, -first), 0)).astype(np.float32)
    else:
        return None, rate_hz
    samples = samples[: round((stop_s - start_s) * rate_hz)]
    return (samples if len(samples) else None), rate_hz
