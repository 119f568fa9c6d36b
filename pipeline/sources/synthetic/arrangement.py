"""Play a song by fewer or by other instruments, so that songs of a genre do not all sound alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.contract.notes import TRACKS
from pipeline.sources.synthetic.score import Score

LINE_UPS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.45, ("drums", "bass", "chords", "lead")),
    (0.15, ("bass", "chords", "lead")),
    (0.10, ("drums", "bass", "chords")),
    (0.10, ("drums", "chords")),
    (0.10, ("drums", "bass")),
    (0.05, ("drums",)),
    (0.05, ("chords",)),
)
"""How often which tracks play."""
OTHER_VOICES = {
    "chords": ("piano", "epiano", "organ", "strings", "guitar", "brass"),
    "lead": ("flute", "lead", "square", "bell", "strings", "brass"),
}
"""The voices that a track may be given instead of its style's."""
EXCHANGED = 0.4
"""How often the chords, or the lead, are given another voice."""


def rearranged(score: Score, rng: np.random.Generator) -> Score:
    """Return a score of the same notes, without the tracks and by the voices that `rng` draws.

    The drums keep their sounds. At least one track stays, so a song is never silent.
    """
    shares = np.array([share for share, _ in LINE_UPS])
    kept = LINE_UPS[int(rng.choice(len(LINE_UPS), p=shares / shares.sum()))][1]
    voices = {}
    for track, choices in OTHER_VOICES.items():
        exchanged, choice = rng.random() < EXCHANGED, int(rng.integers(len(choices)))
        if exchanged:
            voices[track] = choices[choice]
    events = tuple(
        replace(event, voice=voices.get(TRACKS[event.track], event.voice))
        for event in score.events
        if TRACKS[event.track] in kept
    )
    return replace(score, events=events)
