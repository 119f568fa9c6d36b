"""Everything a CPU worker does for one video: sound, windows, motion, frames for the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.engine.ledger import Result
from pipeline.engine.outcome import Outcome, StageError, attempt
from pipeline.features.plan import Settings, Work
from pipeline.features.sound import cut_sound
from pipeline.features.visual.stage import clip_parts, read_clips
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Audio, Probe, Video


@dataclass
class Extract:
    """Decode one video once: cut its sound, fit its motion, pick its frames.

    The sound of a video with several clips is decoded as a whole and kept for the next of them.
    """

    settings: Settings
    name: str = "extract"
    batch: int = 1
    gpus: float = 0.0
    _load_smpl: Callable[[Path], np.ndarray] | None = field(default=None, repr=False)
    _audio_cache: tuple[str, Probe, Audio] | None = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """Sound, motion and frames have the whole limit each."""
        return 3 * self.settings.item_limit_s

    def setup(self) -> None:
        """Load the body model, where joints are asked for."""
        if self.settings.motion == "smpl-joints":
            from pipeline.features.motion.smpl_joints import SmplJoints

            body = SmplJoints(Path(self.settings.smpl_model))
            body.setup()
            self._load_smpl = body.load_motion

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._one(item) for item in items]

    def _one(self, work: Work) -> Work:
        from pipeline.media.reader import Video

        limit_s = self.settings.item_limit_s
        video = Video(self.settings.root / work.row.path)
        cut = self._result("cut", work.row, lambda: self._cut(work.row, video))
        if isinstance(cut, Outcome):
            return replace(work, outcome=cut)
        if (outcome := self.settings.cut_outcome(work.row, cut.facts)).status == "filtered":
            return replace(work, outcome=outcome)
        if self.settings.motion == "mmpose":
            return work  # the pose stage decodes the picture, for the visual stage too
        if self.settings.motion != "none":
            motion = self._result(
                "motion",
                work.row,
                lambda: _motion(self.settings, work.row, video, cut, self._load_smpl),
            )
            if isinstance(motion, Outcome):
                return replace(work, outcome=motion)
        if self.settings.visual == "none" or self._has("visual", work.row):
            return work
        if clip_parts(self.settings, cut) > 1:
            return replace(work, deferred=True)
        clips = attempt("frames", lambda: read_clips(self.settings, work.row, cut, video), limit_s)
        if isinstance(clips, Outcome):
            return replace(work, outcome=self.settings.end("visual", work.row, clips))
        return replace(work, clips=clips)

    def _cut(self, row: Row, video: Video) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        window_s, track = Fraction(self.settings.window_s), self.settings.audio_track
        if self.settings.no_sound:
            return cut_sound(row, video.probe(with_sound=False), None, window_s)
        if self._audio_cache is None or self._audio_cache[0] != row.sha256:
            self._audio_cache = None
            seen, sound = video.probe(track), video.read_audio(track)
            self._audio_cache = (row.sha256, seen, sound)
        _, seen, sound = self._audio_cache
        if not row.span_s:
            self._audio_cache = None
        return cut_sound(row, seen, sound, window_s)

    def _has(self, stage: str, row: Row) -> bool:
        return self.settings.ledger.has(stage, self.settings.key(stage, row))

    def _result(
        self, stage: str, row: Row, make: Callable[[], tuple[dict[str, np.ndarray], dict]]
    ) -> Result | Outcome:
        """Return a stage's stored facts, or make and store its result."""
        ledger, key = self.settings.ledger, self.settings.key(stage, row)

        def made() -> Result:
            stored = ledger.facts(stage, key)
            if stored is None:
                arrays, facts = make()
                ledger.write(stage, key, arrays, facts)
                stored = Result(arrays, facts)
            return stored

        result = attempt(stage, made, self.settings.item_limit_s)
        if isinstance(result, Outcome):
            return self.settings.end(stage, row, result)
        return self.settings.add_path(row, result.outcome) if result.outcome else result


def _motion(
    settings: Settings,
    row: Row,
    video: Video,
    cut: Result,
    load_smpl: Callable[[Path], np.ndarray] | None,
) -> tuple[dict[str, np.ndarray], dict]:
    """Fit the annotation to the windows: float32 (n, T, D).

    `load_smpl` reads an SMPL annotation in another way than as rotations.
    """
    from pipeline.features.motion import openpose
    from pipeline.features.motion import smpl_rotations as smpl

    if not row.motion:
        raise StageError("missing_motion", f"{row.path}: no annotation; use --motion none")
    path, window_s = settings.motion_root / row.motion, Fraction(settings.window_s)
    if not path.exists():
        raise StageError(
            "missing_motion",
            f"{row.path}: {row.motion} is not in the annotations' folder; name that folder with "
            "--motion-dir DIR, or do without: --motion none",
        )
    starts_s = [Fraction(start) for start in cut.facts["starts_s"]]
    if settings.motion.startswith("smpl"):
        origin_s = Fraction(cut.facts["video_start_s"])
        poses = (load_smpl or smpl.load_motion)(path)
        motion = smpl.cut_motion(poses, origin_s, starts_s, window_s)
    else:
        times_s = _shown_s(video, path)
        if row.span_s:
            people, times_s = openpose.load_clip(path, times_s, row.span_s, row.box)
        else:
            people = openpose.load_people(path)
        poses = openpose.main_person(people, cut.facts["width_px"], cut.facts["height_px"])
        motion = openpose.cut_motion(poses, times_s, starts_s, window_s)
    return {"motion": motion}, {}


def _shown_s(video: Video, poses: Path) -> list[Fraction]:
    """Return when a video's frames are shown, for as many OpenPose files as there are.

    Packets tell, but for rare streams: where the files say otherwise, the decoder is asked.

    Raises StageError where there are not as many files as frames, and MediaError.
    """
    from pipeline.features.motion import openpose

    times_s = video.frame_times()
    try:
        openpose.check_files(poses, len(times_s))
    except StageError as error:
        if error.code != "bad_motion":
            raise
        times_s = video.decoded_times()
        openpose.check_files(poses, len(times_s))
    return times_s
