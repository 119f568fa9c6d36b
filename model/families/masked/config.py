"""The settings of a masked model's training, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.contract.segment import LEVELS
from model.families.averaged import AveragedConfig
from model.families.tokens.config import BOTH, check_count
from model.runtime.settings import Settings, setting

ALIGNED, VECTOR = "aligned", "vector"
IMPORTANCE, EVEN = "importance", "even"
NONE, STEP, SAMPLE = "none", "step", "sample"
INTRA, INTER = "intra", "inter"
CONFIDENT, RANDOM = "confident", "random"


def loss_weights() -> dict[str, float]:
    """Return the weights of the losses; that of the bound is 1 for each level."""
    return {"auxiliary": 5e-4, "contrast": 5e-5, "onset": 1.0, "genre": 0.1}


@dataclass(frozen=True)
class Config(AveragedConfig):
    """The settings of a masked model. Lists have one value for each level, or one for all."""

    level: str = "high"
    """One level of the codec, or `both`: high, and low conditioned on high."""
    condition: str = setting(ALIGNED, choices=(ALIGNED, VECTOR))
    """`aligned`: the dance at each code's moment; `vector`: one vector for the segment, from an
    encoder that stays as it was initialised, as in CDCD's code."""
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = True
    """Use the dance's genre as an input; in generation it may be missing."""

    chain_steps: int = setting(80, min=2)
    """T: at step t of the chain, each code is masked with probability t / T."""
    times: str = setting(EVEN, choices=(EVEN, IMPORTANCE))
    """How a batch's steps are drawn: spread over the chain, or by their losses, as in CDCD."""
    contrast: str = setting(NONE, choices=(NONE, STEP, SAMPLE))
    """CDCD's contrastive loss: `step` compares the chain's next step, `sample` complete codes."""
    negatives: str = setting(INTRA, choices=(INTRA, INTER))
    """What music counts as wrong: `intra`, the segment's own with its `chunks` in another order;
    `inter`, that of other songs in the batch."""
    negative_count: int = setting(10, min=1)
    chunks: int = setting(8, min=2)
    weights: dict[str, float] = field(default_factory=loss_weights, metadata={"item": "loss"})

    position_samples: int = setting(128, min=1)
    """Samples (22 050 Hz) of a position of the transformers; finer codes share a position."""
    width: tuple[int, ...] = setting((512, 384), min=2)
    layers: tuple[int, ...] = setting((12, 8), min=1)
    heads: tuple[int, ...] = setting((8, 6), min=1)
    code_width: int = setting(128, min=1)
    local_width: int = setting(512, min=1)
    """Width of the network that follows the transformer, for each code of a position."""
    local_layers: int = setting(2, min=0)
    reach: int = setting(8, min=1)
    """How many codes before and after its own that network sees directly."""
    condition_width: int = setting(256, min=1)
    motion_channels: int = setting(256, min=1)
    dilations: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32, 1, 4, 16), min=1)
    """Of the convolutions along the frames of motion."""

    dropout: float = setting(0.1, below=1)
    drop_all: float = setting(0.1, below=1)
    """Share of segments trained without any input, for guidance."""
    drop_each: float = setting(0.1, below=1)
    """Share of segments trained without one input, for each input."""
    wrong_codes: float = setting(0.05, below=1)
    """Share of the upper codes read that are replaced, as in generation not every code is right."""

    bound_draws: int = setting(8, min=1, may_change=True)
    """How many masks of each segment measure the bits per code."""
    val_sound_segments: int = setting(32, min=1, may_change=True)
    """How many of `val_segments` are also generated and scored as sound, which takes longer."""

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels of the codec, coarsest first."""
        return tuple(LEVELS) if self.level == BOTH else (self.level,)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "layers", "heads"):
            check_count(name, getattr(self, name), len(self.level_names))
        if self.contrast != NONE and self.negatives == INTER and self.batch_size < 2:
            raise ValueError(
                f"negatives inter are other segments of the batch, but batch_size is "
                f"{self.batch_size}; expected at least 2"
            )


@dataclass(frozen=True)
class Options(Settings):
    """How codes are drawn. Lists have one value for each level, or one for all."""

    steps: tuple[int, ...] = setting((64, 64), min=1)
    """Passes for a window whose codes are all masked; fewer codes take proportionally fewer."""
    order: str = setting(RANDOM, choices=(RANDOM, CONFIDENT))
    """Which codes a pass keeps: any, as in the chain, or those that the network is sure of."""
    guidance: tuple[float, ...] = setting((2.0, 1.0), below=100)
    """How strongly codes follow the dance: 1 as learnt, 0 not at all, 2 more than learnt."""
    temperature: tuple[float, ...] = (1.0, 1.0)
    """Below 1 likely codes become likelier; above 1 unlikely ones do."""
    top_p: tuple[float, ...] = (0.86, 0.86)
    """Draw among the likeliest codes that have this share of the probability."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.steps:
            if count > 10_000:
                raise ValueError(f"steps is {count}; expected at most 10000, such as 64")
        check_draws(self.temperature, self.top_p)


def check_draws(temperatures: tuple[float, ...], shares: tuple[float, ...]) -> None:
    """Raise ValueError if a temperature or a top_p cannot be drawn with."""
    for value in temperatures:
        if not 0 < value <= 10:
            raise ValueError(
                f"temperature is {value}; expected above 0, at most 10, such as 0.9; for the "
                "likeliest codes alone lower top_p"
            )
    for value in shares:
        if not 0 < value <= 1:
            raise ValueError(
                f"top_p is {value}; expected above 0, at most 1: 1 draws among all codes, 0.9 "
                "among the likeliest that have 90 % of the probability"
            )


PRESETS: dict[str, dict[str, Any]] = {
    "base": {"bf16": True, "batch_size": 64, "max_steps": 50_000},
    "tiny": {
        "width": (160, 128),
        "layers": (6, 4),
        "heads": (5, 4),
        "code_width": 64,
        "local_width": 160,
        "local_layers": 1,
        "condition_width": 96,
        "motion_channels": 96,
        "lr": 1e-3,
        "warmup_steps": 100,
        "max_steps": 4000,
        "batch_size": 8,
        "shuffle_segments": 256,
        "log_every": 50,
        "checkpoint_every": 200,
        "val_every": 500,
        "val_segments": 64,
        "val_sound_segments": 4,
        "sample_every": 2000,
        "bound_draws": 4,
    },
    "cdcd": {
        "width": (1024, 1024),
        "layers": (19, 19),
        "heads": (16, 16),
        "condition_width": 1024,
        "dropout": 0.0,
        "lr": 2e-4,
        "betas": (0.9, 0.96),
        "weight_decay": 0.045,
        "clip": 0.5,
        "average": 0.99,
        "average_every": 25,
        "batch_size": 12,
        "max_steps": 55_000,
        "bf16": True,
    },
}
"""`base` has the size for a GPU, `tiny` for two CPU cores; `cdcd` is CDCD's size and optimiser: 100
epochs of 6,632 segments in batches of 12."""
