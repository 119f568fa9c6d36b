"""Detect, count and track the people in each clip; optionally estimate their poses.

Boxes, tracks and joints are stored, and the scores are computed from them. A new decision therefore
needs no network. Clips and their boxes come from measure.py; the borders outside the box are not
used.

Legend: n sampled frames, N sightings (a person in a frame), K joints of the pose network (0 without
one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.curate.frames import LIMITS, paced_frames
from pipeline.curate.measure import Measure, Work, shown_places, thumbnail
from pipeline.curate.scores import Clip, ClipData, Figure
from pipeline.engine.ledger import Result, result_key
from pipeline.engine.outcome import Outcome, StageError, attempt
from pipeline.engine.time_limit import ITEM_LIMIT_S
from pipeline.features.motion.body25 import to_body25
from pipeline.features.pose import tracks
from pipeline.features.pose.base import (
    ESTIMATOR,
    ESTIMATOR_OF,
    ESTIMATORS,
    MIN_SCORE,
    Detector,
    PoseEstimator,
    check_detector,
    check_estimator,
    detector_id,
    estimator_id,
    make_detector,
    make_estimator,
    takes_frames,
)
from pipeline.features.pose.people import MIN_CONFIDENCE, PersonCollector, pose_crops
from pipeline.media.reader import Video
from pipeline.sources.manifest import Row

NAME = "people"
RATE_HZ = 6
LONGEST_S = 40.0
"""The first 40 s of a clip are sampled, six frames per second."""
SHORT_SIDE_PX = 360
EDGE = 0.015
"""A box closer than this to the upper or lower side of the picture counts as cut off. The unit is
the height of the picture."""
BODY_PARTS = (("nose",), ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
         ("left_knee", "right_knee"), ("left_ankle", "right_ankle"))  # fmt: skip
"""A body is completely visible if one joint of each group is visible: in a side view the other one
is hidden."""
LOOKING = {
    "rate_hz": RATE_HZ,
    "longest_s": LONGEST_S,
    "short_side_px": SHORT_SIDE_PX,
    "min_score": MIN_SCORE,
    "min_iou": tracks.MIN_IOU,
    "max_steps": tracks.MAX_STEPS,
}


@dataclass(frozen=True)
class Networks:
    """The detector and pose estimator: the names that the user gave, and hashes of the weights.

    `pose_weights` is the name of a pose estimator, or weights of the default one.
    """

    detector: str
    detector_id: str
    pose_weights: str = ""
    pose_id: str = ""

    @property
    def estimator(self) -> tuple[str, str]:
        """The name of the pose estimator, and the name of its weights."""
        named = self.pose_weights in ESTIMATORS.names()
        kind = ESTIMATOR_OF.get(self.pose_weights, ESTIMATOR)
        return (self.pose_weights, "") if named else (kind, self.pose_weights)

    @classmethod
    def of(cls, detector: str, pose_weights: str) -> Networks:
        """Check that both are usable. Raises ValueError or FileNotFoundError if one is not."""
        check_detector(detector)
        if not pose_weights:
            return cls(detector, detector_id(detector))
        asked = cls(detector, "", pose_weights).estimator
        if takes_frames(ESTIMATORS.get(asked[0])) and detector != asked[0]:
            raise ValueError(
                f"--pose-weights {pose_weights}: {asked[0]} finds its own people; expected "
                f"--detector {asked[0]}, not {detector}"
            )
        check_estimator(*asked)
        return cls(detector, detector_id(detector), pose_weights, estimator_id(*asked))


@dataclass
class People:
    """Writes the people of every clip of one measured video to the ledger."""

    measured: Measure
    networks: Networks
    name: str = NAME
    batch: int = 1
    gpus: float = 0.25
    limit_s: float = 6 * ITEM_LIMIT_S  # enough for half an hour of video on a CPU
    _detector: Detector | None = field(default=None, repr=False)
    _net: PoseEstimator | None = field(default=None, repr=False)

    def setup(self) -> None:
        self._detector = make_detector(self.networks.detector)
        self._detector.setup()
        if self.networks.pose_weights:
            self._net = make_estimator(*self.networks.estimator)
            self._net.setup()

    def __call__(self, items: list[Work]) -> list[Work]:
        return [self._one(item) for item in items]

    def key(self, row: Row) -> str:
        """Return the key of a video's result, from its clips, both networks and the settings."""
        config = LOOKING | {"clips": self.measured.key(row)}
        weights = f"{self.networks.detector_id} {self.networks.pose_id}"
        return result_key(row.sha256, NAME, config, weights)

    def stored(self, row: Row) -> Outcome | None:
        """Return the stored outcome of one input; None if the ledger has none."""
        result = self.measured.ledger.facts(NAME, self.key(row))
        if result is None:
            return None
        if result.outcome is not None:
            return replace(result.outcome, message=f"{row.path}: {result.outcome.message}")
        return Outcome("ok", segments=result.facts["clips"])

    def clips(self, row: Row) -> list[tuple[Clip, ClipData]]:
        """Return the clips of one video with their data, including the people."""
        clips = self.measured.clips(row)
        result = self.measured.ledger.read(NAME, self.key(row))
        if result is None or result.outcome is not None:
            return clips
        return [_peopled(*pair, k, result) for k, pair in enumerate(clips)]

    def _one(self, work: Work) -> Work:
        row, ledger = work.row, self.measured.ledger
        path = self.measured.root / row.path
        clips = self.measured.bare_clips(row)
        detector, net = self._detector, self._net
        assert detector is not None, "`setup` comes first"
        made = attempt(NAME, lambda: look(path, clips, detector, net), self.limit_s)
        if isinstance(made, Outcome):
            kept = replace(made, message=made.message.replace(f"{path}: ", ""))
            error = attempt(NAME, lambda: ledger.write(NAME, self.key(row), {}, {}, kept))
            return Work(row, error or made)
        facts = {"clips": len(clips), "joints": list(net.names) if net else []}
        error = attempt(NAME, lambda: ledger.write(NAME, self.key(row), made, facts))
        return Work(row, error or Outcome("ok", segments=len(clips)))


def look(
    path: Path, clips: Sequence[Clip], detector: Detector, net: PoseEstimator | None
) -> dict[str, np.ndarray]:
    """Return for each clip k the frame times `times_s_<k>` (n,), the sightings and a thumbnail.

    `frame_<k>`, `track_<k>` (N,), `boxes_<k>` (N, 4) and `joints_<k>` (N, K, 3) come from
    `PersonCollector.result`. Positions are in px of the video, relative to the upper left corner of
    the clip's box.

    Raises MediaError or StageError.
    """
    arrays: dict[str, np.ndarray] = {}
    cuts = [(clip.start_frame, clip.end_frame, clip.box) for clip in clips]
    seen = paced_frames(Video(path, LIMITS), cuts, RATE_HZ, LONGEST_S, SHORT_SIDE_PX)
    for k, (clip, (times_s, pictures)) in enumerate(zip(clips, seen, strict=True)):
        watch = PersonCollector(detector, net, len(pictures), clip.box[2:], every=1)
        for picture in pictures:
            watch(picture)
        joints = np.zeros((0, 0, 3)) if net is None else pose_crops(net, watch.crops())
        found = watch.result(joints)
        if not (np.isfinite(found["joints"]).all() and np.isfinite(found["boxes"]).all()):
            raise StageError("undecodable", f"{path}: positions of people are NaN or infinite")
        found |= {"times_s": times_s, "thumb": thumbnail(pictures)}
        arrays |= {f"{name}_{k}": array for name, array in found.items()}
    return arrays


@dataclass(frozen=True)
class Scores:
    """`dancers`: median number of people at the same time. `whole_body`: share of frames that show
    the complete body of the main dancer (defined in features/pose/tracks.py). `energy`: mean speed
    of the main dancer's joints (without joints: corners of the box), in body heights per second."""

    dancers: int
    whole_body: float
    energy: float


def people_scores(
    seen: Mapping[str, np.ndarray], names: Sequence[str], size_px: tuple[int, int]
) -> tuple[Scores, int | None]:
    """Return the scores of one clip's people, and the track of the main dancer (None: no people).

    `seen` has the arrays of `look` for this clip, without the clip number in their names; `size_px`
    is (w, h) of the clip's box.
    """
    frames = len(seen["times_s"])
    dancers = tracks.dancers_seen(seen["frame"], frames)
    main = tracks.main_dancer(seen["frame"], seen["track"], seen["boxes"], frames, size_px)
    if main is None:
        return Scores(dancers, 0.0, 0.0), None
    mine = seen["track"] == main
    boxes, joints = seen["boxes"][mine].astype(float), seen["joints"][mine].astype(float)
    whole = whole_bodies(boxes, joints, names, size_px)
    points = joints
    if not names:
        corners = boxes.reshape(-1, 2, 2)
        points = np.concatenate([corners, np.ones((len(boxes), 2, 1))], -1)
    height_px = float(np.median(boxes[:, 3] - boxes[:, 1]))
    speed = mean_speed(points, seen["times_s"][seen["frame"][mine]])
    return Scores(dancers, float(whole.sum() / frames), speed / max(height_px, 1.0)), main


def whole_bodies(
    boxes: np.ndarray, joints: np.ndarray, names: Sequence[str], size_px: tuple[int, int]
) -> np.ndarray:
    """Return for each sighting, bool (N,), whether the complete body is visible.

    `boxes` is (N, 4), `joints` is (N, K, 3). A body is incomplete if the upper or lower side of the
    picture cuts off its box, or if a group in BODY_PARTS has no visible joint.
    """
    height = size_px[1]
    whole = (boxes[:, 1] > EDGE * height) & (boxes[:, 3] < (1 - EDGE) * height)
    for group in BODY_PARTS:
        at = [names.index(name) for name in group if name in names]
        if at:
            whole &= (joints[:, at, 2] >= MIN_CONFIDENCE).any(1)
    return whole


def mean_speed(points: np.ndarray, times_s: np.ndarray) -> float:
    """Return the mean speed of `points` (N, Q, 3) between successive times (N,), in px per second.

    A point counts if its confidence is high enough at both times.
    """
    sure = (points[1:, :, 2] >= MIN_CONFIDENCE) & (points[:-1, :, 2] >= MIN_CONFIDENCE)
    apart = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1)
    speed = apart / np.diff(times_s)[:, None]
    return float(speed[sure].mean()) if sure.any() else 0.0


def _peopled(clip: Clip, material: ClipData, k: int, result: Result) -> tuple[Clip, ClipData]:
    """Return a clip and its data, with the scores and the drawn figures of its people added."""
    kinds = ("times_s", "frame", "track", "boxes", "joints")
    seen = {kind: result.arrays[f"{kind}_{k}"] for kind in kinds}
    names = result.facts["joints"]
    scores, main = people_scores(seen, names, clip.box[2:])
    places = shown_places(len(seen["times_s"]))
    figures = [
        _figure(picture, seen, at, names, clip.box[2:], main)
        for picture, place in enumerate(places)
        for at in np.flatnonzero(seen["frame"] == place).tolist()
    ]
    thumb = result.arrays[f"thumb_{k}"].tobytes()
    return (
        replace(clip, **asdict(scores)),
        replace(material, thumbnail=thumb, figures=tuple(figures)),
    )


def _figure(
    picture: int,
    seen: Mapping[str, Any],
    at: int,
    names: Sequence[str],
    size_px: tuple[int, int],
    main: int | None,
) -> Figure:
    box = tuple((seen["boxes"][at] / np.tile(size_px, 2)).tolist())
    body = None
    if names:
        body = to_body25(names, seen["joints"][at])
        body[:, :2] /= size_px
    return Figure(picture, box, body, bool(seen["track"][at] == main))
