"""Decode one stream of an opened file: every shown frame, or an error that names the loss."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.logging
from av.container import InputContainer

from pipeline.media.container import (
    DEFAULTS,
    MediaError,
    check_packet,
    early_ticks,
    is_end,
    on_time,
    opened,
    tick_s,
)
from pipeline.media.shown import ShownPackets

LOST_REFERENCES = ("mmco: unref short failure", "Missing reference picture", "reference picture")
"""Start of the messages by which ffmpeg's H.264 decoder reports a missing reference frame."""

SEEK_MARGINS_S = (2, 10)
"""Seconds before the wanted time at which to look for a key frame: first try, second try.

The second is used if the first seek ends after the wanted time."""


def seek_before(container: InputContainer, stream: av.VideoStream, start_s: Fraction) -> bool:
    """Seek to a key frame from which the picture at `start_s` and all later ones can be decoded.

    Containers seek by decoding time, which is earlier than the time at which a frame is shown.
    Therefore the seek uses a margin, and its result is checked. Returns False if no such key frame
    was found; the container is then at the start of the stream.
    """
    for margin_s in SEEK_MARGINS_S:
        at = math.floor((start_s - margin_s) / tick_s(stream))
        if at <= (stream.start_time or 0):
            break
        container.seek(at, stream=stream)
        packet = next(iter(container.demux(stream)), None)
        if packet is None or packet.pts is None or not packet.is_keyframe:
            continue
        if packet.pts * packet.time_base <= start_s:
            container.seek(at, stream=stream)
            return True
    container.seek(stream.start_time or 0, stream=stream)
    return False


def decoded(
    path: Path,
    container: InputContainer,
    stream: av.VideoStream,
    start_s: Fraction | None = None,
    early: int | None = None,
) -> Generator[av.VideoFrame, None, None]:
    """Yield the shown frames of a video stream.

    Raises MediaError if the decoder fails, or repairs or drops a frame.

    `early` is the result of `early_ticks`, or None if it is not known yet.

    With `start_s`, the stream is read from a key frame before that time. If decoding from there
    fails, as for streams that refresh the picture step by step, it is read from the beginning.
    """
    if early is None:
        early = early_ticks(path, container, stream)
    if start_s is not None and seek_before(container, stream, start_s):
        arrived = False
        try:
            for frame in _frames(path, container.demux(stream), stream, early, sought=True):
                arrived = arrived or time_s(frame) >= start_s
                yield frame
            return
        except MediaError:
            if arrived:
                raise
        container.seek(stream.start_time or 0, stream=stream)
    yield from _frames(path, container.demux(stream), stream, early, sought=False)


def _frames(
    path: Path,
    packets: Iterable[av.Packet],
    stream: av.VideoStream,
    early: int,
    sought: bool,
) -> Generator[av.VideoFrame, None, None]:
    """Yield the frames of packets, which are all that follow.

    After a seek (`sought`), frames that follow the first key frame in the file but are shown before
    it are left out: the frames that they are predicted from were not read.
    """
    owed, given, at = 0, 0, 0
    first_pts: int | None = None  # of the packets; first_given is that of the frames
    first_given: int | None = None
    picture = ShownPackets(stream)
    clock_s = tick_s(stream)
    try:
        for packet in on_time(packets, early):
            if not is_end(packet):
                at = check_packet(path, packet)
                first_pts = at if first_pts is None else first_pts
                if picture.gives(packet) in ("frame", "leading frame"):
                    owed += not (sought and at < first_pts)
            for frame in decode(path, packet, picture):
                if sought and frame.pts is not None and first_pts is not None:
                    if frame.pts < first_pts:
                        continue
                if frame.pts is None or frame.is_corrupt:
                    raise _damaged(path, frame, at * clock_s)
                given += 1
                first_given = frame.pts if first_given is None else min(frame.pts, first_given)
                yield frame
    except av.error.FFmpegError as error:
        raise _stopped(path, stream, at * clock_s, error) from None
    if not sought:
        owed -= picture.undecodable(first_given)
    if given < owed:
        raise MediaError(
            "undecodable",
            f"{path}: the decoder returned {given} frames, expected {owed}: some are damaged",
        )


def sound_frames(
    path: Path, packets: Iterable[av.Packet], stream: av.AudioStream
) -> Generator[av.AudioFrame, None, None]:
    """Yield the frames of a sound stream, whose `packets` are all of it.

    Raises MediaError if the decoder fails, or repairs a frame.
    """
    at, clock_s = 0, tick_s(stream)
    try:
        for packet in packets:
            if not is_end(packet):
                at = check_packet(path, packet)
            for frame in stream.decode(packet):
                if frame.pts is None or frame.is_corrupt:
                    raise _damaged(path, frame, at * clock_s)
                yield frame
    except av.error.FFmpegError as error:
        raise _stopped(path, stream, at * clock_s, error) from None


def _damaged(path: Path, frame: av.VideoFrame | av.AudioFrame, at_s: Fraction) -> MediaError:
    kind = "a video" if isinstance(frame, av.VideoFrame) else "an audio"
    what = "without a timestamp" if frame.pts is None else "damaged"
    return MediaError("undecodable", f"{path}: {kind} frame near {float(at_s):.3f} s is {what}")


def _stopped(
    path: Path, stream: av.VideoStream | av.AudioStream, at_s: Fraction, error: av.error.FFmpegError
) -> MediaError:
    """Return the error for a decoder that cannot go on; `error` is FFmpeg's."""
    return MediaError(
        "undecodable",
        f"{path}: the {stream.codec_context.name} decoder stopped at {float(at_s):.3f} s: "
        f"{error.strerror}",
    )


def decode(path: Path, packet: av.Packet, picture: ShownPackets) -> list[av.VideoFrame]:
    """Decode one packet of a picture.

    `picture` has already classified this packet and those before it.

    If a file was cut without encoding it again, H.264 decoders report missing references to the
    frames that the cut removed, even if every shown frame is complete. That is not damage, and such
    an error gives no frames.

    Raises av.error.FFmpegError for damage.
    """
    try:
        return packet.decode()
    except av.error.FFmpegError:
        if picture.open_start and picture.keys == 1 and _lacks_references(path, packet):
            return []
        raise


def _lacks_references(path: Path, packet: av.Packet) -> bool:
    """Return whether every decoder error in the first group of frames is a missing reference.

    The group (up to the second key frame) is decoded again, and ffmpeg's messages are read.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # only then does an error contain its message
    try:
        with av.logging.Capture(), opened(path, DEFAULTS, checked=True) as container:
            keys = 0
            for other in container.demux(container.streams[packet.stream.index]):
                keys += other.is_keyframe
                if keys > 1:
                    break
                try:
                    other.decode()
                except av.error.FFmpegError as error:
                    log: tuple[int, str, str] | None
                    log = error.log  # type: ignore[assignment]  # the stub nests what is flat
                    if not log or not log[2].startswith(LOST_REFERENCES):
                        return False
    finally:
        av.logging.set_level(level)
    return True


def time_s(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    """Return a frame's presentation timestamp in seconds of its stream's clock."""
    assert frame.pts is not None and frame.time_base, "`decoded` raises for one without a time"
    return frame.pts * frame.time_base
