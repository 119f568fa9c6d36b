"""What is known of the training split beside the network's weights: kept as buffers, saved with it.

Thresholds of the controls, who plays together, and which pitches are played how loud.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.families.cmt.controls import KNOTS, Dance, Thresholds, measure
from model.families.cmt.grid import BAR_TICKS, BEAT_TICKS, FAMILIES, Grid, family_of
from model.families.cmt.pieces import grid_of_notes, melodic, piece_of
from model.families.cmt.words import (
    BAR,
    BEAT,
    DENSITY,
    INSTRUMENT,
    STRENGTH,
    TICK,
    families_of,
    to_words,
)
from model.families.notes.clips import NoteClip

PUBLISHED_VELOCITY = 80.0


class Statistics(nn.Module):
    """Statistics of the training split, fitted once.

    `speeds`, `impacts` and `densities` (KNOTS,) and `strengths` (5, KNOTS) are those of
    `Thresholds`. `bands` (32,) are the shares of clips by who plays, as a binary number. `pitches`
    (5, 128) tells which pitches each family plays, and `velocities` (5, 128, 4) how loud, by the
    place in the beat.
    """

    speeds: Tensor
    impacts: Tensor
    densities: Tensor
    strengths: Tensor
    bands: Tensor
    pitches: Tensor
    velocities: Tensor

    def __init__(self) -> None:
        super().__init__()
        count = len(FAMILIES)
        nothing = Thresholds.fit([], np.zeros(0), [np.zeros(0)] * count)
        for name in ("speeds", "impacts", "densities", "strengths"):
            self.register_buffer(name, torch.from_numpy(np.asarray(getattr(nothing, name))))
        assert self.strengths.shape == (count, KNOTS)
        bands = torch.zeros(2**count)
        bands[-1] = 1
        self.register_buffer("bands", bands)
        self.register_buffer("pitches", torch.ones(count, 128, dtype=torch.bool))
        velocities = torch.full((count, 128, BEAT_TICKS), PUBLISHED_VELOCITY)
        self.register_buffer("velocities", velocities)

    def fit(self, clips: Sequence[NoteClip]) -> None:
        """Fit to the clips of the training split, and to nothing else."""
        dances: list[Dance] = []
        densities, bands = [], torch.zeros(len(self.bands))
        strengths: list[list[np.ndarray]] = [[] for _ in FAMILIES]
        sums = np.zeros((len(FAMILIES), 128, BEAT_TICKS, 2))
        for clip in clips:
            assert clip.notes is not None, "this clip has no notes to learn from"
            grid = grid_of_notes(clip.notes, clip.seconds)
            rows, end = piece_of(clip, grid)
            words = to_words(rows, end)
            bars = words[words[:, BEAT] == BAR]
            # The first and the last bar are only partly in most clips.
            whole = (bars[:, TICK] >= grid.span(clip.seconds)[0]) & (
                bars[:, TICK] + BAR_TICKS <= end
            )
            densities.append(bars[whole, DENSITY] - 1)
            for family, found in enumerate(strengths):
                beats = (words[:, STRENGTH] > 0) & (words[:, INSTRUMENT] == family + 1)
                found.append(words[beats, STRENGTH])
            bands[_number(families_of(words))] += 1
            _add_velocities(sums, clip.notes, grid)
            if clip.joints is not None:
                dances.append(measure(clip.joints, clip.seen, clip.fps, clip.seconds))
        fitted = Thresholds.fit(
            dances, np.concatenate(densities), [np.concatenate(found) for found in strengths]
        )
        for name in ("speeds", "impacts", "densities", "strengths"):
            getattr(self, name).copy_(torch.from_numpy(getattr(fitted, name)))
        bands[0] = 0
        if bands.any():
            self.bands.copy_(bands / bands.sum())
        counts, loudness = sums[..., 1], sums[..., 0]
        played = counts.sum(2) > 0
        # Whoever never plays may play anything, should it be asked to.
        played[~played.any(1)] = True
        self.pitches.copy_(torch.from_numpy(played))
        self.velocities.copy_(torch.from_numpy(_means(loudness, counts)))

    @property
    def thresholds(self) -> Thresholds:
        names = ("speeds", "impacts", "densities", "strengths")
        return Thresholds(*(getattr(self, name).cpu().numpy() for name in names))

    def who_plays(self, choice: str, rng: np.random.Generator) -> np.ndarray:
        """Return the families (5,) bool of `choice`: see `Options.instruments`."""
        shares = self.bands.cpu().numpy().astype(float)
        sets = (np.arange(len(shares))[:, None] >> np.arange(len(FAMILIES))) & 1 > 0
        if choice == "all":
            return np.ones(len(FAMILIES), bool)
        if choice == "one":
            alone = np.zeros(len(FAMILIES), bool)
            often = np.where(melodic(~alone), shares @ sets, -1)
            alone[int(np.argmax(often))] = True
            return alone
        return sets[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _number(families: np.ndarray) -> int:
    return int((families << np.arange(len(families))).sum())


def _add_velocities(sums: np.ndarray, notes: np.ndarray, grid: Grid) -> None:
    """Add the velocities of notes (N, 7), and their numbers, to `sums` (5, 128, 4, 2)."""
    ticks = np.floor(grid.tick_of(notes[:, 0]) + 0.5).astype(np.int64)
    ticks = np.where(notes[:, 6] >= 0, notes[:, 6], ticks).astype(np.int64)
    at = family_of(notes[:, 4]), notes[:, 2].astype(np.int64), ticks % BEAT_TICKS
    np.add.at(sums[..., 0], at, notes[:, 3])
    np.add.at(sums[..., 1], at, 1)


def _means(loudness: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return mean velocities (5, 128, 4) from sums and counts of the same shape.

    Where a pitch is not played at a place in the beat, its own mean counts; for a pitch that is not
    played at all, that of its family at this place.
    """
    means = np.full(counts.shape, PUBLISHED_VELOCITY)
    for axes in ((0, 1, 2), (1, 2), 1, 2, ()):
        total = counts.sum(axes, keepdims=True)
        found = loudness.sum(axes, keepdims=True) / np.maximum(total, 1)
        means = np.where(total > 0, found, means)
    return np.clip(np.round(means), 1, 127)
