"""The settings of Foley Music's training, their presets, and the options of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.contract.notes import TRACKS
from model.contract.precision import FLOAT32
from model.families.notes.base import NoteConfig
from model.families.notes.player import NoteOptions
from model.runtime.settings import setting

PITCHED = "pitched"
"""Stands for all tracks but the drums."""


@dataclass(frozen=True)
class Config(NoteConfig):
    """The settings of Foley Music. The sizes of the defaults are those of the original."""

    tracks: tuple[str, ...] = setting(("chords", "lead"), choices=(*TRACKS[1:], PITCHED))
    """The tracks whose notes are learnt, as those of one instrument; `pitched`: all but drums."""
    clip_s: float = setting(6.0, min=0.5)
    """Seconds of dance and music that are learnt, and generated, at once."""

    graph_widths: tuple[int, ...] = setting((64,) * 4 + (128,) * 3 + (256,) * 3, min=1)
    graph_strides: tuple[int, ...] = setting((1, 1, 1, 1, 2, 1, 1, 2, 1, 1), min=1)
    """Of the blocks of the graph network, along time."""
    width: int = setting(512, min=2)
    layers: int = setting(6, min=1)
    heads: int = setting(8, min=1)
    inner: int = setting(1024, min=1)
    """Width of the feed-forward networks."""
    most_events: int = setting(512, min=8)
    """The most events of a clip."""
    dropout: float = setting(0.1, below=1)

    turn_degrees: float = 10.0
    """Training windows are turned by up to so much to each side. This and the next two change from
    one random value at a window's start to another at its end."""
    resize: float = setting(0.1, below=1)
    """The share by which training windows are made larger or smaller, at most."""
    shift: float = 0.2
    """How far they are moved in x and in y, at most: metres for SMPL, picture heights for
    BODY_25."""

    lr: float = setting(7e-4, may_change=True)
    warmup_steps: int = setting(4000, min=1)
    betas: tuple[float, ...] = setting((0.9, 0.98), below=1, length=2)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.graph_widths) != len(self.graph_strides):
            raise ValueError(
                f"graph_widths has {len(self.graph_widths)} blocks, graph_strides "
                f"{len(self.graph_strides)}; expected the same number"
            )
        if self.width % (2 * self.heads):
            raise ValueError(f"width is {self.width}; expected a multiple of {2 * self.heads}")


@dataclass(frozen=True)
class Options(NoteOptions):
    """How events are drawn, and played."""

    top_p: float = 0.9
    """Draw among the likeliest events that have this share of the probability."""
    temperature: float = 1.0
    """Below 1 likely events become likelier; above 1 unlikely ones do."""
    beam: int = setting(0, below=65)
    """0 draws events; else the likeliest sequence is searched, with so many kept."""
    min_note_s: float = 0.25
    """Shorter notes are made so long, as in the original."""
    program: int = setting(0, below=128)
    """The instrument of General MIDI, counted from 0, such as 0, a piano."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected above 0, at most 1, such as 0.9")
        if not 0 < self.temperature <= 10:
            raise ValueError(
                f"temperature is {self.temperature}; expected above 0, at most 10, such as 0.9"
            )


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "tiny": {
        "precision": FLOAT32,
        "clip_s": 2.0,
        "graph_widths": (32, 32, 64, 64),
        "graph_strides": (1, 1, 2, 1),
        "width": 128,
        "layers": 2,
        "heads": 4,
        "inner": 256,
        "most_events": 256,
        "lr": 1e-3,
        "warmup_steps": 100,
        "max_steps": 1300,
        "batch_size": 16,
        "shuffle_segments": 256,
        "log_every": 50,
        "checkpoint_every": 100,
        "val_every": 250,
        "sample_every": 1300,
    },
}
"""`full` has the original's sizes; `tiny` trains in ten minutes on two CPU cores."""
