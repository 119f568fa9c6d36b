"""Write music word by word, with the dance's controls.

The published rules: a bar word is replaced by the dance's with a probability, and on reaching a
visual beat, beat words with its strength are forced. Here, what the words say is also kept: a bar
has notes at as many ticks as its density says, a beat word is followed by as many notes as its
strength says, and instruments and pitches come in order, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from model.families.cmt.config import Options
from model.families.cmt.controls import HITS, Controls
from model.families.cmt.grid import BAR_TICKS, DRUMS, FAMILIES
from model.families.cmt.network import CmtNetwork, prefix_of
from model.families.cmt.pieces import melodic
from model.families.cmt.words import (
    BAR,
    BEAT,
    CLASSES,
    COLUMNS,
    DENSITY,
    DURATION,
    INSTRUMENT,
    METRE,
    NOTE,
    P_BEAT,
    PITCH,
    STRENGTH,
    TICK,
    TYPE,
    place,
)
from model.families.notes.nucleus import nucleus

FORCED_MELODIC = 2
"""How many instruments beside the drums play at visual beats, as published."""


def forced_families(families: np.ndarray) -> list[int]:
    """Return who plays at visual beats: the drums, and two others of `families` (5,) but the bass.

    If there is neither, whoever there is.
    """
    found = [DRUMS] if families[DRUMS] else []
    found += np.flatnonzero(melodic(families)).tolist()[:FORCED_MELODIC]
    return found or np.flatnonzero(families).tolist()[:1]


class Writer:
    """Writes the words of one piece. `words` are those written so far, each (9,)."""

    def __init__(
        self,
        network: CmtNetwork,
        controls: Controls,
        families: np.ndarray,
        pitches: np.ndarray,
        options: Options,
        remembered: int,
        rng: np.random.Generator,
    ) -> None:
        """Begin a piece in which `families` (5,) play `pitches` (5, 128).

        The network sees the last `remembered` words, at least half of them.
        """
        self.network, self.controls, self.options, self.rng = network, controls, options, rng
        self.families, self.pitches, self.remembered = families, pitches, remembered
        self.device = next(network.parameters()).device
        self.prefix = prefix_of(families)[None].to(self.device)
        self.forced = forced_families(families)
        self.words: list[np.ndarray] = []
        self.from_word, self.from_tick = 0, 0
        self.state, self.cache = network.begin(self.prefix, self.tensor(0))

    @torch.inference_mode()
    def write(self) -> np.ndarray:
        """Write the piece; return its words (W, 9), without EOS."""
        for bar in range(self.controls.bars):
            self.write_bar(bar)
        return np.stack(self.words) if self.words else np.zeros((0, len(COLUMNS)), np.int64)

    def write_bar(self, bar: int) -> None:
        """Write a bar: its bar word, and beat words until its density is reached."""
        start = BAR_TICKS * bar
        first = max(0, self.controls.first - start)
        end = min(BAR_TICKS, self.controls.end - start)
        beats = self.controls.beats
        visual = {t: beats[start + t] for t in range(first, end) if start + t in beats}
        left = self.density(bar, len(visual), max(0, end - first))
        self.add(start, BEAT, BAR, TYPE, METRE, DENSITY, left + 1)
        tick = first - 1
        while left:
            tick = self.next_tick(tick, end - left, visual, left)
            left -= 1
            self.write_tick(start, tick, left, end, visual)

    def density(self, bar: int, least: int, most: int) -> int:
        """Return the density of a bar of `most` ticks: the dance's, or one that is drawn.

        A bar that is only partly in the clip gets its part of the dance's density.
        """
        if self.rng.random() < self.options.control:
            asked = round(int(self.controls.densities[bar]) * most / BAR_TICKS)
            return int(np.clip(asked, least, most))
        allowed = np.zeros(CLASSES[DENSITY], bool)
        allowed[least + 1 : most + 2] = True
        return self.draw("density", METRE, allowed) - 1

    def next_tick(self, after: int, last: int, visual: dict[int, np.ndarray], left: int) -> int:
        """Draw the next tick of the bar with notes: after `after`, up to `last`.

        No visual beat is passed over, and `left` ticks are enough for those to come.
        """
        coming = [tick for tick in visual if tick > after]
        if left == len(coming):
            return coming[0]
        last = min([last, *coming])
        allowed = np.zeros(CLASSES[BEAT], bool)
        allowed[after + 2 : last + 2] = True
        return self.draw("beat", METRE, allowed) - 1

    def write_tick(
        self, start: int, tick: int, left: int, end: int, visual: dict[int, np.ndarray]
    ) -> None:
        """Write the beat words of a tick, with `left` further ticks in the bar, and their notes."""
        forced = list(self.forced) if tick in visual else []
        family = -1
        while True:
            upper = forced[0] if forced else len(FAMILIES) - 1
            allowed = self.families & (np.arange(len(FAMILIES)) > family)
            allowed &= np.arange(len(FAMILIES)) <= upper
            if not allowed.any():
                return
            if family >= 0 and not forced and not self.stays(tick, left, end):
                return
            classes = np.concatenate([[False], allowed])
            family = self.draw("instrument", METRE, classes) - 1
            if family in forced:
                forced.remove(family)
                strength = int(visual[tick][family])
            else:
                strength = self.draw("strength", METRE, np.arange(CLASSES[STRENGTH]) > 0)
            strength = min(strength, int(self.pitches[family].sum()))
            self.add(
                start + tick, BEAT, tick + 1, TYPE, METRE, DENSITY, left + 1,
                INSTRUMENT, family + 1, STRENGTH, strength,
            )  # fmt: skip
            hits = HITS if tick in visual and family == DRUMS else ()
            self.write_notes(start + tick, family, strength, hits)

    def stays(self, tick: int, left: int, end: int) -> bool:
        """Draw whether another instrument plays at this tick, too."""
        allowed = np.zeros(CLASSES[BEAT], bool)
        allowed[tick + 1] = True
        if left:
            allowed[tick + 2 : end + 1] = True
        else:
            allowed[BAR] = True
        return self.draw("beat", METRE, allowed) == tick + 1

    def write_notes(
        self, tick: int, family: int, count: int, hits: Sequence[Sequence[int]] = ()
    ) -> None:
        """Write `count` notes of a family, from the lowest to the highest.

        The first notes are each one of `hits`, if the family plays any of these.
        """
        free = self.pitches[family].copy()
        for number in range(count):
            allowed, left = free.copy(), count - number
            allowed[np.flatnonzero(free)[len(np.flatnonzero(free)) - left + 1 :]] = False
            wanted = np.isin(np.arange(128), hits[number]) if number < len(hits) else allowed
            if (allowed & wanted).any():
                allowed &= wanted
            pitch = self.draw("pitch", NOTE, np.concatenate([[False], allowed])) - 1
            duration = self.draw("duration", NOTE, np.arange(CLASSES[DURATION]) > 1)
            self.add(tick, TYPE, NOTE, PITCH, pitch + 1, DURATION, duration, INSTRUMENT, family + 1)
            free[: pitch + 1] = False

    def draw(self, name: str, kind: int, allowed: np.ndarray) -> int:
        """Draw an attribute of the next word, whose type is `kind`, among `allowed` classes."""
        if kind not in self.logits:
            types = torch.full((1,), kind, device=self.device)
            found = self.network.logits(self.state, types)
            self.logits[kind] = {key: x[0].float().cpu().numpy() for key, x in found.items()}
        options = self.options
        temperature, top_p = {
            "beat": (options.beat_temperature, options.beat_top_p),
            "duration": (options.duration_temperature, options.top_p),
        }.get(name, (options.temperature, options.top_p))
        if not allowed.any():
            raise ValueError("no class is allowed; this is an error of the program")
        logits = np.where(allowed, self.logits[kind][name], -np.inf)
        return nucleus(logits, top_p, temperature, self.rng)

    def add(self, tick: int, *attributes: int) -> None:
        """Add a word at a tick, with columns and classes in turn, and let the network read it."""
        word = np.zeros(len(COLUMNS), np.int64)
        word[list(attributes[::2])] = attributes[1::2]
        word[P_BEAT], word[TICK] = place(tick, self.controls.end), tick
        self.words.append(word)
        if len(self.words) - self.from_word > self.remembered:
            self.forget()
            self.state, self.cache = self.network.begin(self.prefix, self.tensor(self.from_word))
        else:
            last = self.tensor(len(self.words) - 1)[:, 0]
            self.state, self.cache = self.network.go_on(last, self.cache)

    def forget(self) -> None:
        """Keep about half of the words, from the beginning of a bar on, which gets tick 0."""
        oldest = len(self.words) - self.remembered // 2
        bars = [i for i in range(oldest, len(self.words)) if self.words[i][BEAT] == BAR]
        self.from_word = bars[0] if bars else oldest
        self.from_tick = int(self.words[self.from_word][TICK]) // BAR_TICKS * BAR_TICKS

    def tensor(self, first: int) -> torch.Tensor:
        """Return the words from `first` on, with ticks as the network counts them: (1, W, 9)."""
        words = np.array(self.words[first:], np.int64).reshape(-1, len(COLUMNS))
        words[:, TICK] -= self.from_tick
        self.logits: dict[int, dict[str, Any]] = {}
        return torch.from_numpy(words)[None].to(self.device)
