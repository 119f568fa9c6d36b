"""Music to compare with: what a system played for each clip of a split, and who plays it.

Another package adds a baseline by an entry point of `dance2music.baselines` that names a function
of `Given`; `model evaluate --baseline NAME` plays it beside the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.codecs.base import Codec
from model.contract.kinds import BASELINES
from model.data.clips import Clip

TRUTH = "ground truth"


@dataclass(frozen=True)
class Music:
    """A row: its sounds (N,), and its codes (S, L) where it was made of codes of the run's level.

    There is a sound for each clip, as long as the clip. `note` is what must be said of it.
    """

    name: str
    audio: list[np.ndarray]
    codes: list[np.ndarray] | None = None
    note: str = ""


@dataclass(frozen=True)
class Given:
    """What a baseline may use.

    `codec` has all levels that the data set's codes have, `level` is the run's; `nearest` holds
    for each clip the music (S, n) of the training dances most like its own, None without motion.
    """

    clips: Sequence[Clip]
    codec: Codec
    level: str
    nearest: list[np.ndarray] | None
    seed: int = 0


Baseline = Callable[[Given], Iterator[Music]]


def play(name: str, given: Given) -> Iterator[Music]:
    """Yield a baseline's rows; ValueError, naming it, for music that does not fit the clips."""
    baseline: Baseline = BASELINES.get(name)
    for music in baseline(given):
        expected = [clip.segments.size for clip in given.clips]
        lengths = [len(audio) for audio in music.audio]
        if lengths != expected:
            raise ValueError(
                f"baseline {name!r}: sounds of {lengths[:3]}… samples for clips of {expected[:3]}…"
            )
        if not all(np.isfinite(audio).all() for audio in music.audio):
            raise ValueError(f"baseline {name!r}: sound with NaN or infinity")
        yield music
