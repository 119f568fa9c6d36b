"""The settings of CMT, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.contract.precision import FLOAT32
from model.families.cmt.words import ATTRIBUTES
from model.families.notes.base import NoteConfig
from model.families.notes.player import NoteOptions
from model.runtime.settings import setting


@dataclass(frozen=True)
class Config(NoteConfig):
    """The settings of CMT."""

    embeddings: tuple[int, ...] = setting((64, 32, 64, 512, 128, 32, 64), length=len(ATTRIBUTES))
    """The widths of the embeddings of the attributes, in the order of `words.ATTRIBUTES`."""
    p_beat_width: int = setting(256, min=1)
    width: int = setting(512, min=2)
    layers: int = setting(12, min=1)
    heads: int = setting(8, min=1)
    wide: int = setting(2048, min=1)
    """The width inside the feed-forward networks."""
    dropout: float = setting(0.1, below=1)
    words: int = setting(512, min=16)
    """The most words of a piece in a step, and those that generation remembers."""
    transpose: int = setting(5, below=12)
    """Music is transposed by up to so many semitones, down or up, in training."""
    drop_instruments: float = setting(0.2, below=1)
    """The share of pieces from which some instruments are left out in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of 2 * heads ({self.heads})")


@dataclass(frozen=True)
class Options(NoteOptions):
    """How words are drawn."""

    instruments: str = setting("all", choices=("all", "song", "one"))
    """Who plays: all five, as published; those of a random training song; or the most frequent one
    of piano, guitar and strings."""
    control: float = setting(0.7, max=1)
    """The share of bars that get the dance's density; the others draw their own."""
    visual_beats: bool = True
    """Whether notes must begin at the dancer's visual beats; the drums play bass and snare drum."""
    accent: float = setting(0.8, max=1)
    """How far visual beats stand out: with 0 they are as loud as other notes, with 1 they have full
    velocity, and all others half of theirs."""
    temperature: float = setting(0.8, min=0.01)
    top_p: float = setting(0.9, min=0.01, max=1)
    beat_temperature: float = setting(0.8, min=0.01)
    beat_top_p: float = setting(1.0, min=0.01, max=1)
    duration_temperature: float = setting(1.0, min=0.01)


PRESETS: dict[str, dict[str, Any]] = {
    "full": {"lr": 1e-4, "clip": 3.0, "batch_size": 8},
    "tiny": {
        "precision": FLOAT32,
        "embeddings": (16, 8, 16, 64, 32, 8, 16),
        "p_beat_width": 32,
        "width": 128,
        "layers": 4,
        "heads": 4,
        "wide": 512,
        "words": 256,
        "lr": 1e-3,
        "warmup_steps": 100,
        "batch_size": 8,
        "max_steps": 1650,
        "average": 0.99,
    },
}
"""`full` has the published size, 38.9 M parameters; `tiny`, 0.88 M, trains on two CPU cores in
ten to fifteen minutes."""
