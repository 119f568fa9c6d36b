"""The settings of a fine-tuning of the decoder."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from model.contract.segment import LEVELS

MAY_CHANGE_ON_RESUME = ("steps", "lr_decoder", "lr_discriminator", "workers", "worker_timeout_s",
        "log_every", "save_every", "val_every", "val_segments", "sample_segments")  # fmt: skip
"""Settings that may change when a run is resumed."""


@dataclass(frozen=True)
class SynthesizerConfig:
    """Defaults are the paper's where it gives a value: rate, betas, scales, widths and weights."""

    level: str = "high"
    seed: int = 0
    steps: int = 10_000
    batch_size: int = 16
    lr_decoder: float = 1e-5
    lr_discriminator: float = 1e-5
    betas: tuple[float, ...] = (0.5, 0.9)
    adversarial: float = 1.0
    feature: float = 3.0
    wave: float = 40.0
    mel: float = 15.0

    discriminators: int = 3
    d_channels: int = 32
    d_max_channels: int = 1024
    d_layers: int = 4
    d_first_stride: int = 1
    judged_samples: int = 0
    """Length of the stretch of each segment that is judged, elsewhere at each step; 0 takes all.
    The wave and mel losses hear all in any case."""
    bf16: bool = False

    workers: int = 0
    worker_timeout_s: float = 60.0
    """End the run where a worker gives no batch and does nothing for so long; 0 waits for ever."""
    shuffle_segments: int = 1024
    log_every: int = 50
    save_every: int = 500
    val_every: int = 500
    val_segments: int = 128
    sample_segments: int = 2

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level is {self.level!r}; expected one of {', '.join(LEVELS)}")
        least = {"seed": 0, "d_layers": 0, "workers": 0, "judged_samples": 0}
        for name, value in asdict(self).items():
            if isinstance(value, int) and not isinstance(value, bool):
                if value < least.get(name, 1):
                    raise ValueError(f"{name} is {value}; expected at least {least.get(name, 1)}")
            elif isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; expected a finite number, at least 0")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; expected two numbers of [0, 1)")

    @property
    def weights(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("adversarial", "feature", "wave", "mel")}
