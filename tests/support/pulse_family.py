"""The smallest family of notes: it learns how many notes a segment has, and plays a pulse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from model.families.notes.base import NoteConfig, NoteModel
from model.families.notes.clips import NoteClip


@dataclass(frozen=True)
class PulseConfig(NoteConfig):
    warmup_steps: int = 2


class Pulse(NoteModel[PulseConfig]):
    """Learns how many notes a segment has, and plays that many, evenly."""

    title = "Pulse"
    Config = PulseConfig
    deviations = "a toy"

    def build(self) -> nn.Module:
        network = nn.Linear(1, 1)
        network.register_buffer("mean_speed", torch.zeros(()))
        return network

    def prepare(self, clips):
        speeds = [np.abs(np.diff(clip.joints, axis=0)).mean() for clip in clips]
        self.network.mean_speed.fill_(float(np.mean(speeds)))

    def batch_of(self, clips, rng):
        counts = [(clip.notes[:, 0] < 2).sum() for clip in clips]
        noise = torch.from_numpy(rng.normal(size=(len(clips), 1)))
        return {"x": noise.float(), "count": torch.tensor(counts)[:, None].float()}

    def loss(self, network, batch):
        return {"total": (network(batch["x"]) - batch["count"]).abs().mean()}

    def notes_for(self, dance: NoteClip, options, rng):
        assert dance.joints.shape[1:] == (24, 3) and dance.fps == 60
        onsets = np.arange(0.1, dance.seconds + 0.5, 0.5)
        rows = [[at, 0.4, rng.integers(60, 72), 100, 0, 0, -1] for at in onsets]
        return np.array(rows)[::-1]
