"""Write H.264 of field pictures, as AVCHD camcorders do: no encoder at hand makes any.

A frame is 16 x 32 px of one grey, coded as two fields of one I_PCM macroblock each: two access
units and, once in a container, two packets.
"""

from __future__ import annotations

FPS = 25
GROUP = 25
"""Frames from one key frame to the next."""


class Writer:
    """Bits of a NAL unit's payload, first one first."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def u(self, *values: tuple[int, int]) -> Writer:
        """Append (bits, value) pairs."""
        for count, value in values:
            self.bits += [value >> at & 1 for at in reversed(range(count))]
        return self

    def ue(self, *values: int) -> Writer:
        """Append unsigned Exp-Golomb numbers."""
        for value in values:
            length = (value + 1).bit_length()
            self.u((length - 1, 0), (length, value + 1))
        return self

    def payload(self, stop: bool = True) -> bytes:
        """Return the bytes, after a stop bit or as they are, filled up with zeros."""
        bits = self.bits + [1] * stop
        bits += [0] * (-len(bits) % 8)
        return bytes(int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, len(bits), 8))


def grey(frame: int) -> int:
    """Return the luma of a frame."""
    return 40 + 7 * frame % 160


def stream(frames: int) -> bytes:
    """Return so many frames as an Annex B byte stream, 25 a second."""
    # Main profile, level 2.1; order counted as coded (type 2); one macroblock wide, one pair high.
    sequence = Writer().u((8, 77), (8, 0), (8, 21)).ue(0, 0, 2, 1).u((1, 0)).ue(0, 0)
    sequence.u((1, 0), (1, 0), (1, 1), (1, 0), (1, 1))  # fields allowed; timing information follows
    sequence.u((1, 0), (1, 0), (1, 0), (1, 0), (1, 1), (32, 1), (32, 2 * FPS), (1, 1))
    sequence.u((1, 0), (1, 0), (1, 0), (1, 0))
    picture = Writer().ue(0, 0).u((1, 0), (1, 0)).ue(0, 0, 0).u((1, 0), (2, 0)).ue(0, 0, 0)
    picture.u((1, 1), (1, 0), (1, 0))
    parts = []
    for index in range(frames):
        place = index % GROUP
        parts.append(_unit(9, 0, b"\x10"))
        if not place:
            parts += [_unit(7, 3, sequence.payload()), _unit(8, 3, picture.payload())]
        for bottom in (0, 1):
            if bottom:
                parts.append(_unit(9, 0, b"\x10"))
            key = not place and not bottom
            # First macroblock, slice of I macroblocks, parameter set; frame number; a field.
            slice_ = Writer().ue(0, 7, 0).u((4, place % 16), (1, 1), (1, bottom))
            if key:
                slice_.ue(index // GROUP % 2).u((2, 0))
            else:
                slice_.u((1, 0))
            slice_.ue(0, 1, 25)  # quantiser, no deblocking, I_PCM
            raw = bytes([grey(index)] * 256 + [128] * 128)
            parts.append(_unit(5 if key else 1, 3, slice_.payload(stop=False) + raw + b"\x80"))
    return b"".join(parts)


def _unit(kind: int, reference: int, payload: bytes) -> bytes:
    """Return a NAL unit behind a start code, its payload kept free of start codes."""
    safe, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = 0 if byte else zeros + 1
    return b"\0\0\0\1" + bytes([reference << 5 | kind]) + bytes(safe)
