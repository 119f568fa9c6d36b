"""Find the packets of an H.264 stream that hold the second field of a frame.

Interlaced H.264 may code a frame as two field pictures (AVCHD camcorders and broadcasts do). Each
field is then a separate access unit and a separate packet, so two packets give one frame.
Only the headers are read, as defined in Rec. ITU-T H.264, sections 7.3.2.1.1 (sequence parameter
set) and 7.3.3 (slice header).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SLICES, IDR, SPS = (1, 2, 5), 5, 7
"""NAL unit types: slices of a picture; a slice of an IDR picture, which refers to no earlier
picture; a sequence parameter set."""
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameter sets hold the chroma format and scaling lists."""
HEAD_BYTES = 64
"""How much of a slice is read: the header fields that are used take far less."""
SPS_BYTES = 4096
"""How much of a sequence parameter set is read."""


class Bits:
    """Reads a NAL unit's payload bit by bit; reads beyond the end give zeros."""

    def __init__(self, payload: bytes) -> None:
        self._data = payload.replace(b"\0\0\3", b"\0\0")  # remove emulation prevention bytes
        self._at = 0

    def u(self, count: int) -> int:
        """Return the next `count` bits as a number."""
        value = 0
        for _ in range(count):
            byte = self._data[self._at >> 3] if self._at >> 3 < len(self._data) else 0
            value = value << 1 | byte >> 7 - (self._at & 7) & 1
            self._at += 1
        return value

    def ue(self) -> int:
        """Return the next unsigned Exp-Golomb number; 0 if it is damaged (more than 32 bits)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                return 0
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Return the next signed Exp-Golomb number."""
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


@dataclass(frozen=True)
class Sequence:
    """The fields of a sequence parameter set that are needed to read a slice header."""

    frame_num_bits: int
    colour_planes: bool
    frames_only: bool

    @classmethod
    def read(cls, unit: bytes) -> Sequence:
        bits = Bits(unit[1:SPS_BYTES])
        profile, colour_planes = bits.u(8), False
        bits.u(16)  # constraints and level
        bits.ue()  # its id
        if profile in HIGH_PROFILES:
            chroma = bits.ue()
            colour_planes = chroma == 3 and bool(bits.u(1))
            bits.ue(), bits.ue(), bits.u(1)  # bit depths, lossless transform
            if bits.u(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.u(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        frame_num_bits = min(bits.ue() + 4, 16)
        order = bits.ue()
        if order == 0:
            bits.ue()
        elif order == 1:
            bits.u(1), bits.se(), bits.se()
            for _ in range(min(bits.ue(), 255)):
                bits.se()
        bits.ue(), bits.u(1), bits.ue(), bits.ue()  # reference frames, gaps allowed, width, height
        return cls(frame_num_bits, colour_planes, bool(bits.u(1)))


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


@dataclass
class FieldPairs:
    """Reads the packets of a stream in file order and finds those that complete a frame.

    `extradata` comes from the stream: an avcC box (mp4, Matroska), or parameter sets between start
    codes.
    """

    extradata: bytes
    _sequence: Sequence | None = None
    _parameters: bytes = b""
    _length_bytes: int = 0
    _first: tuple[int, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        data = self.extradata
        if data[:1] == b"\1" and len(data) > 6:
            self._length_bytes = (data[4] & 3) + 1
            at = 6
            for _ in range(data[5] & 31):
                end = at + 2 + int.from_bytes(data[at : at + 2], "big")
                self._sequence = Sequence.read(data[at + 2 : end])
                at = end
        else:
            self._read_parameters(self._units(data))

    @property
    def only_frames(self) -> bool:
        """Whether no packet is a single field; packets cannot change the parameter sets."""
        known = self._sequence is not None and self._sequence.frames_only
        return known and bool(self._length_bytes)

    def refreshes(self, packet: bytes) -> bool:
        """Return whether this is an IDR picture: no later picture refers to an earlier one."""
        return any(unit[:1] and unit[0] & 31 == IDR for unit in self._units(packet))

    def is_second(self, packet: bytes) -> bool:
        """Return whether a packet is the second field of the frame of the previous packet."""
        units = list(self._units(packet))
        self._read_parameters(units)
        fields = {found for unit in units if (found := self._field(unit))}
        first, self._first = self._first, None
        if len(fields) != 1:  # a full frame, or both fields of one
            return False
        ((number, bottom),) = fields
        if first == (number, 1 - bottom):
            return True
        self._first = (number, bottom)
        return False

    def _field(self, unit: bytes) -> tuple[int, int] | None:
        """Return a slice's frame number and parity (1: bottom field); None outside a field."""
        sequence = self._sequence
        if not unit or unit[0] & 31 not in SLICES or sequence is None or sequence.frames_only:
            return None
        bits = Bits(unit[1:HEAD_BYTES])
        bits.ue(), bits.ue(), bits.ue()  # first macroblock, slice type, picture parameter set
        if sequence.colour_planes:
            bits.u(2)
        number = bits.u(sequence.frame_num_bits)
        return (number, bits.u(1)) if bits.u(1) else None

    def _read_parameters(self, units: Iterable[bytes]) -> None:
        """Read the last parameter set of a packet; a repeated one is not read again."""
        found = [unit for unit in units if unit and unit[0] & 31 == SPS]
        if found and found[-1] != self._parameters:
            self._parameters = found[-1]
            self._sequence = Sequence.read(found[-1])

    def _units(self, data: bytes) -> Iterator[bytes]:
        """Yield the NAL units of a packet; each follows its length or a start code."""
        if not self._length_bytes:
            yield from data.split(b"\0\0\1")[1:]
            return
        at = 0
        while at + self._length_bytes < len(data):
            begin = at + self._length_bytes
            at = begin + int.from_bytes(data[at:begin], "big")
            yield data[begin:at]
