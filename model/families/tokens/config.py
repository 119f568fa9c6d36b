"""The settings of a token model's training, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from model.families.code_models import BASE, TINY, CodeConfig, DrawOptions
from model.runtime.settings import setting


def auxiliary_weights() -> dict[str, float]:
    """Return the weights of the losses of the heads; that of the codes is 1 for each level."""
    return {"onset": 1.0, "genre": 0.1}


@dataclass(frozen=True)
class Config(CodeConfig):
    """The settings of a token model. Lists have one value for each level, or one for all."""

    use_style: bool = True
    """Use a summary of the music's sound, for `model generate --style`; else it is unknown."""

    drop_style: float = setting(0.5, below=1)
    """Share of segments trained without their style."""
    music: str = setting("", may_change=True)
    """A folder of audio, or of shards: music without dances to learn from as well (`--music`)."""
    music_share: float = setting(0.5, below=1)
    """Share of a step's segments that are music without dances, if there is any; they join the
    `batch_size` segments with dances."""
    hear_onsets: float = setting(0.5, below=1)
    """Share of the music without dances trained with its own onsets in place of a dance's."""
    weights: dict[str, float] = field(default_factory=auxiliary_weights, metadata={"item": "loss"})


@dataclass(frozen=True)
class Options(DrawOptions):
    """How codes are drawn. Lists have one value for each level, or one for all."""

    temperature: tuple[float, ...] = (0.95, 0.95)
    top_p: tuple[float, ...] = (0.9, 0.9)
    style: str = ""
    """A piece of music as a file (`--style`): sound like this, dance like the video."""


PRESETS: dict[str, dict[str, Any]] = {
    "base": BASE,
    "tiny": {
        **TINY,
        "width": (192, 160),
        "layers": (4, 3),
        "heads": (6, 5),
        "val_segments": 128,
        "val_sound_segments": 8,
    },
}
"""`base` has the size for a GPU; `tiny` trains both levels on two CPU cores within two hours."""
