"""The settings of textual inversion, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.contract.precision import FLOAT32
from model.families.averaged import AveragedConfig
from model.families.inversion.base_model import SMALL
from model.families.inversion.prompt import PROMPT
from model.runtime.settings import Settings, setting


@dataclass(frozen=True)
class Config(AveragedConfig):
    """The settings of a run; the defaults are the paper's, of its MusicGen branch."""

    base: str = SMALL
    """As --base: the frozen text-to-music model, a folder or its name in the Hugging Face cache."""
    base_id: str = ""
    """A hash of its weights, which a new run fills in."""
    prompt: str = PROMPT
    """The prompt of training: `*` is the rhythm, `@` the genre."""
    use_genre: bool = True
    """Learn a word for the genre; without, the rhythm's word also carries the genre."""

    width: int = setting(768, min=1)
    """Width inside the two encoders."""
    rhythm_words: int = setting(1, min=1)
    """Words that `*` becomes. The paper: 1, which carries all times of the beats."""
    hear_beats: float = setting(0.0, min=0)
    """Weight of a loss that shows the rhythm's word the beats of the music, in the base's words for
    times, such as "240ms"; for a base that has them. The paper: 0, none."""
    true_sectors: bool = False
    """Sort directions into contiguous sectors, as the paper describes; its code takes the angle
    modulo 10."""
    drop_words: float = setting(0.0, below=1)
    """Share of segments trained without any words. The paper: 0, since nothing that is trained
    makes the music without words."""

    lr: float = setting(1e-4, may_change=True)
    warmup_steps: int = setting(3000, min=1)
    betas: tuple[float, ...] = setting((0.9, 0.95), below=1, length=2)
    weight_decay: float = 0.01
    average: float = setting(0.0, below=1)
    """The decay of the moving average of the weights. The paper: 0, none."""
    batch_size: int = setting(1, min=1)
    max_steps: int = setting(30_000, min=1, may_change=True)
    val_sound_segments: int = setting(8, min=1, may_change=True)
    """How many of `val_segments` are also generated and scored as sound, which takes longer."""


@dataclass(frozen=True)
class Options(Settings):
    """How codes are drawn."""

    prompt: str = ""
    """As --prompt: your words, in which `*` is the dance's rhythm and `@` its genre, such as "a @
    music with * as the rhythm, funky brass"; "": the prompt of training."""
    guidance: float = setting(3.0, below=100)
    """How strongly the music follows the words: 1 as learnt, 3 more than learnt (the paper)."""
    top_k: int = setting(250, min=0)
    """Draw among the likeliest so many codes; 0: among all."""
    temperature: float = setting(1.0, max=10)
    """Below 1 likely codes become likelier; above 1 unlikely ones do."""
    overlap: float = setting(0.5, below=1)
    """Share of a window that a longer piece keeps from the window before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(
                f"temperature is {self.temperature}; expected above 0, such as 0.9; for the "
                "likeliest codes alone set top_k to 1"
            )


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {
        "precision": FLOAT32,
        "width": 256,
        "lr": 1e-3,
        "warmup_steps": 50,
        "max_steps": 1500,
        "batch_size": 8,
        "shuffle_segments": 256,
        "log_every": 50,
        "checkpoint_every": 200,
        "val_every": 500,
        "val_segments": 64,
        "sample_every": 1500,
    },
}
"""`paper` has the published sizes and steps; `tiny` is for small models on two CPU cores."""
