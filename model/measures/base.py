"""The interface of a measure, and the table of built-in measures.

Another package adds a measure by an entry point of `dance2music.measures` that names a `Measure`
with a `score`; `model evaluate --measure NAME` prints it beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Measure:
    """A measure of generated music.

    Args:
        title: the head of its column in tables.
        of: `clip` or `segment`, if scores of these are averaged; `set`, if it is computed from all
            segments together.
        percent: whether the value, a fraction, is shown in percent.
        digits: number of digits shown after the decimal point.
        lower_is_better: whether lower values are better.
        score: computes the value from generated and true music, both float32 (N,) at 22 050 Hz;
            returns NaN if it is undefined. None for built-in measures, which share intermediate
            results.
    """

    title: str
    of: str
    percent: bool = False
    digits: int = 3
    lower_is_better: bool = False
    score: Callable[[np.ndarray, np.ndarray], float] | None = None

    def facts(self) -> dict[str, Any]:
        """Return the facts that evaluation.json needs to print the measure later."""
        names = ("title", "of", "percent", "digits", "lower_is_better")
        return {name: getattr(self, name) for name in names}


MEASURED: dict[str, Measure] = {
    "cover": Measure("cover %", "segment", percent=True),
    "hit": Measure("hit %", "segment", percent=True),
    "genre": Measure("genre %", "segment", percent=True),
    "loris_cover": Measure("BCS (LORIS, 1 s)", "segment"),
    "loris_hit": Measure("BHS (LORIS, 1 s)", "segment"),
    "bcs_02": Measure("BCS (0.2 s)", "segment"),
    "bhs_02": Measure("BHS (0.2 s)", "segment"),
    "kl": Measure("KL", "segment", lower_is_better=True),
    "genre_heard": Measure("genre, classifier %", "segment", percent=True),
    "codes": Measure("codes % (each segment alone)", "segment", percent=True),
    "copied": Measure("longest run copied, s", "segment", digits=2, lower_is_better=True),
    "onset_f": Measure("onset F", "clip"),
    "beat_f": Measure("beat F", "clip"),
    "cemgil": Measure("Cemgil", "clip"),
    "tempo": Measure("tempo %", "clip", percent=True),
    "tempo_octave": Measure("tempo, octaves %", "clip", percent=True),
    "tempo_difference": Measure("TD, BPM", "clip", digits=2, lower_is_better=True),
    "align": Measure("align", "clip"),
    "align_back": Measure("align, back", "clip"),
    "notes": Measure("notes %", "clip", percent=True),
    "held": Measure("held notes %", "clip", percent=True),
    "upper": Measure("notes above 200 Hz %", "clip", percent=True),
    "loudness_db": Measure("loudness, dB", "clip", digits=1),
    "diversity": Measure("diversity, dB", "clip", digits=2),
    "csd": Measure("CSD of cover %", "set", percent=True),
    "hsd": Measure("HSD of hit %", "set", percent=True),
    "loris_csd": Measure("CSD (LORIS, 1 s)", "set"),
    "loris_hsd": Measure("HSD (LORIS, 1 s)", "set"),
    "loris_f1": Measure("F1 (LORIS, 1 s)", "set"),
    "csd_02": Measure("CSD (0.2 s)", "set"),
    "hsd_02": Measure("HSD (0.2 s)", "set"),
    "f1_02": Measure("F1 (0.2 s)", "set"),
    "frechet": Measure("Fréchet", "set", lower_is_better=True),
    "feature_kl": Measure("feature KL", "set", lower_is_better=True),
    "perplexity": Measure("perplexity", "set", digits=0),
}
"""The built-in measures, in the order of their columns. The functions that compute them name their
sources."""


def named(of: str) -> tuple[str, ...]:
    """Return the names of the built-in measures of clips, of segments or of sets."""
    return tuple(name for name, measure in MEASURED.items() if measure.of == of)


def recorded(evaluation: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measures of an evaluation.json: the built-in ones and those of plugins."""
    added = evaluation.get("measures", {})
    return MEASURED | {name: Measure(**facts) for name, facts in added.items()}


def check_measure(name: str, measure: Any) -> Measure:
    """Return a plugin's measure; ValueError, with its name, if it is invalid."""
    if not isinstance(measure, Measure) or measure.score is None:
        raise ValueError(f"measure {name!r}: expected a Measure with a score, got {measure!r:.200}")
    if measure.of not in ("clip", "segment"):
        raise ValueError(f"measure {name!r} is of {measure.of!r}; expected clip or segment")
    if name in MEASURED:
        raise ValueError(f"measure {name!r}: a built-in measure has that name; choose another")
    return measure
