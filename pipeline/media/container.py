"""Open strangers' files, and pass on their packets and frames with nothing skipped silently.

Only plain files, and only formats that cannot name another file: a playlist that calls itself a
video cannot make this machine read another file or open a socket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition

from pipeline.media.encryption import is_encrypted
from pipeline.media.formats import FORMATS
from pipeline.media.mp4_boxes import compressed_header, truncation
from pipeline.media.mp4_edits import unplayable_edits
from pipeline.media.shown import ShownPackets

Code = Literal["undecodable", "no_video", "no_audio", "empty", "too_large", "too_long"]


class MediaError(ValueError):
    """A file that cannot be used; `code` is one of a closed set, the text names the file."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)

    @property
    def code(self) -> Code:
        return self.args[0]

    def __str__(self) -> str:
        return self.args[1]


@dataclass(frozen=True)
class Limits:
    """What a stranger's file may ask of this machine: pixels of a frame, seconds, frames."""

    max_pixels: int = 8192 * 4320
    max_duration_s: int = 3 * 3600
    max_frames: int = 3 * 3600 * 240


DEFAULTS = Limits()

LOST_REFERENCES = ("mmco: unref short failure", "Missing reference picture", "reference picture")
"""How ffmpeg's H.264 decoder begins to say that a frame refers to one that it was not given."""

SEEK_MARGINS_S = (2, 10)
"""How long before the wanted time to look for a key frame, and again if that led behind it."""


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[InputContainer]:
    """Open a plain file by one of the formats that cannot name another file.

    Raises FileNotFoundError where there is no plain file, and MediaError (`empty`, `undecodable`)
    for one that is cut short, of another format or damaged, also while it is read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, or not a plain one")
    if not path.stat().st_size:
        raise MediaError("empty", f"{path}: the file has 0 bytes")
    lost = truncation(path)
    if lost:
        raise MediaError("undecodable", f"{path}: cut short: {lost}; fetch it again")
    if compressed_header(path):
        raise MediaError(
            "undecodable",
            f"{path}: its header is compressed, which could unpack to any size; remux it as mp4",
        )
    if is_encrypted(path):
        raise MediaError(
            "undecodable",
            f"{path}: it is encrypted (copy protection), and nothing can show it without its key; "
            "get a copy that is not",
        )
    edits = unplayable_edits(path)
    if edits:
        raise MediaError(
            "undecodable",
            f"{path}: its edit list {edits}, which would put sound and picture apart; "
            "export it again without edits",
        )
    try:
        with _av_open(path, limits) as file:
            for stream in file.streams:
                if stream.type in ("video", "audio") and stream.codec_context is not None:
                    # Without "explode" damaged frames are patched up or dropped without a word.
                    stream.codec_context.options = {
                        "err_detect": "explode",
                        "max_pixels": str(limits.max_pixels),
                    }
                    stream.codec_context.thread_count = 1
            yield file
    except av.error.FFmpegError as error:
        raise MediaError(
            "undecodable", f"{path}: {error.strerror}; expected a readable mp4, mov, mkv or webm"
        ) from None


def _av_open(path: Path, limits: Limits, **more: str) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(limits.max_pixels),
    }
    url = f"file:{path.absolute()}"
    try:
        return av.open(url, options=options | more, metadata_errors="replace")
    except av.error.ArgumentError:  # how libavformat refuses a format that is not on the list
        raise MediaError(
            "undecodable",
            f"{path}: not an mp4, mov, mkv, webm or gif, whatever its name; other containers are "
            "not read: convert it, as by ffmpeg -i FILE FILE.mp4",
        ) from None


def video_stream(path: Path, container: InputContainer, limits: Limits) -> av.VideoStream:
    """Return the first video stream that is no cover picture.

    Raises MediaError: `no_video`, `too_large` (more pixels than the limit) or `undecodable`.
    """
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:  # it then has no size to ask for either
            raise MediaError(
                "undecodable",
                f"{path}: no decoder for the video stream; convert it to H.264, or fetch it again",
            )
        pixels = stream.width * stream.height
        if pixels > limits.max_pixels:
            raise MediaError(
                "too_large",
                f"{path}: {stream.width}x{stream.height} frames, "
                f"expected at most {limits.max_pixels} pixels",
            )
        if not pixels:
            raise MediaError(
                "undecodable",
                f"{path}: no decoder can make out the video stream, or its frames have more than "
                f"{limits.max_pixels} pixels",
            )
        return stream
    raise MediaError("no_video", f"{path}: no video stream, expected one")


def audio_stream(path: Path, container: InputContainer, track: int = 0) -> av.AudioStream | None:
    """Return a sound stream: the `track`-th, from 1 on, or the default one for 0.

    The default is the first that the file marks so and a decoder is there for, else the first with
    a decoder; None where there is none.

    Raises MediaError `no_audio` for a track that is not there, `undecodable` without a decoder.
    """
    tracks = container.streams.audio
    if track:
        if track > len(tracks):
            words = f"{path}: it has {len(tracks)} sound tracks, expected track {track}"
            raise MediaError("no_audio", f"{words} (--audio-track); ask for another")
        if tracks[track - 1].codec_context is None:
            raise MediaError("undecodable", f"{path}: no decoder for sound track {track}")
        return tracks[track - 1]
    good = [stream for stream in tracks if stream.codec_context is not None]
    marked = [stream for stream in good if stream.disposition & Disposition.default]
    return next(iter(marked or good), None)


def early_ticks(path: Path, container: InputContainer, stream: av.VideoStream) -> int:
    """Return by how much of the stream's time base the demuxer gives pictures too early.

    Where an edit list begins between two frames, libavformat moves the picture, by up to a frame,
    so that the first one shown lies at the edit's beginning, and leaves the sound where it is. Read
    again with nothing but the edit's offset applied, the frames have the times the file gives them.
    """
    begin = stream.start_time
    if "mov" not in container.format.name or begin is None:
        return 0
    before, after = False, None
    with _av_open(path, DEFAULTS, advanced_editlist="0") as plain:
        for packet in plain.demux(plain.streams[stream.index]):
            if packet.pts is None or packet.dts is None:
                break
            if packet.pts < begin:
                before = True
            elif after is None or packet.pts < after:
                after = packet.pts
            if after is not None and packet.dts >= after:
                break  # a frame is shown no earlier than it is decoded
    return after - begin if before and after is not None else 0


def early_s(path: Path) -> Fraction:
    """Return what `early_ticks` finds, in seconds, for a file that another program will read.

    It is 0 where the file cannot be read: the other program will say so.
    """
    try:
        with opened(path, DEFAULTS) as container:
            stream = video_stream(path, container, DEFAULTS)
            return early_ticks(path, container, stream) * stream.time_base
    except MediaError:
        return Fraction(0)


def on_time(packets: Iterable[av.Packet], early: int) -> Iterator[av.Packet]:
    """Yield packets, those of the picture moved by what `early_ticks` found."""
    for packet in packets:
        if early and packet.stream.type == "video" and packet.pts is not None:
            packet.pts += early
            packet.dts = None if packet.dts is None else packet.dts + early
        yield packet


def is_end(packet: av.Packet) -> bool:
    """Return whether a packet holds nothing, and stands for the end of the file."""
    return not packet.size and packet.dts is None


def check_packet(path: Path, packet: av.Packet) -> None:
    """Raise for a packet cut short by the end of the file, or one without a timestamp."""
    if packet.pts is None:
        raise MediaError(
            "undecodable",
            f"{path}: {packet.stream.type} packets without timestamps; remux the file as mp4",
        )
    if packet.is_corrupt:
        at_s = float(packet.pts * packet.time_base)
        raise MediaError(
            "undecodable",
            f"{path}: the {packet.stream.type} packet at {at_s:.3f} s is not whole: the file is "
            "cut short or damaged",
        )


def check_duration(path: Path, ticks: int, tick_s: Fraction, limits: Limits) -> None:
    """Raise where so many ticks are too long; in integers, as every packet is asked."""
    if ticks * tick_s.numerator > limits.max_duration_s * tick_s.denominator:
        raise MediaError(
            "too_long",
            f"{path}: lasts {float(ticks * tick_s):.0f} s, "
            f"expected at most {limits.max_duration_s} s",
        )


def seek_before(container: InputContainer, stream: av.VideoStream, start_s: Fraction) -> bool:
    """Go to a key frame from which the picture at `start_s` and all after it can be decoded.

    Containers look for it by decoding time, which is earlier than the time a frame is shown: hence
    the margin, and the look at where it led. Return False where only the file's beginning does.
    """
    for margin_s in SEEK_MARGINS_S:
        at = math.floor((start_s - margin_s) / stream.time_base)
        if at <= (stream.start_time or 0):
            break
        container.seek(at, stream=stream)
        packet = next(iter(container.demux(stream)), None)
        found = packet is not None and packet.pts is not None and packet.is_keyframe
        if found and packet.pts * packet.time_base <= start_s:
            container.seek(at, stream=stream)
            return True
    container.seek(stream.start_time or 0, stream=stream)
    return False


def decoded(
    path: Path,
    container: InputContainer,
    stream: av.VideoStream | av.AudioStream,
    start_s: Fraction | None = None,
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Yield the shown frames of one stream; raise if the decoder fails, patches or drops one.

    With `start_s`, a picture stream is read from a key frame before it, or from its beginning where
    nothing can be decoded from there (streams that refresh the picture bit by bit).
    """
    if start_s is not None and seek_before(container, stream, start_s):
        arrived = False
        try:
            for frame in _frames(path, container, stream, sought=True):
                arrived = arrived or time_s(frame) >= start_s
                yield frame
            return
        except MediaError:
            if arrived:
                raise
        container.seek(stream.start_time or 0, stream=stream)
    yield from _frames(path, container, stream, sought=False)


def _frames(
    path: Path, container: InputContainer, stream: av.VideoStream | av.AudioStream, sought: bool
) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Yield the frames from where the container is.

    Where that was sought, frames that are shown before the first key frame but follow it in the
    file are left out: what they are predicted from was not read.
    """
    owed, given, at = 0, 0, 0
    first_pts: int | None = None  # of the packets
    first_given: int | None = None
    picture = ShownPackets(stream) if stream.type == "video" else None
    early = early_ticks(path, container, stream) if picture else 0
    try:
        for packet in on_time(container.demux(stream), early):
            if not is_end(packet):
                check_packet(path, packet)
                at = packet.pts
                first_pts = packet.pts if first_pts is None else first_pts
                if picture and picture.gives(packet) in ("frame", "leading frame"):
                    owed += not (sought and packet.pts < first_pts)
            for frame in decode(path, packet, picture):
                if sought and frame.pts is not None and frame.pts < first_pts:
                    continue
                if frame.pts is None or frame.is_corrupt:
                    what = "without a timestamp" if frame.pts is None else "damaged"
                    raise MediaError(
                        "undecodable",
                        f"{path}: a {stream.type} frame near {float(at * stream.time_base):.3f} s "
                        f"is {what}",
                    )
                given += 1
                first_given = frame.pts if first_given is None else min(frame.pts, first_given)
                yield frame
    except av.error.FFmpegError as error:
        raise MediaError(
            "undecodable",
            f"{path}: the {stream.codec_context.name} decoder stopped at "
            f"{float(at * stream.time_base):.3f} s: {error.strerror}",
        ) from None
    if picture and not sought:
        owed -= picture.undecodable(first_given)
    if given < owed:
        raise MediaError(
            "undecodable",
            f"{path}: the decoder gave {given} frames, expected {owed}: some are damaged",
        )


def decode(
    path: Path, packet: av.Packet, picture: ShownPackets | None
) -> list[av.VideoFrame] | list[av.AudioFrame]:
    """Decode one packet; `picture` has judged it and those before it, None is for sound.

    Where a file was cut without encoding it anew, H.264 decoders report missing references to the
    pictures that the cut removed, even where they show every frame whole. That is no damage.

    Raises av.error.FFmpegError for damage.
    """
    try:
        return packet.decode()
    except av.error.FFmpegError:
        if picture and picture.open_start and picture.keys == 1 and _lacks_references(path, packet):
            return []
        raise


def _lacks_references(path: Path, packet: av.Packet) -> bool:
    """Return whether all that a decoder says against a file's first group is a lost reference.

    The group, up to the second key frame, is decoded anew with ffmpeg's messages read.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # only then does an error carry its message
    try:
        with av.logging.Capture(), opened(path, DEFAULTS) as container:
            keys = 0
            for other in container.demux(container.streams[packet.stream.index]):
                keys += other.is_keyframe
                if keys > 1:
                    break
                try:
                    other.decode()
                except av.error.FFmpegError as error:
                    if not error.log or not error.log[2].startswith(LOST_REFERENCES):
                        return False
    finally:
        av.logging.set_level(level)
    return True


def time_s(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    """Return a frame's presentation timestamp in seconds of its stream's clock."""
    return frame.pts * frame.time_base
