"""The settings of both ways to play by Dance2Music, their presets, and the options of playing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.contract.precision import FLOAT32
from model.families.dance2music.search import BEAM, DELAY_S
from model.families.notes.base import NoteConfig
from model.families.notes.player import NoteOptions
from model.runtime.settings import setting


@dataclass(frozen=True)
class Config(NoteConfig):
    """The settings of the search. Nothing is learnt: one step writes the checkpoint."""

    max_steps: int = setting(1, min=1, may_change=True)


@dataclass(frozen=True)
class OnlineConfig(NoteConfig):
    """The settings of the network. The defaults are the sizes of the original."""

    channels: tuple[int, ...] = setting((64, 128, 128, 256, 512, 32), min=1, length=6)
    """Of the six convolutions; the last is the width of the dance's vector."""
    embedding: int = setting(16, min=1)
    hidden: int = setting(32, min=1)
    """Width of the LSTM in each direction."""
    mlp: tuple[int, ...] = setting((512, 256, 128), min=1)
    dropout: float = setting(0.5, below=1)
    beam: int = setting(BEAM, min=1)
    """Sequences that the search keeps whose notes are learnt."""

    lr: float = setting(2e-4, may_change=True)
    betas: tuple[float, ...] = setting((0.9, 0.999), below=1, length=2)
    weight_decay: float = 0.0


@dataclass(frozen=True)
class OnlineOptions(NoteOptions):
    """How the notes of the network are played."""

    delay_s: float = DELAY_S
    """How long after the first pose the music begins, in seconds; the original waits a note."""
    program: int = setting(0, below=128)
    """The instrument of General MIDI, counted from 0, such as 0, a piano."""


@dataclass(frozen=True)
class Options(OnlineOptions):
    """How notes are found, and played."""

    beam: int = setting(BEAM, min=1)
    """How many sequences the search keeps; 1 decides each note at once."""


SEARCH_PRESETS: dict[str, dict[str, Any]] = {"full": {}, "tiny": {"precision": FLOAT32}}
"""The search has one size; both names are there because the other families have them."""
PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "tiny": {
        "precision": FLOAT32,
        "channels": (8, 16, 16, 32, 64, 32),
        "mlp": (64, 64, 32),
        "lr": 1e-3,
        "warmup_steps": 100,
        "max_steps": 8000,
        "batch_size": 64,
        "shuffle_segments": 256,
        "log_every": 100,
        "checkpoint_every": 500,
        "val_every": 1000,
        "sample_every": 8000,
    },
}
"""`full` has the original's sizes; `tiny` trains in five minutes on two CPU cores."""
