"""The settings of a D2M-GAN training run, and the presets that they begin from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.runtime.settings import load, may_change_on_resume, setting
from model.training.config import RunConfig

LOSSES = ("adversarial", "feature", "codebook", "latent", "wave", "mel")
"""The generator's losses by the names that weights and logs use: the paper's (eq. 2-7), and
`latent`, which only the reference's code has."""


def paper_weights() -> dict[str, float]:
    """Return the weights of eq. 8; the adversarial loss has weight 1 there, `latent` none."""
    weights = {"adversarial": 1.0, "feature": 3.0, "codebook": 15.0, "wave": 40.0, "mel": 15.0}
    return {**weights, "latent": 0.0}


@dataclass(frozen=True)
class Config(RunConfig):
    """Defaults are the paper's where the paper gives a value.

    Lengths, rates and widths of the data are not here: they come from dataset.json.
    """

    arch: str = setting("temporal", choices=("temporal", "paper"))
    """`temporal` convolves along time; `paper` is the reference network, along the features."""

    level: str = setting("high", choices=("high", "low"))
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = False
    """Give the generator the dance's genre as a label (the reference's code does)."""

    normalise_inputs: bool = True
    """Give each input feature mean 0 and deviation 1, measured on training segments."""
    noise_channels: int = 0
    """Channels of white noise beside the features; 0 gives one output per video, as the paper."""

    sigma: float = 100.0
    """The bound of the generated latents (the paper's scale after tanh); 0 takes 1.25 times the
    codebook's largest entry."""
    linear_after_tanh: bool = False
    """Of arch paper at the low level: the code's order; its latents have no bound then."""

    channels: int = setting(512, min=1)
    motion_channels: int = setting(256, min=1)
    min_channels: int = setting(128, min=1)
    """Of arch temporal, as the next three."""

    visual_channels: int = 256
    """0 hands the visual features on as they are."""

    genre_channels: int = setting(64, min=1)
    dilations: tuple[int, ...] = setting((1, 3, 9, 27), min=1)

    discriminators: int = setting(3, min=1)
    reshape: str = setting("time", choices=("time", "channel", "none"))
    """How latents reach the discriminators: one sequence time-major ("time"), channel-major
    ("channel", the reference code's order), or not reshaped ("none")."""
    d_channels: int = setting(32, min=1)
    d_max_channels: int = setting(1024, min=1)
    d_layers: int = 4
    d_first_stride: int = 0
    """Of the first layer, where most of the work on a CPU lies; 0 takes the reference's 1 for arch
    paper and 8 for arch temporal."""

    discriminate_latents: bool = setting(False, earlier_names=("judge_latents",))
    """Show the discriminators the encoder's latents before look-up, as the authors' code does."""

    weights: dict[str, float] = field(default_factory=paper_weights, metadata={"item": "loss"})
    unit_scale: bool = False
    """Divide latents by the codebook's deviation before the discriminators and the codebook loss,
    so that their weights mean the same for every codec."""
    audio_items: int = 0
    """Segments of a batch on which the wave and mel losses are computed; 0 takes all."""

    lr_generator: float = setting(1e-4, may_change=True)
    lr_discriminator: float = setting(1e-4, may_change=True)
    betas: tuple[float, ...] = setting((0.5, 0.9), below=1, length=2)
    bf16: bool = False
    """Run generator, discriminators and decoder in bfloat16 autocast; losses stay float32."""


MAY_CHANGE_ON_RESUME = may_change_on_resume(Config)
"""What may change when a run is resumed: it decides nothing of what the model is."""

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "code": {
        "arch": "paper",
        "use_genre": True,
        "linear_after_tanh": True,
        "normalise_inputs": False,
        "reshape": "channel",
        "discriminate_latents": True,
        # 2.4: 3, times 4 over 5 layers in its code. Its wave and mel losses have no gradient.
        "weights": {"feature": 2.4, "codebook": 8.0, "latent": 5.0, "wave": 0.0, "mel": 0.0},
    },
    "tiny": {
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
"""`paper` is the full size; `code` does what the authors' published code does where that differs
from the paper, so that released weights can be loaded and trained on; `tiny` shows the whole loop
on a CPU within minutes.

`tiny` weighs all losses but the codebook's less than the paper: a network this small otherwise
follows the noise of a small adversary and of one segment's sound instead of learning the codes.
"""


def load_config(
    preset: str = "paper", file: Path | None = None, settings: Iterable[str] = ()
) -> Config:
    """Return the preset, overridden by the YAML `file`, overridden by `key=value` settings.

    Raises ValueError for an unknown key (with a guess) and for a value of the wrong type; of
    `settings` it is a UsageError.
    """
    return load(Config(), settings, file, preset, PRESETS)
