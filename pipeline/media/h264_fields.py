"""Tell which packets of an H.264 stream hold the second field of a frame.

Interlaced H.264 may code a frame as two field pictures (AVCHD camcorders and broadcast do). Each
field is then an access unit of its own, hence a packet of its own, and two packets give one frame.
Only the headers are read, by Rec. ITU-T H.264, sections 7.3.2.1.1 (sequence parameter set) and
7.3.3 (slice header).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SLICES, IDR, SPS = (1, 2, 5), 5, 7
"""NAL unit types: slices of a picture, of those one that needs no other picture, parameter set."""
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameter sets hold the chroma format and scaling lists."""
HEAD_BYTES = 64
"""Of a slice: its header's first fields take far less."""
SPS_BYTES = 4096


class Bits:
    """Reads a NAL unit's payload bit by bit; reading beyond its end gives zeros."""

    def __init__(self, payload: bytes) -> None:
        self._data = payload.replace(b"\0\0\3", b"\0\0")  # without emulation prevention
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
        """Return the next unsigned Exp-Golomb number; one of over 32 bits is damage, given as 0."""
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
    """What a sequence parameter set says that a slice header's reader must know."""

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
        bits.ue(), bits.u(1), bits.ue(), bits.ue()  # references, gaps, width, height
        return cls(frame_num_bits, colour_planes, bool(bits.u(1)))


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


@dataclass
class FieldPairs:
    """Follows a stream's packets in the file's order and knows which complete a frame.

    `extradata` is the stream's: an avcC box (mp4, Matroska), or parameter sets between start codes.
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
        """Whether no picture is a field, by parameter sets that packets do not change."""
        known = self._sequence is not None and self._sequence.frames_only
        return known and bool(self._length_bytes)

    def refreshes(self, packet: bytes) -> bool:
        """Return whether nothing from a packet on refers to what came before it (IDR)."""
        return any(unit[:1] and unit[0] & 31 == IDR for unit in self._units(packet))

    def is_second(self, packet: bytes) -> bool:
        """Return whether a packet is the second field of the frame that the one before began."""
        units = list(self._units(packet))
        self._read_parameters(units)
        fields = {found for unit in units if (found := self._field(unit))}
        first, self._first = self._first, None
        if len(fields) != 1:  # a frame, or both fields of one
            return False
        ((number, bottom),) = fields
        if first == (number, 1 - bottom):
            return True
        self._first = (number, bottom)
        return False

    def _field(self, unit: bytes) -> tuple[int, int] | None:
        """Return a slice's frame number and parity (1: bottom); None where it is of no field."""
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
        """Read the last parameter set of a packet: once, however often a stream repeats it."""
        found = [unit for unit in units if unit and unit[0] & 31 == SPS]
        if found and found[-1] != self._parameters:
            self._parameters = found[-1]
            self._sequence = Sequence.read(found[-1])

    def _units(self, data: bytes) -> Iterator[bytes]:
        """Yield the NAL units of a packet, behind their lengths or between start codes."""
        if not self._length_bytes:
            yield from data.split(b"\0\0\1")[1:]
            return
        at = 0
        while at + self._length_bytes < len(data):
            begin = at + self._length_bytes
            at = begin + int.from_bytes(data[at:begin], "big")
            yield data[begin:at]
