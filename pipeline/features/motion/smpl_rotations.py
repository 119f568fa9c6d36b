"""Read SMPL motion from AIST++ annotations: rotations and translation at 60 fps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.engine.outcome import StageError
from pipeline.features.motion import safe_pickle as plain_pickle
from pipeline.sources.listing import AnnotationFiles
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Video

FPS = 60
JOINTS = 24
DIM = 3 + 9 * JOINTS
PARTS = ("poses", "trans", "scaling")


class SmplRotations:
    """`--motion smpl`: root position and rotation matrices from AIST++ pickles."""

    FILES: ClassVar = AnnotationFiles("motions", ".pkl", any_camera=True)
    LAYOUT: ClassVar[str] = "smpl-rotations"
    FPS: ClassVar[int] = FPS
    DIM: ClassVar[int] = DIM

    def check(self) -> None:
        """Nothing to check."""

    def setup(self) -> None:
        """Nothing to load."""

    def load_motion(self, path: Path) -> np.ndarray:
        return load_motion(path)

    def __call__(
        self,
        video: Video,
        annotation: Path,
        row: Row,
        facts: Mapping[str, Any],
        windows: Sequence[tuple[Fraction, Fraction]],
    ) -> np.ndarray:
        """Return float32 (n, T, DIM) for n windows of T frames, 60 per second."""
        ((start_s, stop_s), *_) = windows
        motion, starts_s = self.load_motion(annotation), [start for start, _ in windows]
        return cut_motion(motion, Fraction(facts["video_start_s"]), starts_s, stop_s - start_s)


def load_motion(path: Path) -> np.ndarray:
    """Return the motion of an AIST++ pickle as float32 (T, 219) at 60 fps.

    Each row is the root's translation in body units (smpl_trans / smpl_scaling, 3 values), then
    the 24 joints' rotation matrices, row by row (216 values): the layout of AIST++'s own
    preprocessing (google/aistplusplus_api, google-research/mint).

    Raises StageError `missing_motion` or `bad_motion`.
    """
    poses, place = read_annotation(path)
    rotations = rotation_matrices(poses.reshape(-1, 3)).reshape(len(poses), 9 * JOINTS)
    return np.concatenate([place, rotations], axis=1).astype(np.float32)


def read_annotation(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return an AIST++ pickle's axis-angle rotations (T, 72) and root positions (T, 3), body units.

    Raises StageError `missing_motion` or `bad_motion`.
    """
    raw = read_pickle(path)
    try:
        arrays = (plain_pickle.numbers(raw[f"smpl_{name}"]) for name in PARTS)
        poses, trans, scale = (array.astype(np.float64) for array in arrays)
        scaling = float(scale.reshape(-1)[0])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StageError(
            "bad_motion", f"{path.name}: not an AIST++ annotation: {error!r}"
        ) from None
    if poses.ndim != 2 or poses.shape[1] != 3 * JOINTS or trans.shape != (len(poses), 3):
        raise StageError(
            "bad_motion",
            f"{path.name}: smpl_poses {poses.shape} and smpl_trans {trans.shape}, "
            "expected (T, 72) and (T, 3)",
        )
    if not (np.isfinite(poses).all() and np.isfinite(trans).all() and 0 < scaling < np.inf):
        message = f"{path.name}: contains NaN, infinity or an invalid scale ({scaling})"
        raise StageError("bad_motion", message)
    with np.errstate(over="ignore"):
        place = trans / scaling
    if not np.isfinite(place).all():
        message = f"{path.name}: the scale {scaling} is too small for the positions"
        raise StageError("bad_motion", message)
    return poses, place


def read_pickle(path: Path) -> Any:
    """Return the content of an AIST++ pickle; its arrays are records for `safe_pickle.numbers`.

    Raises StageError `missing_motion` or `bad_motion`.
    """
    if not path.is_file():
        raise StageError("missing_motion", f"{path.name}: annotation file not found")
    try:
        return plain_pickle.load(path.read_bytes())
    except ValueError as error:
        raise StageError(
            "bad_motion", f"{path.name}: unreadable annotation: {error}; download it again"
        ) from error


def rotation_matrices(rotvec: np.ndarray) -> np.ndarray:
    """Convert axis-angle vectors (n, 3) in radians to rotation matrices (n, 3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotvec).as_matrix()


def cut_motion(
    motion: np.ndarray, origin_s: Fraction, starts_s: Sequence[Fraction], window_s: Fraction
) -> np.ndarray:
    """Return (n, T, D): the T = 60 x window_s annotation frames of each window.

    `origin_s` is the time of frame 0 of the annotation, the first frame of the video. If a window
    starts between two annotation frames, the nearer one is used. Up to 3 frames (50 ms) may be
    missing at the end of the annotation; its last frame is then repeated.

    Raises StageError `bad_motion` if the annotation is shorter.
    """
    frames = round(FPS * window_s)
    cut = np.empty((len(starts_s), frames, motion.shape[1]), dtype=np.float32)
    for i, start_s in enumerate(starts_s):
        first = round((start_s - origin_s) * FPS)
        missing = first + frames - len(motion)
        if missing > 3:
            raise StageError(
                "bad_motion",
                f"motion has {len(motion)} frames, the windows need {first + frames} "
                f"at {FPS} fps; download the annotation again",
            )
        cut[i] = motion[np.minimum(np.arange(first, first + frames), len(motion) - 1)]
    return cut
