"""The outcomes of all inputs of a build, as columns: some 52 bytes for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.engine.lazy import Lazy
from pipeline.engine.outcome import Outcome

NONE: tuple[Any, ...] = ()


class Outcomes(Lazy[Outcome | None]):
    """One outcome for each of `size` inputs, by the input's number; None until it is known.

    Values that many outcomes share (a code, the numbers of silent segments) are held once.
    """

    def __init__(self, size: int) -> None:
        self._ends: list[tuple[Any, ...]] = [NONE] * size  # status, stage, code
        self._messages = [""] * size
        self._lists: list[tuple[Any, ...]] = [NONE] * size  # silent segments, dancers seen
        kinds = [("segments", "i4"), ("audio_tracks", "i4"), ("unlisted_segments", "i4")]
        self._counts = np.zeros(size, kinds)
        self._dropped_s = np.zeros(size)
        self._shared: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def __setitem__(self, at: int, one: Outcome | None) -> None:
        if one is None:
            self._ends[at] = NONE
            return
        end, lists = (one.status, one.stage, one.code), (one.silent_segments, one.dancers_seen)
        self._ends[at] = self._shared.setdefault(end, end)
        self._lists[at] = self._shared.setdefault(lists, lists) if any(lists) else NONE
        self._messages[at] = one.message
        self._counts[at] = (one.segments, one.audio_tracks, one.unlisted_segments)
        self._dropped_s[at] = one.dropped_s

    def item(self, at: int) -> Outcome | None:
        if not self._ends[at]:
            return None
        silent, dancers = self._lists[at] or (NONE, NONE)
        status, stage, code = self._ends[at]
        segments, tracks, unlisted = self._counts[at].tolist()
        return Outcome(
            status, stage, code, self._messages[at], segments, float(self._dropped_s[at]), silent,
            tracks, dancers, unlisted,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Outcome | None]:
        return (self[at] for at in range(len(self)))

    def status(self, at: int) -> str:
        """Return the status of one input, "" if it is not known yet."""
        return self._ends[at][0] if self._ends[at] else ""

    @property
    def left(self) -> int:
        """The number of inputs without an outcome."""
        return sum(not end for end in self._ends)
