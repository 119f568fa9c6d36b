"""The settings of a training run: one dataclass, three sources (preset, YAML file, --set)."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from model.contract.dataset import short_repr
from model.contract.exit_codes import UsageError
from model.contract.segment import LEVELS

LOSSES = ("adversarial", "feature", "codebook", "latent", "wave", "mel")
"""The generator's losses by the names that weights and logs use: the paper's (eq. 2-7), and
`latent`, which only the reference's code has."""

NO_YAML = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What the YAML parser lets through of values that it cannot make, beside its own errors."""

CHOICES = {
    "arch": ("temporal", "paper"),
    "level": tuple(LEVELS),
    "reshape": ("time", "channel", "none"),
}

MAY_CHANGE_ON_RESUME = frozenset(
    "max_steps lr_generator lr_discriminator workers worker_timeout_s log_every checkpoint_every "
    "val_every val_segments sample_every sample_segments codec".split()
)
"""What may change when a run is resumed: it decides nothing of what the model is."""


def paper_weights() -> dict[str, float]:
    """Return the weights of eq. 8; the adversarial loss has weight 1 there, `latent` none."""
    weights = {"adversarial": 1.0, "feature": 3.0, "codebook": 15.0, "wave": 40.0, "mel": 15.0}
    return {**weights, "latent": 0.0}


@dataclass(frozen=True)
class Config:
    """Defaults are the paper's where the paper gives a value.

    Lengths, rates and widths of the data are not here: they come from dataset.json.
    """

    arch: str = "temporal"
    """`temporal` convolves along time; `paper` is the reference network, along the features."""

    level: str = "high"
    seed: int = 0
    window_s: float = 0.0
    """Refuse shards of another window length; 0 takes any."""

    codec: str = ""
    """What --codec says: demo, jukebox-5b or a path; empty takes the codec of the shards' codes."""

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

    channels: int = 512
    motion_channels: int = 256
    min_channels: int = 128
    """Of arch temporal, as the next three."""

    visual_channels: int = 256
    """0 hands the visual features on as they are."""

    genre_channels: int = 64
    dilations: tuple[int, ...] = (1, 3, 9, 27)

    discriminators: int = 3
    reshape: str = "time"
    """How latents reach the discriminators: one sequence time-major ("time"), channel-major
    ("channel", the reference code's order), or not reshaped ("none")."""
    d_channels: int = 32
    d_max_channels: int = 1024
    d_layers: int = 4
    d_first_stride: int = 0
    """Of the first layer, where most of the work on a CPU lies; 0 takes the reference's 1 for arch
    paper and 8 for arch temporal."""

    judge_latents: bool = False
    """Show the discriminators the encoder's latents before look-up, as the authors' code does."""

    weights: dict[str, float] = field(default_factory=paper_weights)
    unit_scale: bool = False
    """Divide latents by the codebook's deviation before the discriminators and the codebook loss,
    so that their weights mean the same for every codec."""
    audio_items: int = 0
    """Segments of a batch on which the wave and mel losses are computed; 0 takes all."""

    max_steps: int = 100_000
    batch_size: int = 16
    lr_generator: float = 1e-4
    lr_discriminator: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.9)
    bf16: bool = False
    """Run generator, discriminators and decoder in bfloat16 autocast; losses stay float32."""

    shuffle_segments: int = 1024
    workers: int = 0
    """Processes that read the data; 0 reads in the training process."""
    worker_timeout_s: float = 60.0
    """End the run where a worker gives no batch and does nothing for so long; 0 waits for ever."""

    log_every: int = 50
    checkpoint_every: int = 1000
    val_every: int = 1000
    val_segments: int = 128
    sample_every: int = 5000
    sample_segments: int = 2

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}"
                )
        if len(self.betas) != 2:
            raise ValueError(f"betas are two numbers, got {list(self.betas)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; expected numbers of [0, 1)")
        if min(self.dilations) < 1:
            raise ValueError(f"dilations are {list(self.dilations)}; expected at least 1 each")
        whole = ("channels", "min_channels", "motion_channels", "genre_channels", "max_steps",
                 "batch_size", "discriminators", "d_channels", "d_max_channels",
                 "shuffle_segments", "log_every", "checkpoint_every", "val_every", "val_segments",
                 "sample_every", "sample_segments")  # fmt: skip
        for name in whole:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("seed", "d_layers", "workers", "noise_channels", "audio_items",
                     "visual_channels", "d_first_stride"):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0")
        numbers = ("window_s", "worker_timeout_s", "sigma", "lr_generator", "lr_discriminator")
        rates = {name: getattr(self, name) for name in numbers}
        weights = {f"weights.{name}": weight for name, weight in self.weights.items()}
        for name, value in {**rates, **weights}.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; expected a finite number, at least 0")


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "code": {
        "arch": "paper",
        "use_genre": True,
        "linear_after_tanh": True,
        "normalise_inputs": False,
        "reshape": "channel",
        "judge_latents": True,
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


def load_config(preset: str, file: Path | None, settings: Iterable[str] = ()) -> Config:
    """Return the preset, overridden by the YAML `file`, overridden by `key=value` settings.

    Raises ValueError for an unknown key (with a guess) and for a value of the wrong type; of
    `settings` it is a UsageError.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; expected one of {', '.join(PRESETS)}")
    config = override(Config(), PRESETS[preset], f"preset {preset}")
    if file is not None:
        config = override(config, read_yaml(file), str(file))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected key=value")
        try:
            config = override(config, {key.strip(): _parse(text)}, f"--set {setting}")
        except ValueError as error:
            raise UsageError(str(error)) from None
    return config


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the settings of a YAML file, unchecked.

    Raises FileNotFoundError, and ValueError for a file that is no YAML of `key: value` lines.
    """
    import yaml

    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such configuration file") from None
    except NO_YAML as error:
        raise ValueError(f"{file}: not YAML ({type(error).__name__}: {error!s:.500})") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML ({error!s:.500})") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ValueError(f"{file}: expected `key: value` lines, got {type(raw).__name__}")
    return raw


def override(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """Return `config` with `values` in place; `weights` and `weights.NAME` set single ones.

    Raises ValueError, naming `source`, for an unknown key and for a value that does not fit.
    """
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ValueError(
                f"{source}: {short_repr(key)} is no config key; expected `key: value` lines"
            )
        if key == "weights" or key.startswith("weights."):
            named = value if key == "weights" else {key.removeprefix("weights."): value}
            if not isinstance(named, Mapping):
                raise ValueError(
                    f"{source}: weights is {short_repr(named)}; expected loss names and numbers"
                )
            weights = dict(changes.get("weights", config.weights))
            for name, weight in named.items():
                _known(name, LOSSES, "loss", source)
                weights[name] = _typed(f"weights.{name}", weight, 0.0, source)
            changes["weights"] = weights
        else:
            _known(key, [f.name for f in fields(Config)], "config key", source)
            changes[key] = _typed(key, value, getattr(config, key), source)
    try:
        return replace(config, **changes)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return plain values (lists for tuples): what checkpoints and YAML hold."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def _known(name: Any, names: Iterable[str], what: str, source: str) -> None:
    names = list(names)
    if name not in names:
        close = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
        guess = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
        raise ValueError(f"{source}: unknown {what} {short_repr(name)}{guess}")


def _parse(text: str) -> Any:
    """Read a --set value: YAML's scalars and lists, plus floats written like 1e-4."""
    import yaml

    try:
        return float(text) if "e" in text.lower() and text.strip()[:1] in "+-.0123456789" else (
            yaml.safe_load(text)
        )  # fmt: skip
    except (*NO_YAML, yaml.YAMLError):
        return text


def _typed(key: str, value: Any, like: Any, source: str) -> Any:
    """Return `value` as the type of `like`; nothing is rounded or guessed."""
    if isinstance(like, bool):
        fits = isinstance(value, bool)
    elif isinstance(like, int):
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    elif isinstance(like, float):
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
            value = _parse(value)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and abs(value) <= sys.float_info.max
        value = float(value) if fits else value
    elif isinstance(like, tuple):
        fits = isinstance(value, list | tuple) and len(value) > 0
        value = tuple(_typed(key, v, like[0], source) for v in value) if fits else value
    else:
        fits = isinstance(value, str)
    if not fits:
        kind = f"a list like {list(like)}" if isinstance(like, tuple) else type(like).__name__
        raise ValueError(f"{source}: {key} is {short_repr(value)}; expected {kind}")
    return value
