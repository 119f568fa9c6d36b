"""The settings of a masked model's training, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.contract.precision import BF16
from model.families.code_models import BASE, TINY, CodeConfig, DrawOptions
from model.runtime.settings import setting

ALIGNED, VECTOR = "aligned", "vector"
IMPORTANCE, EVEN = "importance", "even"
NONE, STEP, SAMPLE = "none", "step", "sample"
INTRA, INTER = "intra", "inter"
CONFIDENT, RANDOM = "confident", "random"


def loss_weights() -> dict[str, float]:
    """Return the weights of the losses; that of the bound is 1 for each level."""
    return {"auxiliary": 5e-4, "contrast": 5e-5, "onset": 1.0, "genre": 0.1}


@dataclass(frozen=True)
class Config(CodeConfig):
    """The settings of a masked model. Lists have one value for each level, or one for all."""

    level: str = "high"
    """One level of the codec, or `both`: high, and low conditioned on high."""
    condition: str = setting(ALIGNED, choices=(ALIGNED, VECTOR))
    """`aligned`: the dance at each code's moment; `vector`: one vector for the segment, from an
    encoder that stays as it was initialised, as in CDCD's code."""
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

    bound_draws: int = setting(8, min=1, may_change=True)
    """How many masks of each segment measure the bits per code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast != NONE and self.negatives == INTER and self.batch_size < 2:
            raise ValueError(
                f"negatives inter are other segments of the batch, but batch_size is "
                f"{self.batch_size}; expected at least 2"
            )


@dataclass(frozen=True)
class Options(DrawOptions):
    """How codes are drawn. Lists have one value for each level, or one for all."""

    steps: tuple[int, ...] = setting((64, 64), min=1)
    """Passes for a window whose codes are all masked; fewer codes take proportionally fewer."""
    order: str = setting(RANDOM, choices=(RANDOM, CONFIDENT))
    """Which codes a pass keeps: any, as in the chain, or those that the network is sure of."""
    top_p: tuple[float, ...] = (0.86, 0.86)

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.steps:
            if count > 10_000:
                raise ValueError(f"steps is {count}; expected at most 10000, such as 64")


PRESETS: dict[str, dict[str, Any]] = {
    "base": BASE,
    "tiny": {
        **TINY,
        "width": (160, 128),
        "layers": (6, 4),
        "heads": (5, 4),
        "val_segments": 64,
        "val_sound_segments": 4,
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
        "precision": BF16,
    },
}
"""`base` has the size for a GPU, `tiny` for two CPU cores; `cdcd` is CDCD's size and optimiser: 100
epochs of 6,632 segments in batches of 12."""
