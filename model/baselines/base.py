"""The interface of a baseline: a function that returns music for each clip of a split.

Another package adds a baseline by an entry point of `dance2music.baselines` that names a function
of `Given`; `model evaluate --baseline NAME` scores it beside the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.codecs.base import Codec
from model.contract.kinds import BASELINES
from model.data.clips import Clip
from model.data.source import Source

TRUTH = "ground truth"


@dataclass(frozen=True)
class Music:
    """A row of the evaluation: the audio (N,) of a system for each clip, as long as the clip.

    `codes` (S, L) for each clip, if the audio was decoded from codes of the run's level. `note` is
    a remark that the results must repeat. `of` are the numbers of the clips that there is audio of,
    if not of all.
    """

    name: str
    audio: list[np.ndarray]
    codes: list[np.ndarray] | None = None
    note: str = ""
    of: Sequence[int] | None = None


@dataclass(frozen=True)
class Given:
    """The inputs of a baseline.

    `codec` has all levels of the data set's codes; `level` is the run's level. `nearest` has for
    each clip the music (S, n) of the most similar training dances; None without motion. `training`
    is the split that may be learnt from; None if there is none.
    """

    clips: Sequence[Clip]
    codec: Codec
    level: str
    nearest: list[np.ndarray] | None
    seed: int = 0
    training: Source | None = None


Baseline = Callable[[Given], Iterator[Music]]


def play(name: str, given: Given) -> Iterator[Music]:
    """Yield a baseline's rows; ValueError, with its name, if its music does not fit the clips."""
    baseline: Baseline = BASELINES.get(name)
    for music in baseline(given):
        expected = [clip.segments.size for clip in given.clips]
        lengths = [len(audio) for audio in music.audio]
        if lengths != expected:
            raise ValueError(
                f"baseline {name!r}: audio of {lengths[:3]}… samples for clips of {expected[:3]}…"
            )
        if not all(np.isfinite(audio).all() for audio in music.audio):
            raise ValueError(f"baseline {name!r}: audio with NaN or infinity")
        yield music
