"""The visual stage: read the clips for the extractor, run it, store the features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.engine.ledger import Result
from pipeline.engine.outcome import Outcome, StageError, attempt
from pipeline.features.base import BuildSettings
from pipeline.features.plan import Work
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.features.visual.extractors import Extractor
    from pipeline.media.reader import FrameRequest, Video


NAME = "visual"
MAX_CLIPS_BYTES = 256 << 20
"""Maximum size of the frames of one video that are sent as one array: 7 minutes of video for
i3d_r50, one for i3d_inception. The frames of a longer video are decoded by the visual stage
itself, in parts of this size."""


def read_clips(settings: BuildSettings, row: Row, cut: Result, video: Video) -> np.ndarray:
    """Decode the clips for the extractor: uint8 (n x W, F, 224, 224, 3).

    n segments have W clips each, of F frames.
    """
    request = clip_request(settings, row, cut)
    frames = video.read_frames({"visual": request}, span_s=row.span_s)["visual"]
    return as_clips(settings, frames)


def clip_request(settings: BuildSettings, row: Row, cut: Result) -> FrameRequest:
    """Return which frames the extractor needs, and in which size."""
    from pipeline.media.reader import FrameRequest

    extractor, windows, window_s = _asked(settings)
    times_s = [
        time_s
        for start in cut.facts["starts_s"]
        for time_s in extractor.frame_times(Fraction(start), window_s, windows)
    ]
    return FrameRequest(times_s, extractor.SHORT_SIDE_PX, extractor.CROP_PX, row.box)


def clips_in_part(settings: BuildSettings) -> int:
    """Return how many clips may be in memory at the same time."""
    extractor, windows, window_s = _asked(settings)
    frames = extractor.clip_frames(window_s, windows)
    return max(1, MAX_CLIPS_BYTES // (frames * extractor.CROP_PX**2 * 3))


def clip_parts(settings: BuildSettings, cut: Result) -> int:
    """Return in how many parts a video's clips are read: 1 except for long videos."""
    clips = len(cut.facts["starts_s"]) * settings.feature("visual").windows
    return -(-clips // clips_in_part(settings))


def most_parts(settings: BuildSettings) -> int:
    """Return in how many parts the longest allowed video would be read."""
    from pipeline.media.container import DEFAULTS

    _, windows, window_s = _asked(settings)
    clips = int(DEFAULTS.max_duration_s / window_s) * windows
    return -(-clips // clips_in_part(settings))


def as_clips(settings: BuildSettings, frames: np.ndarray) -> np.ndarray:
    """Reshape the frames of `clip_request` to clips (n x W, F, 224, 224, 3)."""
    extractor, windows, window_s = _asked(settings)
    count = extractor.clip_frames(window_s, windows)
    return frames.reshape(-1, count, *frames.shape[1:])


def _asked(settings: BuildSettings) -> tuple[Extractor, int, Fraction]:
    """Return the extractor, the number of clips per segment, and the window in seconds."""
    visual = settings.feature("visual")
    return visual.make(), visual.windows, Fraction(settings.window_s)


@dataclass
class Describe:
    """Runs the extractor on the clips of `batch` videos together; stores each video's features."""

    settings: BuildSettings
    batch: int
    name: str = "visual"
    gpus: float = 1.0
    _net: Any = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """Once the limit in a batch and once alone; for a long video, once for each part."""
        return max(2, most_parts(self.settings)) * self.settings.item_limit_s

    def setup(self) -> None:
        self._net = self.settings.feature("visual").make()
        self._net.setup()

    def __call__(self, items: list[Work]) -> list[Work]:
        waiting = [work for work in items if work.clips is not None]
        done = {work.row.video_id: work for work in self._features(waiting)}
        done |= {work.row.video_id: self._deferred(work) for work in items if work.deferred}
        return [done.get(work.row.video_id, work) for work in items]

    def _deferred(self, work: Work) -> Work:
        """Decode a video with too many frames to send, and run the extractor, part by part."""
        settings, row = self.settings, work.row
        cut = settings.ledger.facts("cut", settings.key("cut", row))
        if cut is None:
            message = f"{row.path}: the stored positions of its windows are missing; run again"
            outcome = Outcome("failed", self.name, "io", message)
            return replace(work, deferred=False, outcome=outcome)
        limit_s = settings.item_limit_s * clip_parts(settings, cut)
        features = attempt(self.name, lambda: self._part_by_part(row, cut), limit_s)
        if isinstance(features, Outcome):
            return replace(work, deferred=False, outcome=settings.end(self.name, row, features))
        return replace(self._store(work, features), deferred=False)

    def _part_by_part(self, row: Row, cut: Result) -> np.ndarray:
        from pipeline.media.reader import read_frames

        held: list[np.ndarray] = []
        features: list[np.ndarray] = []
        request = clip_request(self.settings, row, cut)
        left, most = len(request.times_s), clips_in_part(self.settings)
        extractor, windows, window_s = _asked(self.settings)
        most *= extractor.clip_frames(window_s, windows)

        def take(frame: np.ndarray) -> None:
            nonlocal left
            held.append(frame)
            left -= 1
            if len(held) == most or not left:
                features.append(self._net(as_clips(self.settings, np.stack(held))))
                held.clear()

        path = self.settings.root / row.path
        read_frames(path, {"visual": request}, each={"visual": take}, span_s=row.span_s)
        return np.concatenate(features)

    def _features(self, waiting: list[Work]) -> list[Work]:
        if not waiting:
            return []
        clips = [work.clips for work in waiting if work.clips is not None]
        features = attempt(
            "visual",
            lambda: self._net(np.concatenate(clips)),
            self.settings.item_limit_s * len(waiting),
        )
        if isinstance(features, Outcome):
            if len(waiting) > 1:  # one bad video, or too many at once: try each separately
                return [done for work in waiting for done in self._features([work])]
            return [replace(waiting[0], clips=None, outcome=features)]
        ends = np.cumsum([len(part) for part in clips])[:-1]
        parts = np.split(features, ends)
        return [self._store(work, part) for work, part in zip(waiting, parts, strict=True)]

    def _store(self, work: Work, features: np.ndarray) -> Work:
        ledger, key = self.settings.ledger, self.settings.key("visual", work.row)

        def store() -> None:
            shape = (-1, self.settings.feature("visual").windows, features.shape[1])
            if not np.isfinite(features).all():  # they would silently spoil the training
                raise StageError("undecodable", "visual features contain NaN or infinity")
            ledger.write("visual", key, {"visual": features.reshape(shape)}, {})

        outcome = attempt("visual", store)
        return replace(work, clips=None, outcome=outcome)
