"""The settings of a JukeBox training run."""

from __future__ import annotations

from dataclasses import dataclass

from model.codecs.jukebox.hparams import HParams, level_index
from model.codecs.training.config import TrainingConfig
from model.runtime.settings import setting


@dataclass(frozen=True)
class CodecConfig(TrainingConfig):
    """The settings of training a JukeBox VQ-VAE."""

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
    parallel: bool = True
    """Train the levels at the same time, each in its own process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for level in self.levels:
            level_index(level)
        hop = max(self.hparams.hop(level_index(level)) for level in self.levels)
        if self.crop_samples % hop or self.crop_samples <= 1024:
            raise ValueError(
                f"crop_samples is {self.crop_samples}; expected a multiple of {hop} above 1024"
            )

    @property
    def hparams(self) -> HParams:
        """The hyper-parameters of the network, with JukeBox's strides."""
        return HParams(width=self.width, depth=self.depth, l_bins=self.l_bins)
