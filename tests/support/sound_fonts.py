"""A tiny sound font: one looped sine wave, which every instrument and drum plays."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

ATTENUATION, DECAY, SUSTAIN, RELEASE, INSTRUMENT, SAMPLE, LOOP = 48, 36, 37, 38, 41, 53, 54
PERIOD, PERIODS, RATE_HZ, A4 = 100, 20, 44_100, 69


def write_sound_font(
    path: Path, programs: Iterable[int] = range(128), drums: bool = True, quieter_db: float = 0.0
) -> Path:
    """Write an .sf2 file with presets for `programs`, and a drum kit; a note is struck and fades.

    `quieter_db` makes the same font in other bytes and at another loudness.
    """
    wave = np.sin(2 * np.pi * np.arange(PERIOD * PERIODS) / PERIOD)
    samples = np.concatenate([20_000 * wave, np.zeros(46)]).astype("<i2").tobytes()
    presets = [(0, program) for program in programs] + ([(128, 0)] if drums else [])
    end = len(presets)
    heads = b"".join(
        _name("preset") + struct.pack("<HHHIII", program, bank, bag, 0, 0, 0)
        for bag, (bank, program) in enumerate(presets)
    )
    heads += _name("EOP") + struct.pack("<HHHIII", 0, 0, end, 0, 0, 0)
    zone = {ATTENUATION: 10 * quieter_db, DECAY: -1200, SUSTAIN: 1000, RELEASE: -4800, LOOP: 1}
    zone[SAMPLE] = 0  # the sample must be last
    wave_head = struct.pack("<IIIII", 0, PERIOD * PERIODS, 0, PERIOD * PERIODS, RATE_HZ)
    tables = {
        b"phdr": heads,
        b"pbag": b"".join(struct.pack("<HH", bag, 0) for bag in range(end + 1)),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<HH", INSTRUMENT, 0) * end + bytes(4),
        b"inst": _name("sine") + struct.pack("<H", 0) + _name("EOI") + struct.pack("<H", 1),
        b"ibag": struct.pack("<HHHH", 0, 0, len(zone), 0),
        b"imod": bytes(10),
        b"igen": b"".join(struct.pack("<Hh", *map(int, one)) for one in zone.items()) + bytes(4),
        b"shdr": _name("sine") + wave_head + struct.pack("<BbHH", A4, 0, 0, 1) + bytes(46),
    }
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"INAM", b"tiny\0\0")
    body = b"sfbk" + _chunk(b"LIST", b"INFO" + info)
    body += _chunk(b"LIST", b"sdta" + _chunk(b"smpl", samples))
    body += _chunk(b"LIST", b"pdta" + b"".join(_chunk(*one) for one in tables.items()))
    path.write_bytes(_chunk(b"RIFF", body))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def _name(text: str) -> bytes:
    return text.encode().ljust(20, b"\0")
