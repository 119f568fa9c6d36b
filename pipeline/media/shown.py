"""Find out which packets of a video stream become shown frames.

Some do not. A packet may hold the second field of a frame (H.264), a hidden frame that only other
frames refer to (VP8), or a frame that an edit list leaves out. If a file was cut without encoding
it again, the frames shown before its first key frame may refer to frames that the cut removed;
decoders leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import av

from pipeline.media.h264_fields import FieldPairs

Gives = Literal["frame", "leading frame", "second field", "nothing"]


@dataclass
class ShownPackets:
    """Classifies the packets of a stream one by one, in file order, from the start of the stream.

    `leading` holds the timestamps, in the stream's ticks, of the leading frames: they follow the
    first key frame in the file, but are shown before it. Only decoding shows which of them are
    decodable: those from the first decoded frame on. `key` is the timestamp of that key frame;
    `keys` counts the key frames so far. `open_start` is set for H.264 if frames after the first key
    frame may refer to earlier frames, which a cut may have removed.
    """

    stream: av.VideoStream
    leading: list[int] = field(default_factory=list)
    key: int | None = None
    keys: int = 0
    open_start: bool = False
    _h264: FieldPairs | None = None

    def __post_init__(self) -> None:
        if self.stream.codec_context.name == "h264":
            self._h264 = FieldPairs(bytes(self.stream.codec_context.extradata or b""))

    def gives(self, packet: av.Packet) -> Gives:
        """Return what a packet shows if the stream is undamaged.

        Call it once for each packet, in file order.
        """
        if self._h264 and not self._h264.only_frames and self._h264.is_second(bytes(packet)):
            return "second field"
        assert packet.pts is not None, "`check_packet` comes first, and raises for it"
        leads = self.keys == 1 and self.key is not None and packet.pts <= self.key
        self.keys += packet.is_keyframe
        if self.key is None and packet.is_keyframe:
            self.key = packet.pts
            self.open_start = self._h264 is not None and not self._h264.refreshes(bytes(packet))
        if packet.is_discard or self._is_hidden(packet):
            return "nothing"
        if leads:
            self.leading.append(packet.pts)
        return "leading frame" if leads else "frame"

    def undecodable(self, first: int | None) -> int:
        """Return how many leading frames the decoder left out.

        `first` is the timestamp of the first decoded frame.
        """
        return sum(not self.is_decodable(at, first) for at in self.leading)

    def is_decodable(self, leading: int, first: int | None) -> bool:
        """Return whether the decoder showed the leading frame with the timestamp `leading`.

        `first` is the timestamp of the first decoded frame.
        """
        return first is not None and first != self.key and leading >= first

    def _is_hidden(self, packet: av.Packet) -> bool:
        """Return whether a VP8 frame is hidden: bit 4 of its tag (RFC 6386, section 9.1)."""
        if self.stream.codec_context.name != "vp8":
            return False
        return packet.size > 0 and not bytes(packet)[0] >> 4 & 1
