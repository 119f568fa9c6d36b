"""2D keypoints from AIST++ annotations: the 17 COCO joints of each camera, as BODY_25 at 30 fps.

A file `keypoints2d/<dance>.pkl` has `keypoints2d`, an array (9, N, 17, 3): camera c01 to c09,
frame, joint, and x px, y px, confidence. AIST++ says that its frames are at exactly 60 fps,
whatever the video's container says, so its `timestamps` are not used. A frame without a detection
is NaN. (Data formats: google.github.io/aistplusplus_dataset; order of cameras:
google/aistplusplus_api.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.engine.outcome import StageError
from pipeline.features.motion import safe_pickle
from pipeline.features.motion.body25 import COCO, DIM, FPS, LAYOUT, normalise, to_body25
from pipeline.features.motion.smpl_rotations import FPS as FILE_FPS
from pipeline.features.motion.smpl_rotations import cut_motion, read_pickle
from pipeline.sources.aist import CAMERAS
from pipeline.sources.listing import AnnotationFiles
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Video

PICTURE_PX = (1920, 1080)
"""Width and height of AIST's pictures."""


class AistKeypoints:
    """`--motion aist-keypoints2d`: what AIST++'s detector saw in the video's own camera."""

    FILES: ClassVar = AnnotationFiles("keypoints2d", ".pkl", any_camera=True)
    LAYOUT: ClassVar[str] = LAYOUT
    FPS: ClassVar[int] = FPS
    DIM: ClassVar[int] = DIM

    def check(self) -> None:
        """Nothing to check."""

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(
        self,
        video: Video,
        annotation: Path,
        row: Row,
        facts: Mapping[str, Any],
        windows: Sequence[tuple[Fraction, Fraction]],
    ) -> np.ndarray:
        """Return float32 (n, T, 75) for n windows of T frames, 30 per second."""
        ((start_s, stop_s), *_) = windows
        joints = load_keypoints(annotation, camera_of(row))
        poses = normalise(
            to_body25(COCO, joints), *picture_px(facts["width_px"], facts["height_px"])
        )
        origin_s, starts_s = Fraction(facts["video_start_s"]), [start for start, _ in windows]
        cut = cut_motion(poses.reshape(len(poses), DIM), origin_s, starts_s, stop_s - start_s)
        return cut[:, :: FILE_FPS // FPS][:, : round(FPS * (stop_s - start_s))]


def load_keypoints(path: Path, camera: str) -> np.ndarray:
    """Return what one camera saw, float32 (N, 17, 3): x px, y px, confidence at 60 fps.

    A joint that was not detected is (0, 0, 0).

    Raises StageError `missing_motion` or `bad_motion`, which names the file.
    """
    raw = read_pickle(path)
    try:
        found = safe_pickle.numbers(raw["keypoints2d"]).astype(np.float32)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        message = f"{path.name}: not AIST++'s 2D keypoints: {error!r}"
        raise StageError("bad_motion", message) from None
    if found.ndim != 4 or found.shape[2:] != (len(COCO), 3):
        message = f"{path.name}: keypoints2d has shape {found.shape}, expected (9, N, 17, 3)"
        raise StageError("bad_motion", message)
    if (index := CAMERAS.index(camera)) >= len(found):
        message = f"{path.name}: has {len(found)} cameras, none is {camera}"
        raise StageError("bad_motion", message)
    joints = found[index]
    if np.isinf(joints).any():
        raise StageError("bad_motion", f"{path.name}: {camera} has infinite numbers")
    seen = np.isfinite(joints).all(-1) & (joints[..., 2] > 0)
    if not seen.any():
        message = f"{path.name}: {camera} shows nobody in any frame; leave this camera out"
        raise StageError("bad_motion", message)
    return np.where(seen[..., None], joints, np.float32(0))


def camera_of(row: Row) -> str:
    """Return the camera that a video's name states. Raises StageError if it states none."""
    if (match := re.search(r"_(c\d\d)_", row.video_id)) and match[1] in CAMERAS:
        return match[1]
    raise StageError(
        "bad_motion",
        f"{row.path}: its name states no camera from c01 to c09, so its keypoints are unknown; "
        "give it the name that AIST gave it",
    )


def picture_px(width_px: int, height_px: int) -> tuple[int, int]:
    """Return the width and height of the picture that the keypoints are px of.

    It is AIST's, also for a video that was made smaller. A video of another shape was published so:
    one camera of one dance has 640 x 480.
    """
    width, height = PICTURE_PX
    same_shape = abs(width_px / height_px - width / height) < 0.02
    return PICTURE_PX if same_shape else (width_px, height_px)
