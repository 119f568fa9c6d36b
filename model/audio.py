"""Sound at the edges of the model: PCM16 files, and the mel spectrogram of loss and pictures."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.segment import SAMPLE_RATE_HZ, write_atomic

PCM_SCALE = 32768.0


def decode_wav(data: bytes, name: str) -> np.ndarray:
    """Return the samples (N,) of a mono PCM16 file at 22 050 Hz, as float32 in [-1, 1).

    Raises ValueError naming `name` for anything else.
    """
    return decode_pcm(data, name).astype(np.float32) / PCM_SCALE


def decode_pcm(data: bytes, name: str) -> np.ndarray:
    """Return the samples (N,) of a mono PCM16 file at 22 050 Hz, as they are: int16.

    Raises ValueError naming `name` for anything else.
    """
    whole = len(data) >= 44 and len(data) % 2 == 0
    if whole and data[:44] == wav_head(len(data) - 44):  # as shards hold it: no need to search
        return np.frombuffer(data, "<i2", offset=44)
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError, struct.error) as error:
        raise ValueError(f"{name}: not a PCM wav file ({error}); build the shards again") from None
    if form != (1, 2, SAMPLE_RATE_HZ):
        raise ValueError(
            f"{name}: {form[0]} channels, {8 * form[1]} bits, {form[2]} Hz; "
            f"expected 1, 16, {SAMPLE_RATE_HZ}; build the shards again"
        )
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<i2")


def wav_head(data_bytes: int) -> bytes:
    """Return the first 44 bytes of a mono PCM16 file at 22 050 Hz: RIFF, format, start of data."""
    return struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + data_bytes, b"WAVEfmt ", 16, 1, 1, SAMPLE_RATE_HZ,
        2 * SAMPLE_RATE_HZ, 2, 16, b"data", data_bytes,
    )  # fmt: skip


def encode_wav(audio: Tensor | np.ndarray) -> tuple[bytes, int]:
    """Return audio (N,) as a mono PCM16 file at 22 050 Hz, and how many samples were clipped."""
    scaled = np.rint(np.asarray(audio, np.float64) * PCM_SCALE)
    pcm = np.clip(scaled, -32768, 32767)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue(), int((pcm != scaled).sum())


def write_wav(path: Path, audio: Tensor | np.ndarray) -> int:
    """Write audio (N,) to `path`, whole or not at all; return how many samples were clipped."""
    data, clipped = encode_wav(audio)
    write_atomic(path, data)
    return clipped


def mel_filters(bands: int, n_fft: int, low_hz: float, high_hz: float) -> Tensor:
    """Return triangular filters (bands, n_fft // 2 + 1) of equal area on Slaney's mel scale.

    The scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (27 mel per factor
    6.4); after Slaney's Auditory Toolbox, 1998. Equal area makes white noise flat across bands.
    """
    edge_hz, edge_mel, per_octave = 1000.0, 15.0, 27.0 / np.log(6.4)

    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < edge_hz else edge_mel + np.log(hz / edge_hz) * per_octave

    mels = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    points = np.where(
        mels < edge_mel,
        mels * 200 / 3,
        edge_hz * np.exp((np.maximum(mels, edge_mel) - edge_mel) / per_octave),
    )
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE_HZ / n_fft
    lower, middle, upper = points[:-2, None], points[1:-1, None], points[2:, None]
    rise, fall = (bins - lower) / (middle - lower), (upper - bins) / (upper - middle)
    triangles = np.maximum(0, np.minimum(rise, fall)) * 2 / (upper - lower)
    return torch.from_numpy(triangles.astype(np.float32))


class LogMel(nn.Module):
    """log10 of the mel magnitude spectrogram: audio (B, N) to (B, bands, N // hop), float32.

    Frames, bands and floor are MelGAN's (Kumar et al. 2019), which the paper builds on.
    """

    def __init__(self, n_fft: int = 1024, hop: int = 256, bands: int = 80) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        filters = mel_filters(bands, n_fft, 0.0, SAMPLE_RATE_HZ / 2)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Map audio (B, N), N above (n_fft - hop) / 2 = 384, to (B, bands, N // hop), float32."""
        pad = (self.n_fft - self.hop) // 2
        padded = F.pad(audio.float(), (pad, pad), mode="reflect")
        spectrum = torch.stft(
            padded, self.n_fft, self.hop, window=self.window, center=False, return_complex=True
        )
        # The root of exactly zero has no gradient: silence would give NaN without the epsilon.
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
        return torch.log10((self.filters @ magnitude).clamp(min=1e-5))
