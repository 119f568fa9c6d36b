"""The pose stage: it decodes a video once, for 2D poses and for the features after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import numpy as np

from pipeline.engine.ledger import Result
from pipeline.engine.outcome import Outcome, StageError, attempt
from pipeline.features.base import BuildSettings, Clips
from pipeline.features.plan import Work
from pipeline.features.pose.base import Detector, PoseEstimator
from pipeline.features.pose.people import (
    PersonCollector,
    motion_of,
    pace,
    pose_crops,
    pose_times,
    small_side_px,
)
from pipeline.sources.manifest import Row


@dataclass(frozen=True)
class Collected:
    """A decoded video: detected dancers, times of the frames, and clips for a later stage.

    `deferred` means that there are too many clips to send: the later stage reads them itself.
    """

    watch: PersonCollector
    times_s: list[Fraction]
    cut: Result
    clips: np.ndarray | None
    deferred: bool


@dataclass
class Pose:
    """Estimates poses for several videos with all crops in one batch; stores them for each video.

    If the poses of a video are already stored, its motion is computed from them. The networks are
    loaded for the first video without stored poses.
    """

    settings: BuildSettings
    name: str = "pose"
    batch: int = 4
    gpus: float = 0.25
    _detector: Detector | None = field(default=None, repr=False)
    _net: PoseEstimator | None = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """Three full limits: decoding, the network in a batch, and the network alone."""
        return 3 * self.settings.item_limit_s

    def setup(self) -> None:
        """Nothing: networks are loaded when they are first needed."""

    def __call__(self, items: list[Work]) -> list[Work]:
        waiting = [work for work in items if work.outcome is None]
        done = {work.row.video_id: work for work in self._all(waiting)}
        return [done.get(work.row.video_id, work) for work in items]

    def _all(self, waiting: list[Work]) -> list[Work]:
        done, watched = [], []
        limit_s = self.settings.item_limit_s
        for work in waiting:
            result = attempt("pose", partial(self._one, work), limit_s)
            if isinstance(result, Collected):
                watched.append((work, result))
            else:
                done.append(self._ended(work, result) if isinstance(result, Outcome) else result)
        if not watched:
            return done
        crops = [result.watch.crops() for _, result in watched]
        limits_s = limit_s * len(watched)
        together = attempt("pose", lambda: self._posed(np.concatenate(crops)), limits_s)
        ends = np.cumsum([len(part) for part in crops])[:-1]
        for i, (work, result) in enumerate(watched):
            if isinstance(together, Outcome):  # one bad video, or too many together: try each alone
                joints = attempt("pose", partial(self._posed, crops[i]), limit_s)
            else:
                joints = np.split(together, ends)[i]
            done.append(self._finished(work, result, joints))
        return done

    def _one(self, work: Work) -> Collected | Work:
        """Decode a video and detect its dancers; with stored poses, store its motion directly."""
        from pipeline.media.reader import Video

        ledger, row = self.settings.ledger, work.row
        cut = ledger.facts("cut", self.settings.key("cut", row))
        if cut is None:
            raise OSError(f"{row.path}: the stored positions of its windows are missing; run again")
        clips = self.settings.clips(row)
        if not self.settings.has("motion", row):
            pose = ledger.read("pose", self.settings.key("pose", row))
            if pose is None:
                return self._watch(row, cut, clips)
            self._store_motion(row, cut, pose)
        if clips and clips.clip_parts(self.settings, cut) > 1:
            return replace(work, deferred=True)
        if clips is None:
            return replace(work, clips=None)
        video = Video(self.settings.root / row.path)
        return replace(work, clips=clips.read_clips(self.settings, row, cut, video))

    def _watch(self, row: Row, cut: Result, clips: Clips | None) -> Collected:
        from pipeline.media.reader import FrameRequest, Video

        detector, net = self._loaded()
        video, facts = Video(self.settings.root / row.path), cut.facts
        starts_s = [Fraction(start_s) for start_s in facts["starts_s"]]
        window_s = Fraction(self.settings.window_s)
        stop_s = starts_s[-1] + window_s + Fraction(facts["dropped_s"])
        shown_s = video.frame_times(row.span_s)
        times_s = pose_times(shown_s, starts_s[0], stop_s)
        size_px = (facts["width_px"], facts["height_px"])
        steps = pace(net)
        watch = PersonCollector(
            detector, net, len(times_s), size_px, steps["every"], steps["max_steps"]
        )
        requests = {"pose": FrameRequest(times_s, small_side_px(*size_px), box=row.box)}
        deferred = clips is not None and clips.clip_parts(self.settings, cut) > 1
        if clips and not deferred:
            requests[clips.NAME] = clips.clip_request(self.settings, row, cut)
        frames = video.read_frames(requests, each={"pose": watch}, span_s=row.span_s)
        made = clips.as_clips(self.settings, frames[clips.NAME]) if clips and not deferred else None
        return Collected(watch, times_s, cut, made, deferred)

    def _finished(self, work: Work, seen: Collected, joints: np.ndarray | Outcome) -> Work:
        if isinstance(joints, Outcome):
            return self._ended(work, joints)
        outcome = attempt("pose", lambda: self._store(work.row, seen, joints))
        if outcome is not None:
            return self._ended(work, outcome)
        return replace(work, clips=seen.clips, deferred=seen.deferred)

    def _store(self, row: Row, seen: Collected, joints: np.ndarray) -> None:
        arrays = seen.watch.result(joints)
        if not np.isfinite(arrays["joints"]).all():
            raise StageError("undecodable", f"{row.path}: its poses contain NaN or infinity")
        arrays["times_s"] = np.array([float(time_s) for time_s in seen.times_s])
        size = {name: seen.cut.facts[name] for name in ("width_px", "height_px")}
        facts = {"joints": list(self._loaded()[1].names), **size}
        self.settings.ledger.write("pose", self.settings.key("pose", row), arrays, facts)
        self._store_motion(row, seen.cut, Result(arrays, facts))

    def _store_motion(self, row: Row, cut: Result, pose: Result) -> None:
        starts_s = [Fraction(start_s) for start_s in cut.facts["starts_s"]]
        window_s = Fraction(self.settings.window_s)
        motion, dancers = motion_of(pose.arrays, pose.facts, starts_s, window_s)
        key = self.settings.key("motion", row)
        self.settings.ledger.write("motion", key, {"motion": motion}, {"dancers_seen": dancers})

    def _ended(self, work: Work, outcome: Outcome) -> Work:
        """Store the outcome of the video, and return it with the video's path."""
        return replace(work, clips=None, outcome=self.settings.end("motion", work.row, outcome))

    def _posed(self, crops: np.ndarray) -> np.ndarray:
        assert self._net is not None, "watching a video loads it"
        return pose_crops(self._net, crops)

    def _loaded(self) -> tuple[Detector | None, PoseEstimator]:
        """Return both networks, loaded at the first video that needs them.

        An estimator of complete frames has no detector.
        """
        if self._net is None:
            self._detector, net = self.settings.feature("motion").networks()
            if self._detector is not None:
                self._detector.setup()
            net.setup()
            self._net = net
        return self._detector, self._net
