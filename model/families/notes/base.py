"""The interface of a family that plays notes: it learns from notes, and a sound font plays its own.

Such a family has no codes and needs no codec. Its notes of a split are in memory; batches are read
from the shards as for every family, and name the segments to learn from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.contract.sound_font import SoundFont, default_font
from model.contract.storage import Location
from model.data.inputs import Inputs, inputs_of
from model.data.notes import notes_of
from model.data.source import Batch, Source
from model.families.averaged import Averaged, AveragedConfig
from model.families.notes.clips import NoteClip, NoteClips, dance_of, read_note_clips
from model.families.notes.render import render
from model.runtime.settings import Settings

VALIDATION = "val"


@dataclass(frozen=True)
class NoteConfig(AveragedConfig):
    """The settings that all families of notes share."""

    notes: str = ""
    """The notes to learn from, by their name in dataset.json; "": the only ones."""


@dataclass(frozen=True)
class NoteOptions(Settings):
    """The options of generation that all families of notes share."""

    soundfont: str = ""
    """The sound font (.sf2) that plays the notes; "": the one that pretty_midi contains."""


N = TypeVar("N", bound=NoteConfig)


class NoteModel(Averaged[N]):
    """A model that plays notes for a dance."""

    Options: ClassVar[type[Settings]] = NoteOptions
    makes_sound = True
    best = "val/loss"
    learns_notes: ClassVar[bool] = True
    """Whether it learns from the data set's notes; else from its dances alone."""
    deviations: ClassVar[str] = ""
    """How this differs from the published system, for the note of its row."""

    # --- what a family defines -------------------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, with all that generation needs in its parameters and buffers."""

    @abstractmethod
    def batch_of(self, clips: Sequence[NoteClip], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return what `loss` needs for B clips that begin with a segment and end with their video.

        They are at least a segment long. A family takes as much of each as it learns from at once.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch by name; `total` is the one to descend."""

    @abstractmethod
    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        """Return notes (N, 7) for a dance of any length, as `network` plays them."""

    def prepare(self, clips: Sequence[NoteClip]) -> None:
        """Fit thresholds and statistics to the training split, as buffers of `network`."""

    # --- what all share --------------------------------------------------------------------------

    @classmethod
    def settled(cls, config: N, dataset: Dataset, root: Location) -> N:
        if not cls.learns_notes:
            return config
        return replace(config, notes=notes_of(root, dataset, config.notes or None)[0])

    @classmethod
    def levels_of(cls, config: N) -> tuple[str, ...]:
        return ()

    @classmethod
    def inputs_of(cls, config: N, dataset: Dataset) -> Inputs:
        if MOTION not in dataset.fields:
            raise ValueError(
                f"the data set {dataset.name} has no motion, which this family follows: build it "
                "with --motion (see docs/guide/build.md)"
            )
        return inputs_of(dataset, (MOTION,))

    def __init__(self, config: N, inputs: Inputs, codec: Codec, device: torch.device) -> None:
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        self.network = self.build().to(device)
        self.fonts: dict[str, SoundFont] = {}
        """The sound fonts opened so far, by the name that was given."""

    def read_music(self, source: Source) -> None:
        notes = self.config.notes if self.learns_notes else None
        self.training = read_note_clips(source, notes)
        self.validation: NoteClips | None = None
        if source.dataset.segments(VALIDATION):
            val = replace(source, split=VALIDATION)
            self.validation = read_note_clips(val, notes)
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

    def sound(
        self, inputs: Mapping[str, Tensor], samples: int, options: Any = None
    ) -> tuple[Tensor, list[np.ndarray]]:
        options = options or self.Options()
        font, seconds = self.font(options.soundfont), samples / SAMPLE_RATE_HZ
        played = []
        for i, motion in enumerate(inputs[MOTION].cpu().numpy()):
            dance = dance_of(str(i), motion, seconds)
            notes = self.notes_for(dance, options, new_rng())
            notes = notes[(notes[:, 0] >= 0) & (notes[:, 0] < seconds)]
            played.append(notes[np.argsort(notes[:, 0], kind="stable")])
        audio = [torch.from_numpy(render(notes, samples, font)) for notes in played]
        return torch.stack(audio), played

    def font(self, path: str) -> SoundFont:
        """Return an opened sound font; FileNotFoundError or ValueError if it cannot be used."""
        if path not in self.fonts:
            self.fonts[path] = SoundFont.open(path) if path else default_font()
        return self.fonts[path]

    def on_device(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}

    def describe(self) -> str:
        return f"{self.title}{f', notes: {self.config.notes}' * self.learns_notes}"

    def remarks(self, step: int) -> list[str]:
        trained = f"{step} steps{f' on the notes {self.config.notes}' * self.learns_notes}"
        fonts = "".join(f"; sound font {font.sha256[:12]}" for font in self.fonts.values())
        known = f"; {self.deviations}" if self.deviations else ""
        return [f"{self.title}: an implementation, not a reproduction; {trained}{fonts}{known}"]


def new_rng() -> np.random.Generator:
    """Return a generator of numpy, seeded by torch's, whose state a checkpoint has."""
    return np.random.default_rng(int(torch.randint(2**62, ())))
