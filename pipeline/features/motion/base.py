"""The feature `motion`: the dancer's movement, read from annotations or estimated from the video.

Kinds of annotation are registered under `dance2music.motion`, estimators under `dance2music.pose`
(pipeline/features/pose/base.py). `--motion` accepts the names of both.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from model.contract.options import never, option
from model.contract.registry import Registry, unknown
from model.contract.segment import MOTION
from pipeline.arguments import local
from pipeline.features.base import (
    BuildSettings,
    Feature,
    Maker,
    precision,
    recorded_weights,
    runtime,
    windows_of,
)
from pipeline.features.pose.base import (
    DETECTOR,
    DETECTORS,
    ESTIMATOR,
    ESTIMATORS,
    PUBLISHED,
    check_detector,
    check_estimator,
    detector_for,
    detector_id,
    detector_name,
    estimator_id,
    make_detector,
    make_estimator,
    usual_estimator,
)
from pipeline.features.runtime import check_installed, runtime_facts
from pipeline.sources.base import ESTIMATED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from pipeline.engine.base import Stage
    from pipeline.engine.ledger import Result
    from pipeline.features.pose.base import Detector, PoseEstimator
    from pipeline.media.reader import Video
    from pipeline.sources.base import Source
    from pipeline.sources.listing import AnnotationFiles
    from pipeline.sources.manifest import Row

KINDS = Registry(
    "motion",
    "kind of motion",
    {
        "smpl": "pipeline.features.motion.smpl_rotations:SmplRotations",
        "smpl-joints": "pipeline.features.motion.smpl_joints:SmplJointPlaces",
        "openpose": "pipeline.features.motion.openpose:OpenPose",
        "aist-keypoints2d": "pipeline.features.motion.aist_keypoints:AistKeypoints",
        "simulated-keypoints2d": "pipeline.features.motion.simulated_keypoints:SimulatedKeypoints",
    },
)
OFF, AUTO = "none", "auto"
LOOKED, CHOSEN = "pose", "motion"
"""Results of an estimator: the joints of all people in every frame; the main dancer's motion."""


class AnnotationKind(Protocol):
    """Motion that is stored in files next to the videos.

    The class is called without arguments. If it has BODY_MODEL = True, it gets `smpl_model`: the
    user's file or None. If it has IMITATES, the name of a pose estimator, its motion is like that
    which the estimator finds: a model trained on it is then driven by the estimator.
    """

    FILES: ClassVar[AnnotationFiles]
    LAYOUT: ClassVar[str]
    """The meaning of a frame's values: `body25`, `smpl-rotations`, `smpl-joints`, or a new name."""
    FPS: ClassVar[int]
    DIM: ClassVar[int]

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError if the user must change something first."""
        ...

    def setup(self) -> None:
        """Load everything that reading needs; called once in each worker."""
        ...

    def __call__(
        self,
        video: Video,
        annotation: Path,
        row: Row,
        facts: Mapping[str, Any],
        windows: Sequence[tuple[Fraction, Fraction]],
    ) -> np.ndarray:
        """Return float32 (n, T, DIM) for n windows, (start, stop) in seconds, of T frames at FPS.

        `facts` come from the result `cut`: `video_start_s`, `width_px`, `height_px`. Raises
        StageError `missing_motion` or `bad_motion`, which names the file.
        """
        ...


def names() -> list[str]:
    """Return all values of `--motion`."""
    return [*KINDS.names(), *ESTIMATORS.names(), AUTO, OFF]


def _name(text: str) -> str:
    if text and text not in names():
        raise ArgumentTypeError(unknown("kind of motion", text, names()))
    return text


@dataclass(frozen=True)
class Motion(Feature):
    """The motion of the main dancer: T frames of DIM values for each segment.

    `kind` is a kind of annotation, the name of a pose estimator, or "" for the default of the
    source. The ids identify networks and model files; `ready` sets them.
    """

    name: ClassVar[str] = "motion"
    suffix: ClassVar[str] = MOTION

    kind: str = option(
        "",
        lambda: (
            f"kind of annotations to read ({', '.join(KINDS.names())}), or network that estimates "
            f"poses from the video ({', '.join(ESTIMATORS.names())}; auto: {ESTIMATOR} if it is "
            "installed with its weights, else blazepose), or none (default: none for folder, auto "
            "for tiktok and wild, else smpl)"
        ),
        flag="motion",
        type=_name,
    )
    weights: str = option(
        "",
        f"weights of the pose estimator; for {ESTIMATOR}: {PUBLISHED} (default the first), a file, "
        "CONFIG.py:FILE, or untrained (random, marked as untrained); for blazepose: blazepose_full "
        "(default) or blazepose_heavy",
        flag="pose-weights",
        record=recorded_weights,
    )
    detector: str = option(
        "",
        lambda: (
            f"network that finds the dancers: {', '.join(DETECTORS.names())}, a file, or untrained "
            f"(default {DETECTOR}, for blazepose movenet)"
        ),
        type=detector_name,
        record=recorded_weights,
    )
    smpl_model: Path | None = option(None, "your SMPL body model file, for smpl-joints", type=local)
    folder: Path | None = option(
        None,
        "folder of the annotations (default: next to the videos)",
        flag="motion-dir",
        record=never,
        type=local,
    )
    precision: str = precision()
    runtime: str = runtime()
    weights_id: str = ""
    detector_id: str = ""
    model_id: str = ""
    why: str = ""

    @classmethod
    def off(cls) -> Motion:
        return cls(OFF)

    @property
    def on(self) -> bool:
        return self.kind != OFF

    @property
    def estimated(self) -> bool:
        """Whether it is estimated from the video."""
        return self.kind not in (OFF, *KINDS.names())

    @property
    def results(self) -> tuple[str, ...]:
        return (LOOKED, CHOSEN)

    @property
    def annotations(self) -> AnnotationFiles | None:
        return KINDS.get(self.kind).FILES if self.on and not self.estimated else None

    @property
    def annotations_dir(self) -> Path | None:
        return self.folder

    @property
    def decodes(self) -> bool:
        return self.estimated

    def for_source(self, source: Source) -> Motion:
        usual = AUTO if source.DEFAULT_MOTION == ESTIMATED else source.DEFAULT_MOTION
        kind, why = self.kind or usual, ""
        if kind == AUTO:
            kind, why = usual_estimator(self.weights)
        return replace(self, kind=kind, why=why)

    def choices(self) -> list[str]:
        return [f"motion: {self.kind} ({self.why})"] if self.why else []

    def check(self, window_s: Fraction) -> None:
        if not self.estimated and getattr(KINDS.get(self.kind), "BODY_MODEL", False):
            self.annotation_kind().check()
            return
        if self.smpl_model:
            raise ValueError(f"--smpl-model {self.smpl_model} needs --motion smpl-joints")
        if not self.estimated:
            self.annotation_kind().check()
            return
        instead = "or use --motion openpose (poses as JSON), or --motion none"
        missing = []  # of both networks: a user who must fetch two should learn it at once
        try:
            finder = detector_for(self.kind, self.detector)
            self.networks()  # raises if the runtime cannot run them
            check_installed(self.runtime)
            try:
                check_estimator(self.kind, self.weights)
            except FileNotFoundError as error:
                missing.append(str(error))
            if finder:
                check_detector(finder)
        except FileNotFoundError as error:
            missing.append(str(error))
        except ValueError as error:
            raise ValueError(f"{error}; {instead}") from None
        if missing:
            raise FileNotFoundError("; ".join([*missing, instead]))

    def ready(self, window_s: Fraction) -> Motion:
        if self.on:
            self.check(window_s)
        if self.estimated:
            kind, finder = ESTIMATORS.get(self.kind), detector_for(self.kind, self.detector)
            return replace(
                self,
                weights=self.weights or kind.WEIGHTS,
                weights_id=estimator_id(self.kind, self.weights),
                detector=finder,
                detector_id=detector_id(finder) if finder else "",
            )
        if self.on and getattr(KINDS.get(self.kind), "BODY_MODEL", False):
            from pipeline.features.motion.smpl_model import body_model_id

            assert self.smpl_model is not None, "`check` raises without it"
            path = self.smpl_model.resolve()
            return replace(self, smpl_model=path, model_id=body_model_id(path))
        return self

    def annotation_kind(self) -> AnnotationKind:
        """Return the reader of the annotations; nothing is loaded yet."""
        kind = KINDS.get(self.kind)
        return kind(smpl_model=self.smpl_model) if getattr(kind, "BODY_MODEL", False) else kind()

    def published_weights(self) -> list[str]:
        if not self.estimated:
            return []
        from pipeline.weights.table import TABLE

        named = [getattr(net, "weights", "") for net in self.networks() if net is not None]
        return [weight.name for weight in TABLE if weight.name in named]

    def networks(self) -> tuple[Detector | None, PoseEstimator]:
        """Return the person detector and the pose estimator; their weights are not loaded yet.

        There is no detector where the estimator finds them itself.
        """
        finder = detector_for(self.kind, self.detector)
        return (
            make_detector(finder, self.precision, self.runtime) if finder else None,
            make_estimator(self.kind, self.weights, self.precision, self.runtime),
        )

    def key(self, row: Row, cut: Mapping[str, Any], result: str) -> str:
        from pipeline.engine.ledger import result_key

        if not self.estimated:
            body = {"smpl_model": self.model_id} if self.model_id else {}
            config = {**cut, "motion": self.kind, **body}
            return result_key(row.sha256 + row.motion_sha256, CHOSEN, config)
        from pipeline.features.pose.people import CHOOSING, LOOKING, pace

        looking = LOOKING | pace(ESTIMATORS.get(self.kind))
        config = (
            looking | {"precision": self.precision} | runtime_facts(self.runtime) | row.clip_key
        )
        if result == CHOSEN:
            config |= {**cut, **CHOOSING, "motion": self.kind}
        return result_key(row.sha256, result, config, f"{self.weights_id} {self.detector_id}")

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        if self.estimated:
            from pipeline.features.motion.body25 import DIM, FPS, LAYOUT
        else:
            kind = KINDS.get(self.kind)
            DIM, FPS, LAYOUT = kind.DIM, kind.FPS, kind.LAYOUT
        spec = {
            "dtype": "float32",
            "shape": [round(FPS * window_s), DIM],
            "kind": self.kind,
            "layout": LAYOUT,
            "fps": FPS,
        }
        if self.estimated:
            made_by = {"weights": self.weights_id, "detector": self.detector_id}
            spec |= {"precision": self.precision} | runtime_facts(self.runtime) | made_by
        elif self.on and (imitates := getattr(KINDS.get(self.kind), "IMITATES", "")):
            spec |= {"imitates": imitates}
        return spec | ({"model_sha256": self.model_id} if self.model_id else {})

    def notes(self) -> list[str]:
        made_by = {"poses by": self.weights, "dancers found by": self.detector}
        return [
            f"motion: {what} a network with random weights"
            for what, weights in made_by.items()
            if self.estimated and weights == "untrained"
        ]

    def record(self) -> dict[str, Any]:
        networks = {"pose_weights", "detector", "precision", "runtime"}
        used = {"motion"} | (networks if self.estimated else set())
        used |= {"smpl_model"} if self.model_id else set()
        return {key: value for key, value in super().record().items() if key in used}

    def maker(self, settings: BuildSettings) -> Maker | None:
        if self.estimated:
            return None
        from pipeline.engine.outcome import StageError

        kind, window_s = self.annotation_kind(), Fraction(settings.window_s)
        kind.setup()

        def make(
            row: Row, cut: Result, video: Video
        ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            if not row.motion:
                raise StageError("missing_motion", f"{row.path}: no annotation; use --motion none")
            path = settings.motion_root / row.motion
            if not path.exists():
                raise StageError(
                    "missing_motion",
                    f"{row.path}: {row.motion} not found in the annotation folder; name that "
                    "folder with --motion-dir DIR, or use --motion none",
                )
            windows = windows_of(cut, window_s)
            return {CHOSEN: kind(video, path, row, cut.facts, windows)}, {}

        return make

    def stages(self, settings: BuildSettings) -> list[Stage]:
        if not self.estimated:
            return []
        from pipeline.features.pose.stage import Pose

        return [Pose(settings)]
