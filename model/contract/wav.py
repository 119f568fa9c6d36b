"""WAV files: 16 bit PCM, decoded and written without a sound library."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from torch import Tensor

PCM_SCALE = 32768.0


def decode_wav(data: bytes, name: str) -> np.ndarray:
    """Return the samples (N,) of a mono PCM16 file at 22 050 Hz, as float32 in [-1, 1).

    Raises ValueError, with `name`, for any other format.
    """
    return decode_pcm(data, name).astype(np.float32) / PCM_SCALE


def decode_pcm(data: bytes, name: str) -> np.ndarray:
    """Return the samples (N,) of a mono PCM16 file at 22 050 Hz, unchanged, as int16.

    Raises ValueError, with `name`, for any other format.
    """
    try:
        return read_wav(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; build the shards again") from None


def read_wav(data: bytes) -> np.ndarray:
    """Return the int16 samples (N,) of a mono PCM16 file at 22 050 Hz; ValueError for any other."""
    complete = len(data) >= 44 and len(data) % 2 == 0
    if complete and data[:44] == wav_head(len(data) - 44):  # as written by `wav_bytes`: no parsing
        return np.frombuffer(data, "<i2", offset=44)
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError, struct.error) as error:
        raise ValueError(f"not a PCM wav file ({error!r:.300})") from None
    if form != (1, 2, SAMPLE_RATE_HZ):
        raise ValueError(
            f"{form[0]} channels, {8 * form[1]} bits, {form[2]} Hz; expected 1, 16, "
            f"{SAMPLE_RATE_HZ}"
        )
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<i2")


def wav_bytes(pcm: np.ndarray) -> bytes:
    """Return int16 (N,) as a mono PCM16 file at 22 050 Hz."""
    data = np.asarray(pcm, dtype="<i2").tobytes()
    return wav_head(len(data)) + data


def wav_head(data_bytes: int) -> bytes:
    """Return the first 44 bytes of a mono PCM16 file at 22 050 Hz: RIFF, format, start of data."""
    return struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + data_bytes, b"WAVEfmt ", 16, 1, 1, SAMPLE_RATE_HZ,
        2 * SAMPLE_RATE_HZ, 2, 16, b"data", data_bytes,
    )  # fmt: skip


def encode_wav(audio: Tensor | np.ndarray) -> tuple[bytes, int]:
    """Return audio (N,) as a mono PCM16 file at 22 050 Hz, and the number of clipped samples."""
    scaled = np.rint(np.asarray(audio, np.float64) * PCM_SCALE)
    pcm = np.clip(scaled, -32768, 32767)
    return wav_bytes(pcm), int((pcm != scaled).sum())


def write_wav(path: Path, audio: Tensor | np.ndarray) -> int:
    """Write audio (N,) to `path` atomically; return the number of clipped samples."""
    data, clipped = encode_wav(audio)
    write_atomic(path, data)
    return clipped
