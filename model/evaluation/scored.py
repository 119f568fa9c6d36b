"""The rows of an evaluation as they are scored: for evaluation.json, the page, and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.baselines.base import Music
from model.baselines.references import partners
from model.data.clips import Clip
from model.evaluation.diversity import diversity
from model.evaluation.likelihood import likelihood
from model.evaluation.score import Scorer, plain
from model.evaluation.subject import Subject


@dataclass
class Scored:
    """The rows scored so far.

    `scorer_of` makes a scorer of some clips. `shown` are the numbers of the clips on the page, and
    `played` the rows' music for them. `sets` has the arrays that measures of sets compare.
    """

    subject: Subject
    clips: Sequence[Clip]
    scorer_of: Callable[[Sequence[Clip]], Scorer]
    shown: Sequence[int]
    seed: int
    rows: dict[str, Any] = field(default_factory=dict)
    played: list[Music] = field(default_factory=list)
    sets: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scorer: Scorer = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = self.scorer_of(self.clips)

    def add(self, music: Music) -> None:
        """Score a row; ValueError if there is one of that name."""
        print(f"  {music.name}", flush=True)
        if music.name in self.rows:
            raise ValueError(f"two rows are named {music.name!r}; give the music another name")
        self.notes += [music.note] if music.note else []
        if music.of is not None:
            self._add_part(music, music.of)
            return
        scores = self.scorer.scores(music)
        run = self.subject.run
        if run is not None and music.name == self.subject.name:
            scores["diversity"] = diversity(run, self.clips, self.subject.generation)
            if self.subject.likelihoods:
                scores |= likelihood(run, self.clips, partners(self.clips, self.seed))
        self.add_scores(music.name, scores)
        self.played.append(Music(music.name, [music.audio[i] for i in self.shown]))
        if music.name == self.subject.name:
            if "of codes" in scores:
                self.sets = {"codes": scores["of codes"].astype(np.uint16)}
            if self.scorer.patches is not None:
                self.sets |= {"patches": scores["patches"], "truth": self.scorer.patches}

    def add_scores(self, name: str, scores: dict[str, np.ndarray]) -> None:
        """Add a row of scores alone, of all clips or segments."""
        summary = plain(self.scorer.summary(scores))
        self.rows[name] = {"scores": summary, "each": self.scorer.plain_scores(scores)}

    def _add_part(self, music: Music, of: Sequence[int]) -> None:
        """Score music for some of the clips."""
        part = self.scorer_of([self.clips[i] for i in of])
        scores = part.scores(music)
        self.rows[music.name] = {
            "scores": plain(part.summary(scores)),
            "each": spread_out(part.plain_scores(scores), of, self.clips),
        }
        audio = dict(zip(of, music.audio, strict=True))
        there = [k for k, i in enumerate(self.shown) if i in audio]
        self.played.append(Music(music.name, [audio[self.shown[k]] for k in there], of=there))


def spread_out(
    each: Mapping[str, list[float | None]], of: Sequence[int], clips: Sequence[Clip]
) -> dict[str, list[float | None]]:
    """Return scores of some clips, or of their segments, for all; None where there are none."""
    counts = [len(clip.segments) for clip in clips]
    firsts = np.concatenate([[0], np.cumsum(counts)])
    segments = [int(firsts[i]) + k for i in of for k in range(counts[i])]
    found = {}
    for name, values in each.items():
        places, length = (of, len(clips)) if len(values) == len(of) else (segments, sum(counts))
        row: list[float | None] = [None] * length
        for place, value in zip(places, values, strict=True):
            row[place] = value
        found[name] = row
    return found
