"""Read a video's picture and sound on one clock, the presentation timestamps of its streams.

Times are seconds of that clock, as Fractions; nothing is shifted to zero. Edit lists, codec run-in
and packets marked as not to be shown are honoured. Pixels are taken as square. Nothing is skipped
silently: what cannot be read raises MediaError.

Legend: n frames, H height, W width, N samples, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr
from av.container import InputContainer

from model.contract.segment import SAMPLE_RATE_HZ
from pipeline.media.container import (
    DEFAULTS,
    Limits,
    MediaError,
    audio_stream,
    check_duration,
    check_packet,
    decode,
    decoded,
    early_ticks,
    is_end,
    on_time,
    opened,
    seek_before,
    time_s,
    video_stream,
)
from pipeline.media.picture import FrameRequest, Sink, Turn
from pipeline.media.shown import ShownPackets
from pipeline.media.sound import Placed

__all__ = [
    "Audio",
    "FrameRequest",
    "Limits",
    "MediaError",
    "Probe",
    "probe",
    "read_audio",
    "read_frames",
]
ZERO_S = Fraction(0)
MAX_SAMPLE_RATE_HZ = 768_000
MIN_FPS, MAX_FPS = 1, 2000
"""Slower is no moving picture. Twice a phone's fastest slow motion is faster than any: a header
that lost its clock claims what lies beyond."""


@dataclass(frozen=True)
class Probe:
    """What the packets of a file say, without decoding them.

    `video_start_s` is the first shown frame's timestamp and `video_stop_s` the last one's end;
    `fps` the inverse of their mean spacing. `width` and `height` are as shown, after turning by
    `rotation_deg` clockwise. The audio fields are None for a file without sound; `audio_stop_s` is
    the packets' word, exact only after decoding. `audio_tracks` counts the sound streams.
    """

    path: Path
    video_start_s: Fraction
    video_stop_s: Fraction
    fps: Fraction
    width: int
    height: int
    rotation_deg: int
    frames: int
    audio_start_s: Fraction | None
    audio_stop_s: Fraction | None
    sample_rate_hz: int | None
    channels: int | None
    audio_tracks: int = 0


@dataclass(frozen=True)
class Audio:
    """Mono sound, float32 (N,) at 22 050 Hz, whose first sample is at `start_s`; not clipped."""

    samples: np.ndarray
    start_s: Fraction

    @property
    def stop_s(self) -> Fraction:
        """When the last sample ends."""
        return self.start_s + Fraction(len(self.samples), SAMPLE_RATE_HZ)


def probe(
    path: Path, limits: Limits = DEFAULTS, audio_track: int = 0, with_sound: bool = True
) -> Probe:
    """Read the timestamps of every packet of the picture and one sound stream, and one frame.

    `audio_track` chooses the sound as `container.audio_stream` does; not `with_sound`, it is not
    read.

    Raises MediaError (no_audio only for a track that is not there; without any sound the audio
    fields are None).
    """
    with opened(path, limits) as container:
        picture = video_stream(path, container, limits)
        sound = audio_stream(path, container, audio_track) if with_sound else None
        tracks = len(container.streams.audio)
        video = _Span(path, limits, picture.time_base)
        audio = _Span(path, limits, sound.time_base) if sound else None
        first: av.VideoFrame | None = None
        shown = ShownPackets(picture)
        leading: list[tuple[int, int]] = []  # times and durations, until the first frame is known
        early, run_in_s = early_ticks(path, container, picture), ZERO_S
        streams = [stream for stream in (picture, sound) if stream is not None]
        for packet in on_time(container.demux(streams), early):
            if packet.stream is sound:
                run_in_s, skipped_s = _skipped_s(packet) or run_in_s, ZERO_S
                if run_in_s:
                    skipped_s = min(run_in_s, (packet.duration or 0) * packet.time_base)
                    run_in_s -= skipped_s
                audio.add(packet, skipped_s)
                continue
            if not is_end(packet):
                check_packet(path, packet)
                gives = shown.gives(packet)
                if gives == "frame":
                    video.add(packet)
                elif gives == "second field":
                    video.extend(packet)
                elif gives == "leading frame":
                    leading.append((packet.pts, packet.duration or 0))
            if first is None:
                first = next(iter(decode(path, packet, shown)), None)
            if first is not None:
                for at, duration in leading:
                    if shown.is_decodable(at, first.pts):
                        video.count(at, duration)
                leading.clear()
    if first is None or not video.frames:
        raise MediaError("empty", f"{path}: the video stream shows no frame, expected at least one")
    if video.frames > 1 and video.last_s <= video.start_s:
        raise MediaError("undecodable", f"{path}: all frames have the same timestamp")
    gap_s = (
        (video.last_s - video.start_s) / (video.frames - 1)
        if video.frames > 1
        else video.stop_s - video.start_s
    )
    if not gap_s:
        raise MediaError(
            "empty", f"{path}: one frame without a duration: a still, no moving picture"
        )
    if 1 / gap_s < MIN_FPS:
        raise MediaError(
            "undecodable",
            f"{path}: it shows {video.frames} in {float(gap_s * video.frames):.3g} s, expected at "
            f"least {MIN_FPS} frame a second: this is no moving picture but a still or a slide "
            "show, or the header's clock is damaged; leave it out",
        )
    if 1 / gap_s > MAX_FPS:
        raise MediaError(
            "undecodable",
            f"{path}: a frame every {float(gap_s):.6f} s, expected at most {MAX_FPS} a second: "
            "the header's clock is damaged; remux it",
        )
    turn = Turn.of(path, first)
    width, height = turn.size(first.width, first.height)
    heard = audio is not None and audio.frames > 0
    return Probe(
        path=path,
        video_start_s=video.start_s,
        video_stop_s=max(video.stop_s, video.last_s + (gap_s if video.last_has_no_end else 0)),
        fps=1 / gap_s,
        width=width,
        height=height,
        rotation_deg=turn.clockwise_deg,
        frames=video.frames,
        audio_start_s=audio.start_s if heard else None,
        audio_stop_s=audio.stop_s if heard else None,
        sample_rate_hz=sound.codec_context.sample_rate if heard else None,
        channels=sound.codec_context.channels if heard else None,
        audio_tracks=tracks,
    )


def frame_times(
    path: Path, limits: Limits = DEFAULTS, span_s: tuple[Fraction, Fraction] | None = None
) -> list[Fraction]:
    """Return the timestamps of the shown frames in seconds, in order, without decoding them.

    Of all frames, or of those in the half-open `span_s`.
    """
    with opened(path, limits) as container:
        times_s = []
        stream = video_stream(path, container, limits)
        sought = span_s is not None and seek_before(container, stream, span_s[0])
        shown = ShownPackets(stream)
        for packet in on_time(container.demux(stream), early_ticks(path, container, stream)):
            if not is_end(packet):
                check_packet(path, packet)
                if span_s and packet.dts is not None and packet.dts * packet.time_base >= span_s[1]:
                    break  # a frame is shown no earlier than it is decoded
                if shown.gives(packet) == "frame":
                    times_s.append(packet.pts * packet.time_base)
        key_s, *leading_s = [at * stream.time_base for at in (shown.key or 0, *shown.leading)]
    if leading_s and not sought:  # only a decoder knows which of them it can show
        start_s = probe(path, limits).video_start_s
        times_s += [at_s for at_s in leading_s if start_s <= at_s < key_s]
    return sorted(at_s for at_s in times_s if not span_s or span_s[0] <= at_s < span_s[1])


def decoded_times(path: Path, limits: Limits = DEFAULTS) -> list[Fraction]:
    """Return the timestamps of the shown frames in seconds, in order, by decoding all of them."""
    with opened(path, limits) as container:
        stream = video_stream(path, container, limits)
        with closing(decoded(path, container, stream)) as frames:
            return [time_s(frame) for frame in frames]


def read_audio(path: Path, limits: Limits = DEFAULTS, audio_track: int = 0) -> Audio:
    """Decode one sound stream: mono by the mean of the channels, 22 050 Hz, float32 (N,).

    `audio_track` chooses it as `container.audio_stream` does.

    Decoded frames are placed by their timestamps at the stream's own rate (a gap becomes silence,
    an overlap is dropped), then resampled as one signal by a linear-phase filter, so sample k lies
    at `start_s + k / 22 050`. Values above 1 stay.

    Raises MediaError.
    """
    with opened(path, limits) as container:
        stream = audio_stream(path, container, audio_track)
        if stream is None:
            raise MediaError("no_audio", f"{path}: no sound stream, expected one")
        rate_hz = stream.codec_context.sample_rate
        if not 0 < rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise MediaError(
                "undecodable",
                f"{path}: sound at {rate_hz} Hz, expected 1 to {MAX_SAMPLE_RATE_HZ} Hz",
            )
        placed = Placed(path, rate_hz, stream.time_base, limits)
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        done = []
        with closing(decoded(path, container, stream)) as frames:
            for block in placed.blocks(frames, _declared_stop_s(container, stream)):
                done.append(resampler.resample_chunk(block))
        done.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    if placed.start_s is None or not placed.filled:
        raise MediaError("empty", f"{path}: the sound stream holds no samples")
    return Audio(np.concatenate(done), placed.start_s)


def read_frames(
    path: Path,
    requests: Mapping[str, FrameRequest],
    limits: Limits = DEFAULTS,
    threads: int = 1,
    each: Mapping[str, Callable[[np.ndarray], None]] | None = None,
    span_s: tuple[Fraction, Fraction] | None = None,
) -> dict[str, np.ndarray]:
    """Decode the picture once for all `requests`: uint8 (n, H, W, 3) RGB for each, as shown.

    Each time gets the frame nearest to it (the earlier of two equally near; the first or last one
    beyond the ends). Only those are scaled and turned upright. Decoding stops when all are found.
    A request that `each` has a function for is not kept: the function gets its frames one by one.
    With `span_s` only frames in that half-open span are decoded, as nearly as key frames allow, and
    only they are given.

    Raises MediaError, and ValueError for a crop larger than the picture.
    """
    each = each or {}
    sinks = {
        name: Sink(path, request, limits, each.get(name)) for name, request in requests.items()
    }
    with opened(path, limits) as container:
        stream = video_stream(path, container, limits)
        stream.codec_context.thread_count = threads
        previous: av.VideoFrame | None = None
        with closing(decoded(path, container, stream, span_s and span_s[0])) as frames:
            for frame in frames:
                if span_s and time_s(frame) < span_s[0]:
                    continue
                if span_s and time_s(frame) >= span_s[1]:
                    break
                if previous is not None:
                    if time_s(frame) < time_s(previous):
                        raise MediaError(
                            "undecodable",
                            f"{path}: frames go back in time at {float(time_s(frame)):.3f} s",
                        )
                    if (frame.width, frame.height) != (previous.width, previous.height):
                        raise MediaError(
                            "undecodable",
                            f"{path}: the picture changes from {previous.width}x{previous.height} "
                            f"to {frame.width}x{frame.height} at {float(time_s(frame)):.3f} s",
                        )
                    middle_s = (time_s(previous) + time_s(frame)) / 2
                    for sink in sinks.values():
                        sink.take(previous, until_s=middle_s)
                    if all(sink.full for sink in sinks.values()):
                        break
                previous = frame
        if previous is None:
            where = f" from {float(span_s[0]):.3f} to {float(span_s[1]):.3f} s" if span_s else ""
            raise MediaError("empty", f"{path}: the video stream shows no frame{where}")
        for sink in sinks.values():
            sink.take(previous, until_s=None)
    return {name: sink.frames for name, sink in sinks.items() if name not in each}


@dataclass
class _Span:
    """The shown packets of one stream, seen one by one in decoding order; counted in its ticks."""

    path: Path
    limits: Limits
    tick_s: Fraction
    frames: int = 0
    first: int = 0
    last: int = 0
    stop: int = 0
    start_s: Fraction = ZERO_S
    last_has_no_end: bool = False

    def extend(self, packet: av.Packet) -> None:
        """Count a second field: the frame that the packet before it began ends with it."""
        if not packet.is_discard:
            self.stop = max(self.stop, packet.pts + (packet.duration or 0))

    def add(self, packet: av.Packet, skipped_s: Fraction = ZERO_S) -> None:
        if is_end(packet):
            return
        check_packet(self.path, packet)
        if not packet.is_discard:
            self.count(packet.pts, packet.duration or 0, skipped_s)

    def count(self, at: int, duration: int, skipped_s: Fraction = ZERO_S) -> None:
        """Count a frame, or a packet of sound, by its time and duration in ticks."""
        self.frames += 1
        if self.frames == 1:
            self.first = self.last = at
            self.stop, self.start_s = at + duration, at * self.tick_s + skipped_s
        elif skipped_s or at < self.first:
            self.start_s = min(self.start_s, at * self.tick_s + skipped_s)
        if at >= self.last:
            self.last, self.last_has_no_end = at, not duration
        self.first, self.stop = min(self.first, at), max(self.stop, at + duration)
        check_duration(self.path, self.stop - self.first, self.tick_s, self.limits)
        if self.frames > self.limits.max_frames:
            raise MediaError(
                "too_long", f"{self.path}: more than {self.limits.max_frames} frames in one stream"
            )

    @property
    def last_s(self) -> Fraction:
        return self.last * self.tick_s

    @property
    def stop_s(self) -> Fraction:
        return self.stop * self.tick_s


def _skipped_s(packet: av.Packet) -> Fraction:
    """Return the run-in from the packet's start on that the decoder will drop."""
    if not packet.has_sidedata("skip_samples") or not packet.stream.codec_context.sample_rate:
        return ZERO_S
    (samples,) = struct.unpack_from("<I", bytes(packet.get_sidedata("skip_samples")))
    return Fraction(samples, packet.stream.codec_context.sample_rate)


def _declared_stop_s(container: InputContainer, stream: av.AudioStream) -> Fraction | None:
    """Return where the edit list ends the sound; only mov and mp4 have one."""
    if "mov" not in container.format.name or stream.duration is None or stream.start_time is None:
        return None
    return (stream.start_time + stream.duration) * stream.time_base
