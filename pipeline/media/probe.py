"""Read times, sizes and counts of picture and sound from the packets, without decoding them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from pipeline.media.container import Limits, MediaError, check_packet, is_end, too_long
from pipeline.media.picture import Turn

ZERO_S = Fraction(0)
MIN_FPS, MAX_FPS = 1, 2000
"""A lower frame rate is not a moving picture. The upper limit is twice the fastest slow motion of a
phone; a higher rate means that the time stamps in the header are damaged."""


@dataclass(frozen=True)
class Probe:
    """The properties of a file, read from its packets without decoding them.

    `video_start_s` is the timestamp of the first shown frame and `video_stop_s` the end of the last
    one. `fps` is the inverse of the mean time between frames. `width` and `height` are those of the
    shown picture, after a clockwise turn by `rotation_deg`. The audio fields are None for a file
    without sound. `audio_stop_s` comes from the packets; the exact value is known only after
    decoding. `audio_tracks` is the number of sound streams.
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


@dataclass
class Span:
    """Counts the shown packets of one stream, added in decoding order; times are in its ticks."""

    path: Path
    limits: Limits
    tick_s: Fraction
    frames: int = 0
    first: int = 0
    last: int = 0
    stop: int = 0
    start_s: Fraction = ZERO_S
    last_has_no_end: bool = False

    def __post_init__(self) -> None:
        self.max_ticks = self.limits.max_ticks(self.tick_s)

    def extend(self, packet: av.Packet) -> None:
        """Add a second field: it extends the frame that the previous packet started."""
        if not packet.is_discard:
            self.stop = max(self.stop, check_packet(self.path, packet) + (packet.duration or 0))

    def add(self, packet: av.Packet, skipped_s: Fraction | int = 0) -> None:
        if is_end(packet):
            return
        at = check_packet(self.path, packet)
        if not packet.is_discard:
            self.count(at, packet.duration or 0, skipped_s)

    def count(self, at: int, duration: int, skipped_s: Fraction | int = 0) -> None:
        """Count a video frame or an audio packet; time and duration are in ticks."""
        stop = at + duration
        if not self.frames:
            self.first, self.last, self.stop = at, at, stop
            self.start_s = at * self.tick_s + skipped_s
        elif skipped_s or at < self.first:
            self.start_s = min(self.start_s, at * self.tick_s + skipped_s)
            self.first = min(self.first, at)
        self.frames += 1
        if at >= self.last:
            self.last, self.last_has_no_end = at, not duration
        if stop > self.stop:
            self.stop = stop
        if self.stop - self.first > self.max_ticks:
            raise too_long(self.path, self.stop - self.first, self.tick_s, self.limits)
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


def skipped_s(packet: av.Packet) -> Fraction | int:
    """Return how many seconds at the start of a packet the decoder will drop (codec priming)."""
    if next(packet.iter_sidedata(), None) is None:  # most packets; asking for one kind takes longer
        return 0
    if not packet.has_sidedata("skip_samples") or not packet.stream.codec_context.sample_rate:
        return 0
    (samples,) = struct.unpack_from("<I", bytes(packet.get_sidedata("skip_samples")))
    return Fraction(samples, packet.stream.codec_context.sample_rate)


def summary(
    path: Path,
    video: Span,
    audio: Span | None,
    first: av.VideoFrame | None,
    sound: av.AudioStream | None,
    audio_tracks: int,
) -> Probe:
    """Return the counts as a Probe; `first` is the first decoded frame.

    Raises MediaError if the stream is not a moving picture or its timestamps are damaged.
    """
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
        raise MediaError("empty", f"{path}: one frame without a duration: a still, not a video")
    if 1 / gap_s < MIN_FPS:
        raise MediaError(
            "undecodable",
            f"{path}: {video.frames} frames in {float(gap_s * video.frames):.3g} s, expected at "
            f"least {MIN_FPS} frame a second: this is a still or a slide show, or the timestamps "
            "in its header are damaged; leave it out",
        )
    if 1 / gap_s > MAX_FPS:
        raise MediaError(
            "undecodable",
            f"{path}: a frame every {float(gap_s):.6f} s, expected at most {MAX_FPS} a second: "
            "the timestamps in its header are damaged; encode it again at its true frame rate, "
            "for example 30: ffmpeg -r 30 -i FILE NEW.mp4",
        )
    turn = Turn.of(path, first)
    width, height = turn.size(first.width, first.height)
    heard = audio if audio is not None and audio.frames else None
    sound = sound if heard else None
    return Probe(
        path=path,
        video_start_s=video.start_s,
        video_stop_s=max(video.stop_s, video.last_s + (gap_s if video.last_has_no_end else 0)),
        fps=1 / gap_s,
        width=width,
        height=height,
        rotation_deg=turn.clockwise_deg,
        frames=video.frames,
        audio_start_s=heard.start_s if heard else None,
        audio_stop_s=heard.stop_s if heard else None,
        sample_rate_hz=sound.codec_context.sample_rate if sound else None,
        channels=sound.codec_context.channels if sound else None,
        audio_tracks=audio_tracks,
    )
