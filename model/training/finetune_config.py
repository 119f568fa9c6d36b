"""The settings for fine-tuning a codec's decoder."""

from __future__ import annotations

from dataclasses import dataclass

from model.contract.segment import LEVELS
from model.runtime.precision import Precise, precision
from model.runtime.settings import Settings, setting


@dataclass(frozen=True)
class SynthesizerConfig(Precise, Settings):
    """The settings of fine-tuning. Defaults are the paper's values, if it gives one.

    It gives learning rate, betas, number of scales, widths and loss weights.
    """

    level: str = setting("high", choices=LEVELS)
    seed: int = 0
    steps: int = setting(10_000, min=1, may_change=True)
    batch_size: int = setting(16, min=1)
    lr_decoder: float = setting(1e-5, may_change=True)
    lr_discriminator: float = setting(1e-5, may_change=True)
    betas: tuple[float, ...] = setting((0.5, 0.9), below=1, length=2)
    adversarial: float = 1.0
    feature: float = 3.0
    wave: float = 40.0
    mel: float = 15.0

    discriminators: int = setting(3, min=1)
    d_channels: int = setting(32, min=1)
    d_max_channels: int = setting(1024, min=1)
    d_layers: int = 4
    d_first_stride: int = setting(1, min=1)
    judged_samples: int = 0
    """Length of the part of each segment that the discriminators get, at a random position in each
    step; 0 means the complete segment. The wave and mel losses always use the complete segment."""
    precision: str = precision()

    workers: int = setting(0, may_change=True)
    worker_timeout_s: float = setting(60.0, may_change=True)
    """Stop the run with an error if a worker sends no batch and is idle for this time; 0 waits
    forever."""
    shuffle_segments: int = setting(1024, min=1)
    log_every: int = setting(50, min=1, may_change=True)
    save_every: int = setting(500, min=1, may_change=True)
    val_every: int = setting(500, min=1, may_change=True)
    val_segments: int = setting(128, min=1, may_change=True)
    sample_segments: int = setting(2, min=1, may_change=True)

    @property
    def weights(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("adversarial", "feature", "wave", "mel")}
