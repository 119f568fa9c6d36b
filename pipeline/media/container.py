"""Open untrusted media files and check their packets. Nothing is skipped silently.

Only regular files are opened, and only in formats that cannot refer to other files. A playlist that
is named like a video can therefore not make this machine read another file or open a socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from pipeline.media.encryption import is_encrypted
from pipeline.media.formats import FORMATS
from pipeline.media.mp4_boxes import compressed_header, truncation
from pipeline.media.mp4_edits import edits_begin_at_first_frames, unplayable_edits

Code = Literal["undecodable", "no_video", "no_audio", "empty", "too_large", "too_long"]


class MediaError(ValueError):
    """A file cannot be used. `code` is one of the values of `Code`; the message names the file."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)

    @property
    def code(self) -> Code:
        return self.args[0]

    def __str__(self) -> str:
        return self.args[1]


@dataclass(frozen=True)
class Limits:
    """Upper limits for an untrusted file: pixels per frame, duration in seconds, frames."""

    max_pixels: int = 8192 * 4320
    max_duration_s: float = 3 * 3600
    max_frames: int = 3 * 3600 * 240

    def max_ticks(self, tick_s: Fraction) -> float:
        """Return the longest duration in ticks of a stream's clock, to hold each packet against."""
        return self.max_duration_s * tick_s.denominator / tick_s.numerator


DEFAULTS = Limits()


def check_file(path: Path) -> None:
    """Check a file before any demuxer reads it; only its headers are read.

    Raises FileNotFoundError if `path` is not a regular file. Raises MediaError with the code
    `empty` for 0 bytes, and `undecodable` if the file is truncated or encrypted, has a compressed
    header, or has an edit list that cannot be played exactly.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, or not a regular file")
    if not path.stat().st_size:
        raise MediaError("empty", f"{path}: the file has 0 bytes")
    with open(path, "rb") as file:
        lost = truncation(file)
        if lost:
            raise MediaError(
                "undecodable", f"{path}: cut short: {lost}; download or copy the file again"
            )
        if compressed_header(file):
            raise MediaError(
                "undecodable",
                f"{path}: the file header is compressed. It is not read, because it could expand "
                "to any size; rewrite the file: ffmpeg -i FILE -c copy NEW.mp4",
            )
        if is_encrypted(file):
            raise MediaError(
                "undecodable",
                f"{path}: it is encrypted (copy protection) and cannot be decoded without its key; "
                "use a copy that is not encrypted",
            )
        edits = unplayable_edits(file)
        if edits:
            raise MediaError(
                "undecodable",
                f"{path}: its edit list {edits}. Sound and picture would not stay in sync; in "
                "your video editor, export the video again as one new file",
            )


@contextmanager
def opened(path: Path, limits: Limits, checked: bool = False) -> Iterator[InputContainer]:
    """Open a regular file in one of the formats that cannot refer to other files.

    With `checked=True` the caller has already run `check_file`.

    Raises FileNotFoundError if `path` is not a regular file. Raises MediaError (`empty`,
    `undecodable`) if the file is truncated, damaged or has another format. Errors that appear
    while the file is read are raised in the same way.
    """
    if not checked:
        check_file(path)
    try:
        with _av_open(path, limits) as file:
            for stream in file.streams:
                if stream.type in ("video", "audio") and stream.codec_context is not None:
                    # Without "explode" FFmpeg repairs or drops damaged frames without an error.
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
    except av.error.ArgumentError:  # FFmpeg's error for a format outside format_whitelist
        raise MediaError(
            "undecodable",
            f"{path}: the content is not an mp4, mov, mkv, webm or gif, even if the file name "
            "says so; other containers are not read: convert it, as by "
            "ffmpeg -i FILE NEW.mp4",
        ) from None


def video_stream(path: Path, container: InputContainer, limits: Limits) -> av.VideoStream:
    """Return the first video stream that is not a cover picture.

    Raises MediaError: `no_video`, `too_large` (more pixels than the limit) or `undecodable`.
    """
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:  # then its size is unknown, too
            raise MediaError(
                "undecodable",
                f"{path}: no decoder for the video stream; convert or download it again",
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
                f"{path}: the video stream cannot be decoded, or its frames have more than "
                f"{limits.max_pixels} pixels",
            )
        return stream
    raise MediaError("no_video", f"{path}: no video stream, expected one")


def audio_stream(path: Path, container: InputContainer, track: int = 0) -> av.AudioStream | None:
    """Return sound stream number `track`, counted from 1; 0 means the default stream.

    The default is the first stream that the file marks as default and that has a decoder. If no
    stream is marked, it is the first one with a decoder. Returns None if no stream has a decoder.

    Raises MediaError: `no_audio` if `track` does not exist, `undecodable` if it has no decoder.
    """
    tracks = container.streams.audio
    if track:
        if track > len(tracks):
            message = f"{path}: it has {len(tracks)} sound tracks, expected track {track}"
            raise MediaError("no_audio", f"{message} (--audio-track); choose another track")
        if tracks[track - 1].codec_context is None:
            raise MediaError("undecodable", f"{path}: no decoder for sound track {track}")
        return tracks[track - 1]
    decodable = [stream for stream in tracks if stream.codec_context is not None]
    marked = [stream for stream in decodable if stream.disposition & Disposition.default]
    return next(iter(marked or decodable), None)


def tick_s(stream: Stream) -> Fraction:
    """Return how long a tick of the stream's clock is, in seconds."""
    assert stream.time_base is not None, "libavformat gives every stream of a file a clock"
    return stream.time_base


def early_ticks(path: Path, container: InputContainer, stream: av.VideoStream) -> int:
    """Return by how many ticks of the stream's time base the demuxer reports frames too early.

    If an edit list starts between two frames, libavformat moves the picture by up to one frame:
    the first shown frame gets the start time of the edit. The sound is not moved. To measure this,
    the file is read again with `advanced_editlist=0`: then only the offset of the edit is applied,
    and the frames keep the times of the file. Most files show in their tables that this is not
    needed.
    """
    begin = stream.start_time
    if "mov" not in container.format.name or begin is None:
        return 0
    with open(path, "rb") as file:
        if edits_begin_at_first_frames(file):
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
                break  # a frame is never shown before it is decoded
    return after - begin if before and after is not None else 0


def on_time(packets: Iterable[av.Packet], early: int) -> Iterable[av.Packet]:
    """Return the packets; video packets are moved later by `early` ticks (from `early_ticks`)."""
    return _moved(packets, early) if early else packets


def _moved(packets: Iterable[av.Packet], early: int) -> Iterator[av.Packet]:
    for packet in packets:
        if packet.stream.type == "video" and packet.pts is not None:
            packet.pts += early
            packet.dts = None if packet.dts is None else packet.dts + early
        yield packet


def is_end(packet: av.Packet) -> bool:
    """Return whether this is the empty packet that the demuxer sends at the end of the file."""
    return not packet.size and packet.dts is None


def check_packet(path: Path, packet: av.Packet) -> int:
    """Return a packet's timestamp, in ticks.

    Raises MediaError if it has no timestamp, or is cut off by the end of the file.
    """
    if packet.pts is None:
        raise MediaError(
            "undecodable",
            f"{path}: {packet.stream.type} packets without timestamps; rewrite the file: "
            "ffmpeg -fflags +genpts -i FILE -c copy NEW.mp4",
        )
    if packet.is_corrupt:
        at_s = float(packet.pts * packet.time_base)
        raise MediaError(
            "undecodable",
            f"{path}: the {packet.stream.type} packet at {at_s:.3f} s is incomplete: the file is "
            "cut short or damaged",
        )
    return packet.pts


def too_long(path: Path, ticks: int, tick_s: Fraction, limits: Limits) -> MediaError:
    """Return the error for a stream that lasts `ticks`, more than `Limits.max_ticks`."""
    return MediaError(
        "too_long",
        f"{path}: lasts {float(ticks * tick_s):.0f} s, expected at most {limits.max_duration_s} s",
    )
