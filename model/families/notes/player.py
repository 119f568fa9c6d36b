"""The interface of a family that plays notes: a sound font makes their sound.

Such a family has no codes and needs no codec.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.contract.segment import MOTION, SAMPLE_RATE_HZ
from model.contract.sound_font import SoundFont, default_font
from model.data.inputs import Inputs, check_motion, inputs_of
from model.families.base import Model
from model.families.notes.clips import NoteClip, dance_of
from model.families.notes.render import render
from model.runtime.settings import Settings
from model.training.config import RunConfig


@dataclass(frozen=True)
class NoteOptions(Settings):
    """The options of generation that all families of notes share."""

    soundfont: str = ""
    """The sound font (.sf2) that plays the notes; "": the one that pretty_midi contains."""


P = TypeVar("P", bound=RunConfig)


class NotePlayer(Model[P]):
    """A model that plays notes for a dance."""

    Options: ClassVar[type[Settings]] = NoteOptions
    makes_sound = True
    best = "val/loss"
    deviations: ClassVar[str] = ""
    """How this differs from the published system, for the note of its row."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, with all that generation needs in its parameters and buffers."""

    @abstractmethod
    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        """Return notes (N, 7) for a dance of any length, as `network` plays them."""

    def schooling(self, step: int) -> str:
        """Return what a run of `step` steps has learnt from; "" if nothing is learnt."""
        return ""

    @classmethod
    def levels_of(cls, config: P) -> tuple[str, ...]:
        return ()

    @classmethod
    def inputs_of(cls, config: P, dataset: Dataset) -> Inputs:
        check_motion(dataset)
        return inputs_of(dataset, (MOTION,))

    def __init__(self, config: P, inputs: Inputs, codec: Codec, device: torch.device) -> None:
        self.config, self.inputs, self.codec, self.device = config, inputs, codec, device
        self.network = self.build().to(device)
        self.fonts: dict[str, SoundFont] = {}
        """The sound fonts opened so far, by the name that was given."""

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

    def remarks(self, step: int) -> list[str]:
        fonts = [f"sound font {font.sha256[:12]}" for font in self.fonts.values()]
        known = ["an implementation, not a reproduction", self.schooling(step), *fonts]
        return [f"{self.title}: {'; '.join(filter(None, [*known, self.deviations]))}"]


def new_rng() -> np.random.Generator:
    """Return a generator of numpy, seeded by torch's, whose state a checkpoint has."""
    return np.random.default_rng(int(torch.randint(2**62, ())))
