"""Read a video's picture and sound on one clock: the presentation timestamps of its streams.

Times are seconds of that clock, as Fractions; they are not shifted to zero. Edit lists, codec
priming and packets marked as hidden are respected. Pixels are assumed to be square. Nothing is
skipped silently: anything that cannot be read raises MediaError.

Legend: n frames, H height, W width, N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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
    check_file,
    check_packet,
    early_ticks,
    is_end,
    on_time,
    opened,
    tick_s,
    video_stream,
)
from pipeline.media.decode import decode, decoded, seek_before, sound_frames, time_s
from pipeline.media.picture import FrameRequest, Sink
from pipeline.media.probe import Probe, Span, skipped_s, summary
from pipeline.media.shown import ShownPackets
from pipeline.media.sound import Placed

__all__ = [
    "Audio",
    "FrameRequest",
    "Limits",
    "MediaError",
    "Probe",
    "Video",
    "frame_times",
    "probe",
    "read_audio",
    "read_frames",
]
MAX_SAMPLE_RATE_HZ = 768_000
KEPT_BYTES = 64 << 20
"""How much compressed sound is kept in memory, so that the file need not be read twice."""


@dataclass(frozen=True)
class Audio:
    """Mono sound, float32 (N,) at 22 050 Hz, whose first sample is at `start_s`; not clipped."""

    samples: np.ndarray
    start_s: Fraction

    @property
    def stop_s(self) -> Fraction:
        """When the last sample ends."""
        return self.start_s + Fraction(len(self.samples), SAMPLE_RATE_HZ)


@dataclass
class _Kept:
    """The packets of the sound, as long as there are at most KEPT_BYTES of them."""

    packets: list[av.Packet] = field(default_factory=list)
    size: int = 0

    def add(self, packet: av.Packet) -> None:
        self.size += packet.size
        if self.size <= KEPT_BYTES:
            self.packets.append(packet)
        else:
            self.packets.clear()


@dataclass
class Video:
    """A video file. It is checked before it is first opened, and opened once for each pass over it.

    Nothing stays open between two passes. Use one handle for one piece of work: it does not notice
    if the file is replaced later.
    """

    path: Path
    limits: Limits = DEFAULTS
    _checked: bool = field(default=False, init=False, repr=False)
    _early_ticks: int | None = field(default=None, init=False, repr=False)
    _probes: dict[tuple[int, bool], Probe] = field(default_factory=dict, init=False, repr=False)

    @contextmanager
    def opened(self) -> Iterator[InputContainer]:
        """Open the file for one pass. Raises the same errors as `container.opened`."""
        if not self._checked:
            check_file(self.path)
            self._checked = True
        with opened(self.path, self.limits, checked=True) as container:
            yield container

    def _early(self, container: InputContainer, stream: av.VideoStream) -> int:
        if self._early_ticks is None:
            self._early_ticks = early_ticks(self.path, container, stream)
        return self._early_ticks

    def probe(self, audio_track: int = 0, with_sound: bool = True) -> Probe:
        """Read all packet timestamps of the picture and one sound stream, and decode one frame.

        `audio_track` is that of `container.audio_stream`. With `with_sound=False` no sound is read.
        The result is cached.

        Raises MediaError. The code is `no_audio` only if `audio_track` does not exist; for a file
        without sound the audio fields are None.
        """
        asked = (audio_track, with_sound)
        if asked not in self._probes:
            with self.opened() as container:
                self._probes[asked] = self._probe(container, *asked)
        return self._probes[asked]

    def probe_and_audio(self, audio_track: int = 0) -> tuple[Probe, Audio]:
        """Return `probe` and `read_audio`, in one pass where the file was not probed before."""
        asked, heard = (audio_track, True), _Kept()
        if asked in self._probes:
            return self._probes[asked], self.read_audio(audio_track)
        with self.opened() as container:
            seen = self._probes[asked] = self._probe(container, *asked, heard)
            if heard.size <= KEPT_BYTES:
                return seen, self._read_audio(container, audio_track, heard.packets)
        return seen, self.read_audio(audio_track)

    def _probe(
        self, container: InputContainer, audio_track: int, with_sound: bool,
        heard: _Kept | None = None,
    ) -> Probe:  # fmt: skip
        path, limits = self.path, self.limits
        picture = video_stream(path, container, limits)
        sound = audio_stream(path, container, audio_track) if with_sound else None
        tracks = len(container.streams.audio)
        video = Span(path, limits, tick_s(picture))
        audio = Span(path, limits, tick_s(sound)) if sound else None
        first: av.VideoFrame | None = None
        shown = ShownPackets(picture)
        # Times and durations of leading frames, until the first frame is known.
        leading: list[tuple[int, int]] = []
        early = self._early(container, picture)
        run_in_s: Fraction | int = 0  # what is left of the codec's priming
        streams = [stream for stream in (picture, sound) if stream is not None]
        for packet in on_time(container.demux(streams), early):
            if audio is not None and packet.stream is sound:
                if heard is not None:
                    heard.add(packet)
                run_in_s = skipped_s(packet) or run_in_s
                left_out_s = run_in_s and min(run_in_s, (packet.duration or 0) * packet.time_base)
                run_in_s -= left_out_s
                audio.add(packet, left_out_s)
                continue
            if not is_end(packet):
                at = check_packet(path, packet)
                gives = shown.gives(packet)
                if gives == "frame":
                    video.add(packet)
                elif gives == "second field":
                    video.extend(packet)
                elif gives == "leading frame":
                    leading.append((at, packet.duration or 0))
            if first is None:
                first = next(iter(decode(path, packet, shown)), None)
            if first is not None:
                for at, duration in leading:
                    if shown.is_decodable(at, first.pts):
                        video.count(at, duration)
                leading.clear()
        return summary(path, video, audio, first, sound, tracks)

    def frame_times(self, span_s: tuple[Fraction, Fraction] | None = None) -> list[Fraction]:
        """Return the sorted timestamps of the shown frames in seconds, without decoding them.

        With `span_s` only those in that half-open span are returned.
        """
        path, limits = self.path, self.limits
        with self.opened() as container:
            times_s: list[Fraction] = []
            stream = video_stream(path, container, limits)
            sought = span_s is not None and seek_before(container, stream, span_s[0])
            shown = ShownPackets(stream)
            for packet in on_time(container.demux(stream), self._early(container, stream)):
                if not is_end(packet):
                    at = check_packet(path, packet)
                    read_s = None if packet.dts is None else packet.dts * packet.time_base
                    if span_s and read_s is not None and read_s >= span_s[1]:
                        break  # a frame is never shown before it is decoded
                    if shown.gives(packet) == "frame":
                        times_s.append(at * packet.time_base)
            key_s, *leading_s = [at * tick_s(stream) for at in (shown.key or 0, *shown.leading)]
        if leading_s and not sought:  # only decoding shows which of them are decodable
            start_s = self.probe().video_start_s
            times_s += [at_s for at_s in leading_s if start_s <= at_s < key_s]
        return sorted(at_s for at_s in times_s if not span_s or span_s[0] <= at_s < span_s[1])

    def decoded_times(self) -> list[Fraction]:
        """Return the timestamps of the shown frames in seconds, by decoding all of them."""
        with closing(self.frames()) as frames:
            return [time_s(frame) for frame in frames]

    def frames(self) -> Generator[av.VideoFrame, None, None]:
        """Yield the shown frames in the order of the decoder. Raises MediaError."""
        with self.opened() as container:
            stream = video_stream(self.path, container, self.limits)
            early = self._early(container, stream)
            with closing(decoded(self.path, container, stream, None, early)) as frames:
                yield from frames

    def read_audio(self, audio_track: int = 0) -> Audio:
        """Decode one sound stream: mono by the mean of the channels, 22 050 Hz, float32 (N,).

        `audio_track` is that of `container.audio_stream`.

        Decoded frames are placed by their timestamps at the stream's own rate: a gap becomes
        silence, an overlap is dropped. Then they are resampled as one signal by a linear-phase
        filter, so sample k is at `start_s + k / 22 050` seconds. Values above 1 are not clipped.

        Raises MediaError.
        """
        with self.opened() as container:
            return self._read_audio(container, audio_track)

    def _read_audio(
        self,
        container: InputContainer,
        audio_track: int,
        packets: Iterable[av.Packet] | None = None,
    ) -> Audio:
        path, limits = self.path, self.limits
        stream = audio_stream(path, container, audio_track)
        if stream is None:
            raise MediaError("no_audio", f"{path}: no sound stream, expected one")
        rate_hz = stream.codec_context.sample_rate
        if not 0 < rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise MediaError(
                "undecodable",
                f"{path}: sound at {rate_hz} Hz, expected 1 to {MAX_SAMPLE_RATE_HZ} Hz",
            )
        placed = Placed(path, rate_hz, tick_s(stream), limits)
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        done = []
        packets = container.demux(stream) if packets is None else packets
        with closing(sound_frames(path, packets, stream)) as frames:
            for block in placed.blocks(frames, _declared_stop_s(container, stream)):
                done.append(resampler.resample_chunk(block))
        done.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if placed.start_s is None or not placed.filled:
            raise MediaError("empty", f"{path}: the sound stream holds no samples")
        return Audio(np.concatenate(done), placed.start_s)

    def read_frames(
        self,
        requests: Mapping[str, FrameRequest],
        threads: int = 1,
        each: Mapping[str, Callable[[np.ndarray], None]] | None = None,
        span_s: tuple[Fraction, Fraction] | None = None,
    ) -> dict[str, np.ndarray]:
        """Decode the picture once for all `requests`: uint8 (n, H, W, 3) RGB for each, as shown.

        Each requested time gets the nearest frame: the earlier one if two are equally near, the
        first or last one if the time is outside the video. Only these frames are scaled and turned
        upright. Decoding stops when all are found. If `each` has a function for a request, its
        frames are passed to the function one by one and not returned. With `span_s` only frames in
        that half-open span are used; decoding starts at the nearest usable key frame before it.

        Raises MediaError, and ValueError for a crop larger than the picture.
        """
        path, limits = self.path, self.limits
        each = each or {}
        sinks = {
            name: Sink(path, request, limits, each.get(name)) for name, request in requests.items()
        }
        with self.opened() as container:
            stream = video_stream(path, container, limits)
            stream.codec_context.thread_count = threads
            early = self._early(container, stream)
            previous: av.VideoFrame | None = None
            with closing(decoded(path, container, stream, span_s and span_s[0], early)) as frames:
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
                                f"{path}: the picture changes from {previous.width}x"
                                f"{previous.height} to {frame.width}x{frame.height} at "
                                f"{float(time_s(frame)):.3f} s",
                            )
                        middle_s = (time_s(previous) + time_s(frame)) / 2
                        for sink in sinks.values():
                            sink.take(previous, until_s=middle_s)
                        if all(sink.full for sink in sinks.values()):
                            break
                    previous = frame
            if previous is None:
                start_s, stop_s = span_s or (0, 0)
                where = f" from {float(start_s):.3f} to {float(stop_s):.3f} s" if span_s else ""
                raise MediaError("empty", f"{path}: the video stream shows no frame{where}")
            for sink in sinks.values():
                sink.take(previous, until_s=None)
        return {name: sink.frames for name, sink in sinks.items() if name not in each}


def probe(
    path: Path, limits: Limits = DEFAULTS, audio_track: int = 0, with_sound: bool = True
) -> Probe:
    """Return `Video.probe` of a file that is not read again."""
    return Video(path, limits).probe(audio_track, with_sound)


def frame_times(
    path: Path, limits: Limits = DEFAULTS, span_s: tuple[Fraction, Fraction] | None = None
) -> list[Fraction]:
    """Return `Video.frame_times` of a file that is not read again."""
    return Video(path, limits).frame_times(span_s)


def read_audio(path: Path, limits: Limits = DEFAULTS, audio_track: int = 0) -> Audio:
    """Return `Video.read_audio` of a file that is not read again."""
    return Video(path, limits).read_audio(audio_track)


def read_frames(
    path: Path,
    requests: Mapping[str, FrameRequest],
    limits: Limits = DEFAULTS,
    threads: int = 1,
    each: Mapping[str, Callable[[np.ndarray], None]] | None = None,
    span_s: tuple[Fraction, Fraction] | None = None,
) -> dict[str, np.ndarray]:
    """Return `Video.read_frames` of a file that is not read again."""
    return Video(path, limits).read_frames(requests, threads, each, span_s)


def _declared_stop_s(container: InputContainer, stream: av.AudioStream) -> Fraction | None:
    """Return the time at which the edit list ends the sound; None except for mov and mp4."""
    if "mov" not in container.format.name or stream.duration is None or stream.start_time is None:
        return None
    return (stream.start_time + stream.duration) * tick_s(stream)
