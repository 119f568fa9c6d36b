"""Open strangers' files, and pass on their packets and frames with nothing skipped silently.

Only plain files, and only formats that cannot name another file: a playlist that calls itself a
video cannot make this machine read another file or open a socket.
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
from pipeline.media.mp4_edits import unplayable_edits

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
    max_duration_s: float = 3 * 3600
    max_frames: int = 3 * 3600 * 240


DEFAULTS = Limits()


def check_file(path: Path) -> None:
    """Raise for what no demuxer is to see: what a file's boxes say of it before it is opened.

    FileNotFoundError where there is no plain file, and MediaError: `empty`, or `undecodable` for
    one that is cut short, encrypted, or has a compressed header or edits that nothing plays.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, or not a plain one")
    if not path.stat().st_size:
        raise MediaError("empty", f"{path}: the file has 0 bytes")
    with open(path, "rb") as file:
        lost = truncation(file)
        if lost:
            raise MediaError("undecodable", f"{path}: cut short: {lost}; fetch it again")
        if compressed_header(file):
            raise MediaError(
                "undecodable",
                f"{path}: its header is compressed, which could unpack to any size; remux it as "
                "mp4",
            )
        if is_encrypted(file):
            raise MediaError(
                "undecodable",
                f"{path}: it is encrypted (copy protection), and nothing can show it without its "
                "key; get a copy that is not",
            )
        edits = unplayable_edits(file)
        if edits:
            raise MediaError(
                "undecodable",
                f"{path}: its edit list {edits}, which would put sound and picture apart; "
                "export it again without edits",
            )


@contextmanager
def opened(path: Path, limits: Limits, checked: bool = False) -> Iterator[InputContainer]:
    """Open a plain file by one of the formats that cannot name another file.

    `checked` says that `check_file` has passed it.

    Raises FileNotFoundError where there is no plain file, and MediaError (`empty`, `undecodable`)
    for one that is cut short, of another format or damaged, also while it is read.
    """
    if not checked:
        check_file(path)
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


def tick_s(stream: Stream) -> Fraction:
    """Return how long a tick of the stream's clock is, in seconds."""
    assert stream.time_base is not None, "libavformat gives every stream of a file a clock"
    return stream.time_base


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


def check_packet(path: Path, packet: av.Packet) -> int:
    """Return a packet's timestamp, in ticks.

    Raises MediaError for a packet cut short by the end of the file, or one without a timestamp.
    """
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
    return packet.pts


def check_duration(path: Path, ticks: int, tick_s: Fraction, limits: Limits) -> None:
    """Raise where so many ticks are too long; in integers, as every packet is asked."""
    if ticks * tick_s.numerator > limits.max_duration_s * tick_s.denominator:
        raise MediaError(
            "too_long",
            f"{path}: lasts {float(ticks * tick_s):.0f} s, "
            f"expected at most {limits.max_duration_s} s",
        )
