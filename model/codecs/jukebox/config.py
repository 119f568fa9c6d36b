"""The settings of a codec training run."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import TypeVar

from model.codecs.jukebox.hparams import HParams, level_index
from model.contract.exit_codes import UsageError

C = TypeVar("C")

MIN_VALUES = {
    **dict.fromkeys(("width", "depth", "l_bins", "steps", "batch", "log_every", "save_every"), 1),
    **dict.fromkeys(("init_tokens", "warmup_steps", "decay_steps", "threads", "seed"), 0),
}
SEEDS = 1 << 32


@dataclass(frozen=True)
class LossWeights:
    """The released VQ-VAE's; its `spectral` loss weighs nothing."""

    commit: float = 0.02
    spectral: float = 0.0
    multispectral: float = 1.0
    log_spectral: float = 0.0


@dataclass(frozen=True)
class CodecConfig:
    """Defaults are JukeBox's where the hyper-parameters of its VQ-VAE give a value.

    JukeBox trained on 256 clips of 9 s at once; the batch here fits a small machine, and
    `revival_threshold` goes with it: an entry used less often than this per batch is restarted.
    """

    levels: tuple[str, ...] = ("high", "low")
    width: int = 32
    depth: int = 4
    l_bins: int = 2048
    init: str = ""
    """A codec to go on from ("jukebox-5b", "demo", a path) instead of random weights."""
    init_tokens: int = 0
    """How many codes its codebook's averages count for; 0 takes a batch's, where they settle."""

    steps: int = 20_000
    batch: int = 8
    crop_samples: int = 16_384
    lr: float = 3e-4
    warmup_steps: int = 100
    decay_steps: int = 0
    """Let the learning rate fall to zero over the last so many steps."""
    clip: float = 1.0
    commit: float = 0.02
    spectral: float = 0.0
    multispectral: float = 1.0
    log_spectral: float = 0.0
    """Not JukeBox's: a loss on log magnitudes, for quiet and high sounds in short trainings."""
    l_mu: float = 0.99
    revival_threshold: float = 1.0

    parallel: bool = True
    """Train the levels at once, each in a process of its own."""
    threads: int = 0
    """CPU threads of each process; 0 leaves torch's choice."""
    device: str = "auto"
    bf16: bool = False
    seed: int = 0
    log_every: int = 20
    save_every: int = 500
    name: str = "codec"
    note: str = ""
    """What the weights are, repeated wherever the codec is used."""

    def __post_init__(self) -> None:
        for level in self.levels:
            level_index(level)
        for name, least in MIN_VALUES.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for name, value in asdict(self).items():
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; expected a finite number, at least 0")
        if not self.clip:
            raise ValueError("clip is 0, which stops all learning; expected a number above 0")
        if self.l_mu >= 1:
            raise ValueError(f"l_mu is {self.l_mu}; expected a number of [0, 1)")
        if self.seed >= SEEDS:
            raise ValueError(f"seed is {self.seed}; expected less than {SEEDS}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"device is {self.device!r}; expected auto, cpu, cuda or cuda:NUMBER")
        hop = max(self.hparams.hop(level_index(level)) for level in self.levels)
        if self.crop_samples % hop or self.crop_samples <= 1024:
            raise ValueError(f"crop_samples is {self.crop_samples}; expected k * {hop} above 1024")

    @property
    def hparams(self) -> HParams:
        """The network's sizes, with JukeBox's strides."""
        return HParams(width=self.width, depth=self.depth, l_bins=self.l_bins)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, constant, linear decay."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = min(1.0, (self.steps - step) / self.decay_steps) if self.decay_steps else 1.0
        return self.lr * rise * fall

    @property
    def loss(self) -> LossWeights:
        return LossWeights(self.commit, self.spectral, self.multispectral, self.log_spectral)

    @property
    def average_mu(self) -> float:
        """Memory of the weights' moving average; JukeBox's rule for one process."""
        return 1 - self.batch / 8 / 1000

    def dumps(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def override(config: C, settings: Iterable[str]) -> C:
    """Return a dataclass of plain values changed by `key=value` texts.

    Raises UsageError for an unknown key, with a guess, and for a value that does not fit.
    """
    changes = {}
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected key=value")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            guess = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise UsageError(f"--set {setting}: unknown key; {guess}")
        changes[key] = _typed(setting, text, known[key])
    try:
        return replace(config, **changes)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from None


def _typed(setting: str, text: str, like: object) -> object:
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise UsageError(f"--set {setting}: expected true or false")
        return text == "true"
    if isinstance(like, tuple):
        return tuple(_typed(setting, part, like[0]) for part in text.split(","))
    try:
        return type(like)(text)
    except ValueError:
        raise UsageError(f"--set {setting}: expected {type(like).__name__}") from None
