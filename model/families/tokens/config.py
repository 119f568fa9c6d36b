"""The settings of a token model's training, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.contract.segment import LEVELS
from model.families.averaged import AveragedConfig
from model.runtime.settings import Settings, setting

BOTH = "both"
"""The name for the levels of D2M-GAN, high and low, trained together."""


def auxiliary_weights() -> dict[str, float]:
    """Return the weights of the losses of the heads; that of the codes is 1 for each level."""
    return {"onset": 1.0, "genre": 0.1}


@dataclass(frozen=True)
class Config(AveragedConfig):
    """The settings of a token model. Lists have one value for each level, or one for all."""

    level: str = BOTH
    """`both`: high, and low conditioned on high; or one level of the codec alone."""
    use_motion: bool = True
    use_visual: bool = True
    use_genre: bool = True
    """Use the dance's genre as an input; in generation it may be missing."""
    use_style: bool = True
    """Use a summary of the music's sound, for `model generate --style`; else it is unknown."""

    position_samples: int = setting(128, min=1)
    """Samples (22 050 Hz) of a position of the transformers; finer codes share a position."""
    width: tuple[int, ...] = setting((512, 384), min=2)
    layers: tuple[int, ...] = setting((12, 8), min=1)
    heads: tuple[int, ...] = setting((8, 6), min=1)
    code_width: int = setting(128, min=1)
    local_width: int = setting(512, min=1)
    """Width of the network that draws the codes of a position one after another."""
    local_layers: int = setting(2, min=0)
    reach: int = setting(8, min=1)
    """How many of the last codes that network sees directly."""
    condition_width: int = setting(256, min=1)
    motion_channels: int = setting(256, min=1)
    dilations: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32, 1, 4, 16), min=1)
    """Of the convolutions along the frames of motion."""

    dropout: float = setting(0.1, below=1)
    drop_all: float = setting(0.1, below=1)
    """Share of segments trained without any input, for guidance."""
    drop_each: float = setting(0.1, below=1)
    """Share of segments trained without one input, for each input."""
    drop_style: float = setting(0.5, below=1)
    """Share of segments trained without their style."""
    music: str = setting("", may_change=True)
    """A folder of audio, or of shards: music without dances to learn from as well (`--music`)."""
    music_share: float = setting(0.5, below=1)
    """Share of a step's segments that are music without dances, if there is any; they join the
    `batch_size` segments with dances."""
    hear_onsets: float = setting(0.5, below=1)
    """Share of the music without dances trained with its own onsets in place of a dance's."""
    wrong_codes: float = setting(0.05, below=1)
    """Share of the codes read that are replaced, as in generation not every code is right."""
    weights: dict[str, float] = field(default_factory=auxiliary_weights, metadata={"item": "loss"})

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


def check_count(name: str, values: tuple[Any, ...], levels: int) -> None:
    """Raise ValueError if a list has neither one value nor one for each level."""
    if len(values) not in (1, levels) and levels > 1:
        raise ValueError(
            f"{name} are {list(values)}; expected one value, or one for each of {levels} levels"
        )


@dataclass(frozen=True)
class Options(Settings):
    """How codes are drawn. Lists have one value for each level, or one for all."""

    guidance: tuple[float, ...] = setting((2.0, 1.0), below=100)
    """How strongly codes follow the dance: 1 as learnt, 0 not at all, 2 more than learnt."""
    temperature: tuple[float, ...] = (0.95, 0.95)
    """Below 1 likely codes become likelier; above 1 unlikely ones do."""
    top_p: tuple[float, ...] = (0.9, 0.9)
    """Draw among the likeliest codes that have this share of the probability."""

    style: str = ""
    """A piece of music as a file (`--style`): sound like this, dance like the video."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for value in self.temperature:
            if not 0 < value <= 10:
                raise ValueError(
                    f"temperature is {value}; expected above 0, at most 10, such as 0.9; for the "
                    "likeliest codes alone lower top_p"
                )
        for value in self.top_p:
            if not 0 < value <= 1:
                raise ValueError(
                    f"top_p is {value}; expected above 0, at most 1: 1 draws among all codes, 0.9 "
                    "among the likeliest that have 90 % of the probability"
                )


PRESETS: dict[str, dict[str, Any]] = {
    "base": {"bf16": True, "batch_size": 64, "max_steps": 50_000},
    "tiny": {
        "width": (192, 160),
        "layers": (4, 3),
        "heads": (6, 5),
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
        "val_segments": 128,
        "val_sound_segments": 8,
        "sample_every": 2000,
    },
}
"""`base` has the size for a GPU; `tiny` trains both levels on two CPU cores within two hours."""
