"""The interface of a family that plays notes and learns to, from notes or from dances alone.

The clips of a split are in memory; batches are read from the shards as for every family, and name
the segments to learn from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.contract.dataset import Dataset
from model.contract.storage import Location
from model.data.notes import notes_of
from model.data.source import Batch, Segments
from model.families.averaged import Averaged, AveragedConfig
from model.families.notes.clips import NoteClip, NoteClips, read_note_clips
from model.families.notes.player import NotePlayer, new_rng

VALIDATION = "val"


@dataclass(frozen=True)
class NoteConfig(AveragedConfig):
    """The settings that all families of notes share."""

    notes: str = ""
    """The notes to learn from, by their name in dataset.json; "": the only ones."""


N = TypeVar("N", bound=NoteConfig)


class NoteModel(NotePlayer[N], Averaged[N]):
    """A model that learns to play notes for a dance."""

    learns_notes: ClassVar[bool] = True
    """Whether it learns from the data set's notes; else from its dances alone."""

    @abstractmethod
    def batch_of(self, clips: Sequence[NoteClip], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return what `loss` needs for B clips that begin with a segment and end with their video.

        They are at least a segment long. A family takes as much of each as it learns from at once.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch by name; `total` is the one to descend."""

    def prepare(self, clips: Sequence[NoteClip]) -> None:
        """Fit thresholds and statistics to the training split, as buffers of `network`."""

    @classmethod
    def settled(cls, config: N, dataset: Dataset, root: Location) -> N:
        if not cls.learns_notes:
            return config
        return replace(config, notes=notes_of(root, dataset, config.notes or None)[0])

    def read_music(self, source: Segments) -> None:
        notes = self.config.notes if self.learns_notes else None
        self.training = read_note_clips(source, notes)
        val = source.of_split(VALIDATION)
        self.validation: NoteClips | None = read_note_clips(val, notes) if val else None
        self.prepare(self.training.clips)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.trained.train()
        clips = [self.training.at(key) for key in batch.keys]
        learnt = self.on_device(self.batch_of(clips, new_rng()))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            losses = self.loss(self.trained, learnt)
        rate = self.rate(self.steps)
        self.descend(losses["total"])
        return {
            **{f"loss/{name}": loss.detach() for name, loss in losses.items()},
            "gradient/network": self.clip.norm,
            "rate": torch.tensor(rate),
        }

    def validate(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        assert self.validation is not None, "validations need the split val"
        clips = [self.validation.at(key) for key in batch.keys]
        losses = self.loss(self.network, self.on_device(self.batch_of(clips, new_rng())))
        total = losses.pop("total")
        return {"val/loss": total} | {f"val/{name}": x for name, x in losses.items()}, {}

    def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}

    def describe(self) -> str:
        return f"{self.title}, notes: {self.config.notes}" if self.learns_notes else self.title

    def schooling(self, step: int) -> str:
        return f"{step} steps" + (f" on the notes {self.config.notes}" if self.learns_notes else "")
