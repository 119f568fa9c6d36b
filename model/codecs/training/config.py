"""The settings that training any codec has: data, learning rate, losses, codebooks, intervals."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from model.runtime.precision import Precise, precision
from model.runtime.settings import Settings, setting

LOWER = "lower batch or crop_samples (--set KEY=VALUE)"
"""Advice when memory runs out."""


@dataclass(frozen=True)
class TrainingConfig(Precise, Settings):
    """The settings that all codecs share. Defaults are JukeBox's, if its VQ-VAE has the setting.

    JukeBox was trained with batches of 256 clips of 9 s. The batch here fits a small machine, and
    `revival_threshold` fits this batch: an entry used less often than this per batch is restarted.
    """

    steps: int = setting(20_000, min=1)
    batch: int = setting(8, min=1)
    crop_samples: int = 16_384
    lr: float = 3e-4
    warmup_steps: int = 100
    decay_steps: int = 0
    """The learning rate decays to zero over this number of last steps."""
    clip: float = 1.0
    commit: float = 0.02
    spectral: float = 0.0
    multispectral: float = 1.0
    log_spectral: float = 0.0
    """A loss on log magnitudes, which JukeBox does not have; it helps quiet and high sounds in
    short trainings."""
    l_mu: float = setting(0.99, below=1)
    revival_threshold: float = 1.0

    threads: int = 0
    """CPU threads of each process; 0 uses torch's default."""
    device: str = "auto"
    precision: str = precision()
    seed: int = setting(0, below=1 << 32)
    log_every: int = setting(20, min=1)
    save_every: int = setting(500, min=1)
    name: str = "codec"
    note: str = ""
    """A description of the weights, repeated wherever the codec is used."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clip:
            raise ValueError("clip is 0, which stops all learning; expected a number above 0")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"device is {self.device!r}; expected auto, cpu, cuda or cuda:NUMBER")

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, constant, linear decay."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = min(1.0, (self.steps - step) / self.decay_steps) if self.decay_steps else 1.0
        return self.lr * rise * fall

    @property
    def average_mu(self) -> float:
        """The decay of the weights' moving average; JukeBox's rule for one process."""
        return 1 - self.batch / 8 / 1000

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
