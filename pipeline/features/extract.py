"""The work of a CPU worker on one video: sound, windows, and features without a separate stage.

For a feature that has its own later stage, it only reads the frames and sends them to that stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.engine.ledger import Result
from pipeline.engine.outcome import Outcome, attempt
from pipeline.features.base import Arrays, Maker
from pipeline.features.plan import Settings, Work
from pipeline.features.sound import cut_sound
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Audio, Video


@dataclass
class Extract:
    """Decodes one video once: cuts its sound, computes features, selects frames.

    A video with several clips is checked and probed once; its sound, which is decoded once, is kept
    in memory for the next clip.
    """

    settings: Settings
    name: str = "extract"
    batch: int = 1
    gpus: float = 0.0
    _makers: dict[str, Maker] = field(default_factory=dict, repr=False)
    _video: tuple[str, Video] | None = field(default=None, repr=False)
    _audio: Audio | None = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """Sound, frames and each feature computed here have the full time limit each."""
        return max(3, 2 + len(self.settings.made)) * self.settings.item_limit_s

    def setup(self) -> None:
        """Load the models of the features that are computed here."""
        made = {feature.name: feature.maker(self.settings) for feature in self.settings.made}
        self._makers = {name: maker for name, maker in made.items() if maker}

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._kept(item) for item in items]

    def _kept(self, work: Work) -> Work:
        """Do the work on an input, and wait once until all its results are on the disk."""

        def done() -> Work:
            with self.settings.ledger.together():
                return self._one(work)

        kept = attempt("ledger", done)
        return kept if isinstance(kept, Work) else replace(work, clips=None, outcome=kept)

    def _one(self, work: Work) -> Work:
        limit_s = self.settings.item_limit_s
        video = self._opened(work.row)
        cut = self._result("cut", work.row, lambda: self._cut(work.row, video))
        if isinstance(cut, Outcome):
            return replace(work, outcome=cut)
        if (outcome := self.settings.cut_outcome(work.row, cut.facts)).status == "filtered":
            return replace(work, outcome=outcome)
        for name, make in self._makers.items():
            made = self._result(name, work.row, partial(make, work.row, cut, video))
            if isinstance(made, Outcome):
                return replace(work, outcome=made)
        if any(feature.decodes for feature in self.settings.made):
            return work  # a later stage decodes the video, also for the other features
        if not (clips := self.settings.clips(work.row)):
            return work
        if clips.clip_parts(self.settings, cut) > 1:
            return replace(work, deferred=True)
        frames = attempt(
            "frames", lambda: clips.read_clips(self.settings, work.row, cut, video), limit_s
        )
        if isinstance(frames, Outcome):
            return replace(work, outcome=self.settings.end(clips.NAME, work.row, frames))
        return replace(work, clips=frames)

    def _cut(self, row: Row, video: Video) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        window_s, track = Fraction(self.settings.window_s), self.settings.audio_track
        if self.settings.no_sound:
            return cut_sound(row, video.probe(with_sound=False), None, window_s)
        if self._audio is None:
            seen, sound = video.probe_and_audio(track)
        else:
            seen, sound = video.probe(track), self._audio
        self._audio = sound if row.span_s else None
        return cut_sound(row, seen, sound, window_s)

    def _opened(self, row: Row) -> Video:
        """Return the handle of a video; clips of one file share it."""
        from pipeline.media.reader import Video

        if self._video is None or self._video[0] != row.sha256:
            self._video, self._audio = (row.sha256, Video(self.settings.root / row.path)), None
        return self._video[1]

    def _result(
        self, stage: str, row: Row, make: Callable[[], tuple[Arrays, Mapping[str, Any]]]
    ) -> Result | Outcome:
        """Return the stored facts of a stage, or compute and store its result."""
        ledger, key = self.settings.ledger, self.settings.key(stage, row)

        def made() -> Result:
            stored = ledger.facts(stage, key)
            if stored is None:
                arrays, facts = make()
                ledger.write(stage, key, arrays, facts)
                stored = Result(dict(arrays), dict(facts))
            return stored

        result = attempt(stage, made, self.settings.item_limit_s)
        if isinstance(result, Outcome):
            return self.settings.end(stage, row, result)
        return self.settings.add_path(row, result.outcome) if result.outcome else result
