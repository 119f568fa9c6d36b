"""Place decoded sound on the video's clock: mono, at its own sample rate, without gaps.

Legend: N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.media.container import Limits, MediaError, too_long
from pipeline.media.decode import time_s


@dataclass
class Placed:
    """Places decoded sound on the clock, at its own sample rate, from the first sample on.

    Timestamps may be coarser than one sample (1 ms in Matroska). Each is rounded separately, so all
    of them together usually give the start to within one sample. The start is the time closest to
    the first timestamp that agrees with the other timestamps.
    """

    path: Path
    rate_hz: int
    time_base: Fraction
    limits: Limits
    start: int | None = None  # in ticks of the clock
    start_s: Fraction | None = None
    filled: int = 0
    allowed_s: tuple[Fraction, Fraction] | None = None
    joined: bool = True

    def __post_init__(self) -> None:
        self.tick = self.time_base * self.rate_hz  # length of one tick of the clock, in samples
        self.tick_ratio = self.tick.as_integer_ratio()
        self.slack = int(self.tick) + 1
        self.coarse = self.tick > 1
        self.max_ticks = self.limits.max_ticks(self.time_base)

    def blocks(
        self, frames: Iterable[av.AudioFrame], declared_stop_s: Fraction | None
    ) -> Iterator[np.ndarray]:
        """Yield mono float32 blocks of a second or more, one after the other without gaps.

        Raises MediaError for samples that are NaN or infinite.
        """
        gathered: list[np.ndarray] = []
        given = length = 0
        for part in self._parts(frames, declared_stop_s):
            gathered.append(part)
            length += part.shape[1]
            if length >= self.rate_hz:
                yield self._joined(gathered, given)
                gathered, given, length = [], given + length, 0
        if gathered:
            yield self._joined(gathered, given)

    def _joined(self, parts: list[np.ndarray], before: int) -> np.ndarray:
        """Return parts as one block, which `before` samples precede; MediaError if not finite."""
        if len({len(part) for part in parts}) > 1:  # silence has one channel
            parts = [_mixed(part)[None] for part in parts]
        block = _mixed(np.concatenate(parts, axis=1))
        finite = np.isfinite(block)
        if not finite.all():
            assert self.start_s is not None, "a part was placed"
            at_s = self.start_s + Fraction(before + int(finite.argmin()), self.rate_hz)
            raise MediaError(
                "undecodable",
                f"{self.path}: sound at {float(at_s):.3f} s has NaN or infinite samples, "
                "expected finite numbers; replace or remove the sound",
            )
        return block

    def _parts(
        self, frames: Iterable[av.AudioFrame], declared_stop_s: Fraction | None
    ) -> Iterator[np.ndarray]:
        """Yield the sound of each frame, and silence where none is: float32 (C, N), C is 1 or 2."""
        held: np.ndarray | None = None
        for frame in frames:
            if frame.sample_rate != self.rate_hz:
                raise MediaError(
                    "undecodable",
                    f"{self.path}: sound changes from {self.rate_hz} to {frame.sample_rate} Hz "
                    f"at {float(time_s(frame)):.3f} s, expected one rate",
                )
            if held is not None:
                yield held
            silence, held = self._place(frame)
            while silence:
                second = np.zeros((1, min(silence, self.rate_hz)), np.float32)
                yield second
                silence -= second.shape[1]
        if held is None:
            return
        assert self.start_s is not None, "what is held was placed"
        if declared_stop_s is not None:
            # The last frame has the full frame length of the codec; the edit list says how much of
            # it is sound. A difference of a frame or more is not padding, so nothing is removed.
            extra = self.filled - round((declared_stop_s - self.start_s) * self.rate_hz)
            if 0 < extra < held.shape[1]:
                held = held[:, : held.shape[1] - extra]
                self.filled -= extra
        yield held
        if self.allowed_s:
            earliest_s, latest_s = self.allowed_s
            self.start_s = min(max(self.start_s, earliest_s), latest_s)

    def _place(self, frame: av.AudioFrame) -> tuple[int, np.ndarray]:
        """Return the number of silent samples before a frame, and its non-overlapping samples."""
        part = _channels(frame)
        if self.start is None:
            self.start, self.start_s = frame.pts, time_s(frame)
        assert frame.pts is not None and self.start is not None, "`time_s` asks the same"
        ticks = frame.pts - self.start
        if ticks > self.max_ticks:
            raise too_long(self.path, ticks, self.time_base, self.limits)
        late = self._samples(ticks) - self.filled
        # Timestamps are rounded to the stream's time base (1 ms in Matroska). A difference within
        # one tick is rounding, not a gap.
        if abs(late) <= self.slack:
            late = 0
            if self.coarse and self.filled and self.joined:
                self._narrow(time_s(frame) - Fraction(self.filled, self.rate_hz))
        else:
            self.joined = False
        if late < 0:
            part = part[:, -late:]
            late = 0
        self.filled += late + part.shape[1]
        return late, part

    def _samples(self, ticks: int) -> int:
        """Return `round(ticks * self.tick)`, in integers: this runs for every frame."""
        over, under = self.tick_ratio
        whole, rest = divmod(ticks * over, under)
        return whole + (2 * rest > under or (2 * rest == under and whole % 2))

    def _narrow(self, start_s: Fraction) -> None:
        """Narrow the range of possible starts by one more timestamp, until one contradicts it."""
        earliest_s, latest_s = start_s - self.time_base / 2, start_s + self.time_base / 2
        if self.allowed_s:
            earliest_s = max(self.allowed_s[0], earliest_s)
            latest_s = min(self.allowed_s[1], latest_s)
        self.joined = earliest_s <= latest_s
        if self.joined:
            self.allowed_s = earliest_s, latest_s


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """Return a frame's samples, full scale is 1: float32 (C, N); more than two channels as one."""
    planes: Any = frame.planes  # buffers, which PyAV's stub does not say
    if frame.format.name == "fltp" and len(planes) <= 2:  # most codecs
        return np.array([np.frombuffer(plane, np.float32, frame.samples) for plane in planes])
    data: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype == np.uint8:
        data = (data.astype(np.float32) - 128) / 128
    elif np.issubdtype(data.dtype, np.integer):
        data = data / -float(np.iinfo(data.dtype.type).min)
    return data.mean(axis=0, dtype=np.float64).astype(np.float32)[None]


def _mixed(part: np.ndarray) -> np.ndarray:
    """Return the mean of one or two channels: float32 (N,), not clipped.

    Halves are exact (but for numbers below 1e-37), so their sum is rounded once, as a mean in
    float64 would be.
    """
    if len(part) == 1:
        return part[0]
    halves = part * np.float32(0.5)
    return halves[0] + halves[1]
