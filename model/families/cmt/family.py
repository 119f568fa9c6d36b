"""CMT as a family: it learns from notes alone, and follows a dance by its controls.

Source: Di et al., Video Background Music Generation with Controllable Music Transformer, ACM
Multimedia 2021. See docs/reference/cmt.md for what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from model.families.cmt.config import PRESETS, Options
from model.families.cmt.config import Config as CmtConfig
from model.families.cmt.controls import controls_of, measure
from model.families.cmt.grid import accented, to_notes
from model.families.cmt.losses import attribute_losses
from model.families.cmt.network import CmtNetwork, prefix_of
from model.families.cmt.pieces import batch, piece_of, varied
from model.families.cmt.sampling import Writer
from model.families.cmt.statistics import Statistics
from model.families.cmt.words import TYPE, from_words
from model.families.notes.base import NoteModel
from model.families.notes.clips import NoteClip


class Cmt(NoteModel[CmtConfig]):
    """A transformer over compound words, controlled by density, strength and beats."""

    title = "CMT"
    Config = CmtConfig
    PRESETS = PRESETS
    Options = Options
    losses = ("loss/total",)
    deviations = (
        "softmax attention; no genre and key; densities, strengths and order are kept exactly; "
        "controls from joints, with thresholds fitted on the training split; visual beats are the "
        "moments of rest, sound at these, and stand out"
    )

    network: CmtNetwork

    def build(self) -> nn.Module:
        config = self.config
        network = CmtNetwork(
            config.embeddings, config.p_beat_width, config.width, config.layers, config.heads,
            config.wide, config.dropout,
        )  # fmt: skip
        network.add_module("statistics", Statistics())
        return network

    @property
    def statistics(self) -> Statistics:
        return cast(Statistics, self.network.statistics)

    def prepare(self, clips: Sequence[NoteClip]) -> None:
        self.statistics.fit(clips)

    def batch_of(self, clips: Sequence[NoteClip], rng: np.random.Generator) -> dict[str, Tensor]:
        config, pieces = self.config, []
        for clip in clips:
            rows, end = piece_of(clip)
            pieces.append((varied(rows, rng, config.transpose, config.drop_instruments), end))
        words, known, plays = batch(pieces, config.words, rng)
        return {
            "words": torch.from_numpy(words),
            "known": torch.from_numpy(known),
            "prefix": prefix_of(plays),
        }

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        network = cast(CmtNetwork, network)
        words = batch["words"]
        states = network(batch["prefix"], words[:, :-1])
        return attribute_losses(network.logits(states, words[..., TYPE]), words, batch["known"])

    def notes_for(self, dance: NoteClip, options: Any, rng: np.random.Generator) -> np.ndarray:
        assert dance.joints is not None, "a dance is needed"
        statistics = self.statistics
        measured = measure(dance.joints, dance.seen, dance.fps, dance.seconds)
        controls = controls_of(measured, statistics.thresholds)
        if not options.visual_beats:
            controls = replace(controls, beats={}, times_s={})
        writer = Writer(
            self.network, controls,
            statistics.who_plays(options.instruments, rng), statistics.pitches.cpu().numpy(),
            options, self.config.words, rng,
        )  # fmt: skip
        rows = from_words(writer.write())
        velocities = statistics.velocities.cpu().numpy()
        notes = to_notes(rows, measured.grid, dance.seconds, velocities, controls.times_s)
        return accented(notes, [*controls.beats], options.accent)
