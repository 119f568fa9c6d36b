"""Everything a CPU worker does for one video: sound, windows, motion, frames for the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.segment import SAMPLE_RATE_HZ
from pipeline.ledger import Ledger, Result, result_key
from pipeline.limit import ITEM_LIMIT_S
from pipeline.manifest import Row
from pipeline.outcome import Outcome, StageError, attempt
from pipeline.stages.cut import MAX_GAIN, PEAK, cut_sound

if TYPE_CHECKING:
    from pipeline.media import Audio, FrameRequest, Probe
    from pipeline.stages.extractors import Extractor

INPUT = "<input>"
MAX_CLIPS_BYTES = 256 << 20
"""Frames of one video that travel as one array: 7 minutes for i3d_r50, one for i3d_inception. Of a
longer video the visual stage decodes them itself, so many at a time."""


@dataclass(frozen=True)
class Settings:
    """What a build does to every video; each result's key holds the part that decides it."""

    root: Path
    motion_root: Path
    work: Path
    window_s: str = "2"
    motion: str = "none"
    visual: str = "i3d_r50"
    visual_windows: int = 1
    weights: str = "kinetics"
    weights_id: str = ""
    flow: str = ""
    precision: str = "float32"
    smpl_model: str = ""
    smpl_model_id: str = ""
    pose_weights: str = ""
    pose_id: str = ""
    detector: str = ""
    detector_id: str = ""
    no_sound: bool = False
    audio_track: int = 0
    drop_silent: bool = False
    item_limit_s: float = ITEM_LIMIT_S

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.work / "results")

    def key(self, stage: str, row: Row) -> str:
        """Return the key of one stage's result for one input."""
        cut = {"window_s": self.window_s, "rate_hz": SAMPLE_RATE_HZ, "peak": PEAK, "gain": MAX_GAIN}
        cut |= row.part
        cut |= {"audio_track": self.audio_track} if self.audio_track else {}
        cut |= {"no_sound": True} if self.no_sound else {}
        if stage == "cut":
            return result_key(row.sha256, "cut", cut)
        if stage == "pose" or (stage == "motion" and self.motion == "mmpose"):
            from pipeline.stages.people import CHOOSING, LOOKING

            config = LOOKING | {"precision": self.precision} | row.part
            config |= cut | CHOOSING | {"motion": self.motion} if stage == "motion" else {}
            return result_key(row.sha256, stage, config, f"{self.pose_id} {self.detector_id}")
        if stage == "motion":
            inputs = row.sha256 + row.motion_sha256
            body = {"smpl_model": self.smpl_model_id} if self.smpl_model_id else {}
            return result_key(inputs, "motion", cut | {"motion": self.motion} | body)
        config = {"visual": self.visual, "windows": self.visual_windows}
        config |= {"flow": self.flow} if self.flow else {}
        return result_key(
            row.sha256, "visual", cut | config | {"precision": self.precision}, self.weights_id
        )

    def extractor(self) -> Extractor:
        """Return the visual extractor that the settings name."""
        from pipeline.stages.extractors import make_extractor

        return make_extractor(self.visual, self.weights, self.flow, self.precision)

    def stages(self) -> list[str]:
        """Return the stages that give a result for every video."""
        wanted = {"cut": True, "motion": self.motion != "none", "visual": self.visual != "none"}
        return [stage for stage, on in wanted.items() if on]

    def untrained(self) -> list[str]:
        """Return what this build makes with random weights, in words."""
        made = []
        if self.visual != "none" and self.weights == "untrained":
            made.append(f"visual features: {self.visual} with random weights")
        if self.pose_weights == "untrained":
            made.append("motion: poses by a network with random weights")
        if self.detector == "untrained":
            made.append("motion: dancers found by a network with random weights")
        return made

    def unnamed(self, row: Row, outcome: Outcome) -> Outcome:
        """Return an outcome without the input's name: equal content elsewhere ends the same way."""
        words = outcome.message.replace(str(self.root / row.path), INPUT).replace(row.path, INPUT)
        return replace(outcome, message=words)

    def named(self, row: Row, outcome: Outcome) -> Outcome:
        """Return a stored outcome with the name that its input has now."""
        return replace(outcome, message=outcome.message.replace(INPUT, row.path))

    def end(self, stage: str, row: Row, outcome: Outcome) -> Outcome:
        """Store how a stage ended for an input and return it as the report tells it."""
        outcome = self.unnamed(row, outcome)
        key = self.key(stage, row)
        error = attempt("ledger", lambda: self.ledger.write(stage, key, {}, {}, outcome))
        return self.named(row, error or outcome)

    def results(self, row: Row) -> dict[str, Result | None]:
        """Return what the ledger holds for one input, by stage."""
        return {stage: self.ledger.read(stage, self.key(stage, row)) for stage in self.stages()}

    def outcome(self, row: Row) -> Outcome | None:
        """Return the end of one input as the ledger has it, None while something is missing."""
        results = self.results(row)
        cut = results["cut"]
        end = self.cut_outcome(row, cut.facts) if cut and not cut.outcome else None
        if end and end.status == "filtered":
            return end
        for result in results.values():
            if result is None:
                return None
            if result.outcome is not None:
                return self.named(row, result.outcome)
        return end

    def cut_outcome(self, row: Row, facts: dict[str, Any]) -> Outcome:
        """Return the end of an input that everything went well with, by what its cut found."""
        silent = tuple(facts["silent_segments"])
        known = {"silent_segments": silent, "audio_tracks": facts["audio_tracks"]}
        segments = len(facts["starts_s"]) - (len(silent) if self.drop_silent else 0)
        if not segments:
            words = f"{row.path}: all its {len(silent)} segments are silent"
            return Outcome("filtered", "cut", "silent", words, **known)
        return Outcome("ok", segments=segments, dropped_s=facts["dropped_s"], **known)


@dataclass(frozen=True)
class Work:
    """A row on its way through the stages.

    `clips` are frames that wait for the visual stage, uint8 (windows x W, F, 224, 224, 3), F being
    what the extractor looks at: 8 for i3d_r50. `late` says that they are too many to travel.
    """

    row: Row
    clips: np.ndarray | None = field(default=None, repr=False)
    outcome: Outcome | None = None
    late: bool = False


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
    _heard: tuple[str, Probe, Audio] | None = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """Sound, motion and frames have the whole limit each."""
        return 3 * self.settings.item_limit_s

    def setup(self) -> None:
        """Load the body model, where joints are asked for."""
        if self.settings.motion == "smpl-joints":
            from pipeline.stages.smpl_joints import SmplJoints

            body = SmplJoints(Path(self.settings.smpl_model))
            body.setup()
            self._load_smpl = body.load_motion

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._one(item) for item in items]

    def _one(self, work: Work) -> Work:
        limit_s = self.settings.item_limit_s
        cut = self._result("cut", work.row, lambda: self._cut(work.row))
        if isinstance(cut, Outcome):
            return replace(work, outcome=cut)
        if (outcome := self.settings.cut_outcome(work.row, cut.facts)).status == "filtered":
            return replace(work, outcome=outcome)
        if self.settings.motion == "mmpose":
            return work  # the pose stage decodes the picture, for the visual stage too
        if self.settings.motion != "none":
            motion = self._result(
                "motion", work.row, lambda: _motion(self.settings, work.row, cut, self._load_smpl)
            )
            if isinstance(motion, Outcome):
                return replace(work, outcome=motion)
        if self.settings.visual == "none" or self._has("visual", work.row):
            return work
        if clip_parts(self.settings, cut) > 1:
            return replace(work, late=True)
        clips = attempt("frames", lambda: read_clips(self.settings, work.row, cut), limit_s)
        if isinstance(clips, Outcome):
            return replace(work, outcome=self.settings.end("visual", work.row, clips))
        return replace(work, clips=clips)

    def _cut(self, row: Row) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        from pipeline.media import probe, read_audio

        window_s, track = Fraction(self.settings.window_s), self.settings.audio_track
        if self.settings.no_sound:
            return cut_sound(row, probe(self.settings.root / row.path), None, window_s)
        if self._heard is None or self._heard[0] != row.sha256:
            self._heard = None
            path = self.settings.root / row.path
            seen, sound = probe(path, audio_track=track), read_audio(path, audio_track=track)
            self._heard = (row.sha256, seen, sound)
        _, seen, sound = self._heard
        if not row.span_s:
            self._heard = None
        return cut_sound(row, seen, sound, window_s)

    def _has(self, stage: str, row: Row) -> bool:
        return self.settings.ledger.has(stage, self.settings.key(stage, row))

    def _result(
        self, stage: str, row: Row, make: Callable[[], tuple[dict[str, np.ndarray], dict]]
    ) -> Result | Outcome:
        """Return a stage's stored result, or make and store it."""
        ledger, key = self.settings.ledger, self.settings.key(stage, row)

        def made() -> Result:
            stored = ledger.read(stage, key)
            if stored is None:
                arrays, facts = make()
                ledger.write(stage, key, arrays, facts)
                stored = Result(arrays, facts)
            return stored

        result = attempt(stage, made, self.settings.item_limit_s)
        if isinstance(result, Outcome):
            return self.settings.end(stage, row, result)
        return self.settings.named(row, result.outcome) if result.outcome else result


def _motion(
    settings: Settings, row: Row, cut: Result, load_smpl: Callable[[Path], np.ndarray] | None
) -> tuple[dict[str, np.ndarray], dict]:
    """Fit the annotation to the windows: float32 (n, T, D).

    `load_smpl` reads an SMPL annotation in another way than as rotations.
    """
    from pipeline.stages import openpose, smpl

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
        times_s = _shown_s(settings.root / row.path, path)
        if row.span_s:
            people, times_s = openpose.load_clip(path, times_s, row.span_s, row.box)
        else:
            people = openpose.load_people(path)
        poses = openpose.main_person(people, cut.facts["width_px"], cut.facts["height_px"])
        motion = openpose.cut_motion(poses, times_s, starts_s, window_s)
    return {"motion": motion}, {}


def _shown_s(video: Path, poses: Path) -> list[Fraction]:
    """Return when a video's frames are shown, for as many OpenPose files as there are.

    Packets tell, but for rare streams: where the files say otherwise, the decoder is asked.

    Raises StageError where there are not as many files as frames, and MediaError.
    """
    from pipeline.media import decoded_times, frame_times
    from pipeline.stages import openpose

    times_s = frame_times(video)
    try:
        openpose.check_files(poses, len(times_s))
    except StageError as error:
        if error.code != "bad_motion":
            raise
        times_s = decoded_times(video)
        openpose.check_files(poses, len(times_s))
    return times_s


def read_clips(settings: Settings, row: Row, cut: Result) -> np.ndarray:
    """Decode the frames that the extractor looks at: uint8 (n x W, F, 224, 224, 3)."""
    from pipeline.media import read_frames

    request = clip_request(settings, row, cut)
    path = settings.root / row.path
    frames = read_frames(path, {"visual": request}, span_s=row.span_s)["visual"]
    return as_clips(settings, frames)


def clip_request(settings: Settings, row: Row, cut: Result) -> FrameRequest:
    """Return which frames the extractor looks at, and how large."""
    from pipeline.media import FrameRequest

    extractor, window_s = settings.extractor(), Fraction(settings.window_s)
    windows = settings.visual_windows
    times_s = [
        time_s
        for start in cut.facts["starts_s"]
        for time_s in extractor.frame_times(Fraction(start), window_s, windows)
    ]
    return FrameRequest(times_s, extractor.SHORT_SIDE_PX, extractor.CROP_PX, row.box)


def clips_in_part(settings: Settings) -> int:
    """Return how many clips may be in memory at once."""
    extractor, window_s = settings.extractor(), Fraction(settings.window_s)
    frames = extractor.clip_frames(window_s, settings.visual_windows)
    return max(1, MAX_CLIPS_BYTES // (frames * extractor.CROP_PX**2 * 3))


def clip_parts(settings: Settings, cut: Result) -> int:
    """Return in how many parts a video's clips are read: 1 for all but long ones."""
    clips = len(cut.facts["starts_s"]) * settings.visual_windows
    return -(-clips // clips_in_part(settings))


def most_parts(settings: Settings) -> int:
    """Return in how many parts the longest video that is not refused would be read."""
    from pipeline.container import DEFAULTS

    clips = int(DEFAULTS.max_duration_s / Fraction(settings.window_s)) * settings.visual_windows
    return -(-clips // clips_in_part(settings))


def as_clips(settings: Settings, frames: np.ndarray) -> np.ndarray:
    """Return the frames that `clip_request` asked for as clips, (n x W, F, 224, 224, 3)."""
    extractor, window_s = settings.extractor(), Fraction(settings.window_s)
    count = extractor.clip_frames(window_s, settings.visual_windows)
    return frames.reshape(-1, count, *frames.shape[1:])


@dataclass
class Visual:
    """Run I3D over the clips of `batch` videos at once and store each video's features."""

    settings: Settings
    batch: int
    name: str = "visual"
    gpus: float = 1.0
    _net: Any = field(default=None, repr=False)

    @property
    def limit_s(self) -> float:
        """A video has the limit among others and once more alone, a long one that for each part."""
        return max(2, most_parts(self.settings)) * self.settings.item_limit_s

    def setup(self) -> None:
        self._net = self.settings.extractor()
        self._net.setup()

    def __call__(self, items: list[Work]) -> list[Work]:
        waiting = [work for work in items if work.clips is not None]
        done = {work.row.video_id: work for work in self._features(waiting)}
        done |= {work.row.video_id: self._late(work) for work in items if work.late}
        return [done.get(work.row.video_id, work) for work in items]

    def _late(self, work: Work) -> Work:
        """Decode and describe a video whose frames were too many to travel, part by part."""
        settings, row = self.settings, work.row
        cut = settings.ledger.read("cut", settings.key("cut", row))
        if cut is None:
            words = f"{row.path}: where its windows are is not stored; run again"
            return replace(work, late=False, outcome=Outcome("failed", self.name, "io", words))
        limit_s = settings.item_limit_s * clip_parts(settings, cut)
        features = attempt(self.name, lambda: self._part_by_part(row, cut), limit_s)
        if isinstance(features, Outcome):
            return replace(work, late=False, outcome=settings.end(self.name, row, features))
        return replace(self._store(work, features), late=False)

    def _part_by_part(self, row: Row, cut: Result) -> np.ndarray:
        from pipeline.media import read_frames

        held: list[np.ndarray] = []
        features: list[np.ndarray] = []
        request = clip_request(self.settings, row, cut)
        left, most = len(request.times_s), clips_in_part(self.settings)
        most *= self.settings.extractor().clip_frames(
            Fraction(self.settings.window_s), self.settings.visual_windows
        )

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
        features = attempt(
            "visual",
            lambda: self._net(np.concatenate([w.clips for w in waiting])),
            self.settings.item_limit_s * len(waiting),
        )
        if isinstance(features, Outcome):
            if len(waiting) > 1:  # one bad video, or too many at once: each on its own
                return [done for work in waiting for done in self._features([work])]
            return [replace(waiting[0], clips=None, outcome=features)]
        ends = np.cumsum([len(work.clips) for work in waiting])[:-1]
        parts = np.split(features, ends)
        return [self._store(work, part) for work, part in zip(waiting, parts, strict=True)]

    def _store(self, work: Work, features: np.ndarray) -> Work:
        from pipeline.stages.visual import check_features

        ledger, key = self.settings.ledger, self.settings.key("visual", work.row)

        def store() -> None:
            shape = (-1, self.settings.visual_windows, features.shape[1])
            ledger.write("visual", key, {"visual": check_features(features).reshape(shape)}, {})

        outcome = attempt("visual", store)
        return replace(work, clips=None, outcome=outcome)


def settings_record(settings: Settings) -> dict[str, Any]:
    """Return the options that make the same features of another video again."""
    names = ["motion", "visual", "weights", "window_s", "visual_windows", "precision"]
    more = ("flow", "smpl_model", "pose_weights", "detector")
    more += ("no_sound", "audio_track", "drop_silent")
    names += [name for name in more if getattr(settings, name)]
    values = {name: asdict(settings)[name] for name in names}
    paths = ("weights", "pose_weights", "detector")
    return values | {name: recorded(values[name]) for name in paths if name in values}


def recorded(weights: str) -> str:
    """Return how dataset.json names weights: by their name, or by a path that holds anywhere."""
    from pipeline.weights import TABLE

    if weights in ("kinetics", "untrained", *(weight.name for weight in TABLE)):
        return weights
    config, colon, file = "", "", weights
    if not Path(weights).exists():  # CONFIG.py:FILE
        config, colon, file = weights.rpartition(":")
    return f"{Path(config).resolve() if colon else ''}{colon}{Path(file).resolve()}"
