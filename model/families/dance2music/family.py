"""Dance2Music as two families: the search, which learns nothing, and the network that it teaches.

Symbols: B batch, n notes, F frames, P points, S side of a matrix, M notes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.contract.segment import SAMPLE_RATE_HZ
from model.data.source import Batch
from model.families.dance2music.config import (
    PRESETS,
    SEARCH_PRESETS,
    OnlineConfig,
    OnlineOptions,
    Options,
)
from model.families.dance2music.config import Config as SearchConfig
from model.families.dance2music.network import OnlineNetwork, notes_before, play, window_of
from model.families.dance2music.search import NOTE_S, dance_matrix, note_rows, search, unit_poses
from model.families.notes.base import NoteModel
from model.families.notes.clips import NoteClip
from model.families.notes.player import NotePlayer
from model.families.notes.poses import poses_of

GRID = "a note every 0.2 s in C pentatonic, program 0 unless another is asked for"


def vectors_of(dance: NoteClip) -> np.ndarray:
    """Return the poses of a dance as vectors of length 1 (F, 2 P); ValueError without joints."""
    if dance.joints is None:
        raise ValueError(f"{dance.name}: no joints; build the shards with --motion")
    return unit_poses(poses_of(dance.joints, dance.seen, dance.fps)[0])


def played(notes: np.ndarray, dance: NoteClip, options: OnlineOptions) -> np.ndarray:
    """Return the chosen notes (n,) as rows (N, 7), with the options' instrument and delay."""
    rows = note_rows(notes, dance.seconds, options.delay_s)
    rows[:, 4] = options.program
    return rows


class Dance2Music(NotePlayer[SearchConfig]):
    """The search. It reads no notes and has no weights, so that its training is one empty step."""

    title = "Dance2Music"
    Config = SearchConfig
    PRESETS = SEARCH_PRESETS
    Options = Options
    deviations = f"searched, not trained; {GRID}; joints of SMPL are seen from the front"

    def build(self) -> nn.Module:
        return nn.Module()

    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        return played(search(dance_matrix(vectors_of(dance)), options.beam), dance, options)

    def start_training(self) -> None:
        """Create nothing: there is nothing to train."""

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss/total": torch.zeros(())}

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {self.best: torch.zeros(())}, {}

    @property
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"network": {}}

    def load_state_dict(self, state: Mapping[str, Any], what: str) -> None:
        """Restore nothing: there are no weights."""

    def describe(self) -> str:
        return f"{self.title}: a search, nothing is trained"


@dataclass(frozen=True)
class Lesson:
    """A clip's poses (F, 2 P) float32 as vectors of length 1, and the notes (n,) of the search."""

    poses: Tensor
    notes: Tensor
    seconds: float


class Dance2MusicOnline(NoteModel[OnlineConfig]):
    """The network, which learns the notes that the search finds for the training split."""

    title = "Dance2Music, online"
    Config = OnlineConfig
    PRESETS = PRESETS
    Options = OnlineOptions
    learns_notes = False
    deviations = (
        f"learns the search's notes, which is our reading of the original; {GRID}; joints of SMPL "
        "are seen from the front"
    )

    network: OnlineNetwork

    def build(self) -> OnlineNetwork:
        config = self.config
        return OnlineNetwork(
            config.channels, config.embedding, config.hidden, config.mlp, config.dropout
        )

    def prepare(self, clips: Sequence[NoteClip]) -> None:
        validation = self.validation.clips if self.validation else []
        self.lessons = {clip.name: self.lesson(clip) for clip in (*clips, *validation)}

    def lesson(self, clip: NoteClip) -> Lesson:
        """Search the notes of a clip."""
        poses = vectors_of(clip)
        notes = search(dance_matrix(poses), self.config.beam)
        return Lesson(torch.from_numpy(poses).float(), torch.from_numpy(notes), clip.seconds)

    def batch_of(self, clips: Sequence[NoteClip], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a note of each clip's first segment: its matrix, the notes before it, and itself."""
        segment = max(1, round(self.inputs.samples / SAMPLE_RATE_HZ / NOTE_S))
        matrices, before, targets = [], [], []
        for clip in clips:
            lesson = self.lessons[clip.name]
            start = round((lesson.seconds - clip.seconds) / NOTE_S)
            note = min(start + int(rng.integers(segment)), len(lesson.notes) - 1)
            matrices.append(window_of(lesson.poses, note))
            before.append(notes_before(lesson.notes, note))
            targets.append(lesson.notes[note])
        return {
            "matrices": torch.stack(matrices),
            "before": torch.stack(before),
            "notes": torch.stack(targets),
        }

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = network(batch["matrices"], batch["before"]).float()
        return {"total": F.cross_entropy(logits, batch["notes"])}

    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        poses = torch.from_numpy(vectors_of(dance)).float().to(self.device)
        return played(play(self.network, poses).cpu().numpy(), dance, options)
