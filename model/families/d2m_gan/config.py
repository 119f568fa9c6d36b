"""The settings of a D2M-GAN training run, and their presets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.contract.precision import FLOAT32
from model.runtime.precision import Precise, precision
from model.runtime.settings import load, may_change_on_resume, setting
from model.training.config import RunConfig

LOSSES = ("adversarial", "feature", "codebook", "latent", "wave", "mel")
"""Names of the generator's losses in weights and logs: those of the paper (eq. 2-7), and `latent`,
which only the authors' code has."""


def paper_weights() -> dict[str, float]:
    """Return the loss weights of eq. 8, where the adversarial loss has weight 1; `latent` has 0."""
    weights = {"adversarial": 1.0, "feature": 3.0, "codebook": 15.0, "wave": 40.0, "mel": 15.0}
    return {**weights, "latent": 0.0}


@dataclass(frozen=True)
class Config(Precise, RunConfig):
    """The settings of D2M-GAN. Defaults are the paper's values, if the paper gives one.

    Lengths, rates and widths of the data are not settings: they come from dataset.json.
    """

    arch: str = setting("temporal", choices=("temporal", "paper"))
    """`temporal` convolves along time. `paper` is the authors' network, which convolves along
    features."""

    level: str = setting("high", choices=("high", "low"))
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = False
    """Use the dance's genre as an input of the generator, as the authors' code does."""

    normalise_inputs: bool = True
    """Normalise each input feature to mean 0 and standard deviation 1 on training segments."""
    noise_channels: int = 0
    """Channels of white noise beside the features. With 0, as in the paper, a video always gives
    the same output."""

    sigma: float = 100.0
    """The bound of the generated latents (the paper's factor after tanh); 0 means 1.25 times the
    codebook's largest absolute value."""
    linear_after_tanh: bool = False
    """For arch paper at the low level: use the order of the authors' code; its latents then have no
    bound."""

    channels: int = setting(512, min=1)
    motion_channels: int = setting(256, min=1)
    min_channels: int = setting(128, min=1)
    """For arch temporal, as are the next three settings."""

    visual_channels: int = 256
    """0 passes the visual features on unchanged."""

    genre_channels: int = setting(64, min=1)
    dilations: tuple[int, ...] = setting((1, 3, 9, 27), min=1)

    discriminators: int = setting(3, min=1)
    reshape: str = setting("time", choices=("time", "channel", "none"))
    """The layout of latents for the discriminators: one sequence, time-major ("time") or
    channel-major ("channel", as in the authors' code), or not reshaped ("none")."""
    d_channels: int = setting(32, min=1)
    d_max_channels: int = setting(1024, min=1)
    d_layers: int = 4
    d_first_stride: int = 0
    """Stride of the first layer, which takes most of the time on a CPU; 0 means 1 (as in the
    authors' code) for arch paper and 8 for arch temporal."""

    discriminate_latents: bool = setting(False, earlier_names=("judge_latents",))
    """Give the discriminators the encoder's latents before quantisation, as the authors' code does,
    not the codebook entries."""

    weights: dict[str, float] = field(default_factory=paper_weights, metadata={"item": "loss"})
    unit_scale: bool = False
    """Divide latents by the codebook's standard deviation before the discriminators and the
    codebook loss, so that their weights have the same meaning for every codec."""
    audio_items: int = 0
    """Number of segments of a batch for which wave and mel losses are computed; 0 means all."""

    lr_generator: float = setting(1e-4, may_change=True)
    lr_discriminator: float = setting(1e-4, may_change=True)
    betas: tuple[float, ...] = setting((0.5, 0.9), below=1, length=2)
    precision: str = precision()


MAY_CHANGE_ON_RESUME = may_change_on_resume(Config)
"""Settings that may differ when a run is resumed, because they do not change the model."""

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "code": {
        "arch": "paper",
        "use_genre": True,
        "linear_after_tanh": True,
        "normalise_inputs": False,
        "reshape": "channel",
        "discriminate_latents": True,
        # 2.4 = 3 * 4 / 5, from the layers in the authors' code. Its wave and mel losses have no
        # gradient.
        "weights": {"feature": 2.4, "codebook": 8.0, "latent": 5.0, "wave": 0.0, "mel": 0.0},
    },
    "tiny": {
        "precision": FLOAT32,
        "sigma": 0.0,
        "channels": 64,
        "min_channels": 32,
        "motion_channels": 32,
        "visual_channels": 32,
        "discriminators": 3,
        "d_channels": 4,
        "d_max_channels": 32,
        "d_layers": 3,
        "d_first_stride": 4,
        "unit_scale": True,
        "weights": {"adversarial": 0.1, "feature": 1.0, "wave": 2.0, "mel": 0.5},
        "audio_items": 1,
        "max_steps": 600,
        "batch_size": 8,
        "lr_generator": 1e-3,
        "lr_discriminator": 2e-4,
        "shuffle_segments": 64,
        "log_every": 20,
        "checkpoint_every": 200,
        "val_every": 200,
        "val_segments": 16,
        "sample_every": 200,
    },
}
"""`paper` has the full size. `code` follows the authors' published code where that differs from the
paper, so that the released weights can be loaded and trained further. `tiny` shows the complete
training on a CPU within minutes.

In `tiny`, all losses except the codebook loss have smaller weights than in the paper. Otherwise
such a small network would follow the noise of small discriminators and of a single segment's audio,
and not learn the codes.
"""


def load_config(
    preset: str = "paper", file: Path | None = None, settings: Iterable[str] = ()
) -> Config:
    """Return the preset, overridden by the YAML `file`, then by `key=value` settings.

    Raises ValueError for an unknown key (with a suggestion) and for an invalid value; for errors in
    `settings`, its subclass UsageError.
    """
    return load(Config(), settings, file, preset, PRESETS)
