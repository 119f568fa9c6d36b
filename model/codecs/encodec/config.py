"""The settings of an EnCodec training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from model.codecs.training.config import TrainingConfig
from model.contract.segment import SAMPLE_RATE_HZ
from model.runtime.settings import setting


@dataclass(frozen=True)
class EncodecTrainingConfig(TrainingConfig):
    """The settings of training an EnCodec, whose network is that of `transformers.EncodecConfig`.

    The default, the preset "small", has MusicGen's 50 code steps a second and 4 codebooks, at the
    shards' rate, and is trained on one core in minutes. EnCodec was trained with an adversary,
    which is left out here.
    """

    rate_hz: int = setting(SAMPLE_RATE_HZ, min=8000)
    ratios: tuple[int, ...] = setting((9, 7, 7), min=1)
    """Samples per step of each stage, decoder's order; their product is the hop."""
    filters: int = setting(12, min=1)
    """Channels at the rate of the samples; each stage has twice as many."""
    width: int = setting(64, min=1)
    """The width of latents and entries."""
    codebooks: int = setting(4, min=1, max=32)
    entries: int = setting(256, min=2, max=65_536)
    lstm_layers: int = setting(1, min=1)
    residual_layers: int = setting(1, min=1)
    causal: bool = False

    steps: int = setting(1_800, min=1)
    batch: int = setting(4, min=1)
    crop_samples: int = 17_640
    lr: float = 2e-3
    decay_steps: int = 500
    commit: float = 0.1
    log_spectral: float = 1.0
    l_mu: float = setting(0.95, below=1)
    revival_threshold: float = 0.03
    name: str = "encodec"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.entries & (self.entries - 1):
            raise ValueError(f"entries is {self.entries}; expected a power of 2")
        unit = self.hop * SAMPLE_RATE_HZ
        if self.crop_samples <= 1024 or self.crop_samples * self.rate_hz % unit:
            raise ValueError(
                f"crop_samples is {self.crop_samples}; expected more than 1024 samples at "
                f"{SAMPLE_RATE_HZ} Hz that are a whole number of hops ({self.hop} at "
                f"{self.rate_hz} Hz)"
            )

    @property
    def hop(self) -> int:
        """Samples per code step, at `rate_hz`."""
        return prod(self.ratios)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "tiny": {"filters": 2, "width": 8, "entries": 16, "codebooks": 2, "batch": 2,
             "crop_samples": 4_410, "steps": 20, "decay_steps": 0},
    "musicgen": {"rate_hz": 32_000, "ratios": (8, 5, 4, 4), "filters": 64, "width": 128,
                 "entries": 2048, "lstm_layers": 2, "batch": 64, "crop_samples": 22_050,
                 "lr": 3e-4, "steps": 300_000, "decay_steps": 100_000, "revival_threshold": 1.0},
}  # fmt: skip
"""`small` is the default; `tiny` is for tests; `musicgen` has the sizes of MusicGen's codec."""
