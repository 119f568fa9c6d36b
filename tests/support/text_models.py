"""A tiny EnCodec, songs with captions, and settings for tests of text-to-music models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.codecs.base import Level
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.wav import write_wav
from model.runtime.hugging_face import need_transformers
from model.text_to_music.config import TextConfig

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import EncodecModel

ENTRIES, BOOKS, HOP = 32, 4, 441
TEMPI = {"slow": 24, "medium": 16, "fast": 12}
"""Code steps of a beat, of the songs of `write_songs` (50 steps a second)."""
TINY = TextConfig(
    window_s=0.96, text_width=32, text_heads=2, text_inner_width=64, width=64, layers=2, heads=2,
    beat_heads=1,
    inner_width=128, steps=6, batch=2, warmup_steps=2, log_every=1, save_every=3, sample_every=6,
    samples=2, val_windows=4, device="cpu", threads=1, note="for tests",
)  # fmt: skip


class TinyEncodec:
    """An untrained EnCodec at 22 050 Hz whose codebooks are filled, so that codes differ."""

    levels = ("encodec",)
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, seed: int = 0) -> None:
        self.model = tiny_encodec(seed)
        self.id = self.codes_id = f"tiny-{seed}"
        self.source, self.note = "tiny", "untrained codec, for tests"
        self.device = torch.device("cpu")

    def level(self, name: str) -> Level:
        return Level(name, HOP, ENTRIES, BOOKS)

    def steps(self, samples: int, level: str) -> int:
        return -(-samples // HOP)

    @torch.no_grad()
    def encode(self, audio: Tensor, level: str) -> Tensor:
        return self.model.encode(audio[:, None]).audio_codes[0]

    @torch.no_grad()
    def decode(self, codes: Tensor, level: str) -> Tensor:
        return self.model.decode(codes[None], [None] * len(codes)).audio_values[:, 0]

    def embed(self, codes: Tensor, level: str) -> Tensor:
        return self.model.quantizer.decode(codes.transpose(0, 1))


def tiny_encodec(seed: int = 0) -> EncodecModel:
    """Return the module: its codebooks are latents of noise, and residuals of those."""
    config = need_transformers("a test").EncodecConfig(
        sampling_rate=SAMPLE_RATE_HZ, target_bandwidths=[1.0], upsampling_ratios=[9, 7, 7],
        num_filters=2, hidden_size=8, codebook_dim=8, codebook_size=ENTRIES, num_lstm_layers=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = need_transformers("a test").EncodecModel(config).eval()
        rest = model.encoder(torch.randn(1, 1, ENTRIES * HOP) * 0.3)[0].T
        for layer in model.quantizer.layers:
            layer.codebook.embed.copy_(rest)
            rest = (rest - rest[torch.randperm(len(rest))]) / 2
    return model


def write_songs(folder: Path, count: int = 4, seconds: float = 2.0) -> Path:
    """Write clicks in three tempi as wav files, and `captions.csv`; return the table."""
    rng, lines = np.random.default_rng(0), ["file,caption"]
    for number in range(count):
        word = list(TEMPI)[number % len(TEMPI)]
        sound = rng.normal(0, 0.01, round(seconds * SAMPLE_RATE_HZ)).astype(np.float32)
        for first in range(number * 50, len(sound) - 800, TEMPI[word] * HOP):
            sound[first : first + 800] += rng.normal(0, 0.3, 800)
        write_wav(folder / "wav" / f"s{number}.wav", torch.from_numpy(sound))
        genre = ("house", "middle hip-hop")[number % 2]
        lines.append(f'wav/s{number}.wav,"{genre} music, {word}, drums, C minor"')
    table = folder / "captions.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table
