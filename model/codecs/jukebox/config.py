"""The settings of a codec training run."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from model.codecs.jukebox.hparams import HParams, level_index
from model.runtime.settings import Settings, setting


@dataclass(frozen=True)
class CodecConfig(Settings):
    """The settings of codec training. Defaults are JukeBox's, if its VQ-VAE has the setting.

    JukeBox was trained with batches of 256 clips of 9 s. The batch here fits a small machine, and
    `revival_threshold` fits this batch: an entry used less often than this per batch is restarted.
    """

    levels: tuple[str, ...] = ("high", "low")
    width: int = setting(32, min=1)
    depth: int = setting(4, min=1)
    l_bins: int = setting(2048, min=1)
    init: str = ""
    """A codec whose weights are used to initialise ("jukebox-5b", "demo", a path); "" for random
    weights."""
    init_tokens: int = 0
    """The number of codes that the averages of the initial codebook count as; 0 means those of a
    batch, to which the averages converge."""

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

    parallel: bool = True
    """Train the levels at the same time, each in its own process."""
    threads: int = 0
    """CPU threads of each process; 0 uses torch's default."""
    device: str = "auto"
    bf16: bool = False
    seed: int = setting(0, below=1 << 32)
    log_every: int = setting(20, min=1)
    save_every: int = setting(500, min=1)
    name: str = "codec"
    note: str = ""
    """A description of the weights, repeated wherever the codec is used."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for level in self.levels:
            level_index(level)
        if not self.clip:
            raise ValueError("clip is 0, which stops all learning; expected a number above 0")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"device is {self.device!r}; expected auto, cpu, cuda or cuda:NUMBER")
        hop = max(self.hparams.hop(level_index(level)) for level in self.levels)
        if self.crop_samples % hop or self.crop_samples <= 1024:
            raise ValueError(
                f"crop_samples is {self.crop_samples}; expected a multiple of {hop} above 1024"
            )

    @property
    def hparams(self) -> HParams:
        """The hyper-parameters of the network, with JukeBox's strides."""
        return HParams(width=self.width, depth=self.depth, l_bins=self.l_bins)

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
