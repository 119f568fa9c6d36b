"""2D keypoints from OpenPose's JSON output: BODY_25 at 30 fps."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from model.contract.segment import is_hidden
from pipeline.engine.outcome import StageError
from pipeline.features.motion.body25 import DIM, FPS, JOINTS, LAYOUT, nearest, normalise
from pipeline.sources.listing import AnnotationFiles
from pipeline.sources.manifest import Row

if TYPE_CHECKING:
    from pipeline.media.reader import Video

NUMBER = re.compile(r"_(\d+)_keypoints\.json$")
"""The end of OpenPose's file names: the frame number, then a fixed suffix."""


class OpenPose:
    """`--motion openpose`: a folder of JSON files, one for each frame."""

    FILES: ClassVar = AnnotationFiles("openpose", "")
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
        """Return float32 (n, T, 75): the largest person, at 30 frames a second of each window."""
        ((start_s, stop_s), *_) = windows
        times_s = shown_s(video, annotation)
        if row.span_s:
            people, times_s = load_clip(annotation, times_s, row.span_s, row.box)
        else:
            people = load_people(annotation)
        poses = main_person(people, facts["width_px"], facts["height_px"])
        return cut_motion(poses, times_s, [start for start, _ in windows], stop_s - start_s)


def shown_s(video: Video, poses: Path) -> list[Fraction]:
    """Return the times in seconds at which the frames of a video are shown.

    The times come from the packets. If their number does not fit the number of OpenPose files, as
    for rare streams, the video is decoded to find the exact times.

    Raises MediaError, and StageError if the numbers of files and frames do not fit.
    """
    times_s = video.frame_times()
    try:
        check_files(poses, len(times_s))
    except StageError as error:
        if error.code != "bad_motion":
            raise
        times_s = video.decoded_times()
        check_files(poses, len(times_s))
    return times_s


def load_people(folder: Path) -> list[np.ndarray]:
    """Return for each frame float32 (P, 25, 3), P persons: x px, y px, confidence.

    The folder is the output of `openpose --write_json`. The frames are its `*_keypoints.json`
    files, sorted by name; OpenPose numbers them.

    Raises StageError `missing_motion` or `bad_motion`, which names the file.
    """
    return [_people(path) for path in _files(folder)]


def load_clip(
    folder: Path,
    times_s: Sequence[Fraction],
    span_s: tuple[Fraction, Fraction],
    box: Sequence[int],
) -> tuple[list[np.ndarray], list[Fraction]]:
    """Return the people (P, 25, 3) in the frames of a clip, and the times of these frames.

    `folder` has the files of the complete video, whose frames are shown at `times_s`. Coordinates
    are relative to the upper left corner of `box`. Joints outside the box are set to not visible,
    and people without a joint inside are left out: blurred side bars often repeat the dancer.

    Raises the StageErrors of `load_people` and `cut_motion`.
    """
    files = _files(folder)
    _check_count(len(files), len(times_s))
    times_s = times_s[: len(files)]
    start, stop = (bisect_left(times_s, at_s) for at_s in span_s)
    x, y, width, height = box
    people = []
    for path in files[start:stop]:
        found = _people(path)
        found[..., :2] -= (x, y)
        inside = (found[..., :2] >= 0).all(-1) & (found[..., :2] < (width, height)).all(-1)
        found = np.where((inside & (found[..., 2] > 0))[..., None], found, np.float32(0))
        people.append(found[found[..., 2].any(-1)])
    return people, list(times_s[start:stop])


def main_person(people: Sequence[np.ndarray], width_px: int, height_px: int) -> np.ndarray:
    """Return one person per frame, normalised by `body25.normalise`: float32 (F, 75).

    This is the person whose visible joints span the largest box. A frame without people is all
    zeros.
    """
    frames = np.zeros((len(people), JOINTS, 3), dtype=np.float32)
    for frame, found in zip(frames, people, strict=True):
        if len(found):
            frame[:] = found[int(np.argmax([_box_px2(person) for person in found]))]
    return normalise(frames, width_px, height_px).reshape(len(people), DIM)


def cut_motion(
    poses: np.ndarray,
    times_s: Sequence[Fraction],
    starts_s: Sequence[Fraction],
    window_s: Fraction,
) -> np.ndarray:
    """Return (n, T, 75): for each window the poses nearest in time to its T = 30 x window_s frames.

    `times_s` are the timestamps of the shown frames. Their number may differ by one from the number
    of poses, because programs handle the last frame differently.

    Raises StageError `bad_motion` if the numbers differ by more.
    """
    _check_count(len(poses), len(times_s))
    poses, times_s = poses[: len(times_s)], times_s[: len(poses)]
    frames = round(FPS * window_s)
    shown = np.array([float(t) for t in times_s])
    cut = np.empty((len(starts_s), frames, DIM), dtype=np.float32)
    for i, start_s in enumerate(starts_s):
        wanted = float(start_s) + np.arange(frames) / FPS
        cut[i] = poses[nearest(shown, wanted)]
    return cut


def _files(folder: Path) -> list[Path]:
    found = folder.glob("*_keypoints.json") if folder.is_dir() else ()
    files = sorted(path for path in found if not is_hidden(Path(path.name)))
    if not files:
        raise StageError("missing_motion", f"{folder.name}: no *_keypoints.json files found")
    return files


def check_files(folder: Path, shown: int) -> None:
    """Raise StageError if the folder does not have one file for each of the `shown` frames.

    A difference of one is allowed, because programs handle the last frame differently.
    """
    files = _files(folder)
    numbers = [int(found[1]) for path in files if (found := NUMBER.search(path.name))]
    if len(numbers) == len(files) and numbers:
        there = sorted(set(numbers))
        count = there[-1] - there[0] + 1 - len(there)
        if count:
            gaps = (range(a + 1, b) for a, b in pairwise(there) if b > a + 1)
            absent = list(islice(chain.from_iterable(gaps), 3))
            more = f" and {count - 3} more" if count > 3 else ""
            raise StageError(
                "bad_motion",
                f"{folder.name}: no file for frame {', '.join(map(str, absent))}{more}: some "
                "files were deleted or not copied; copy them again, or run OpenPose again",
            )
    _check_count(len(files), shown)


def _check_count(poses: int, shown: int) -> None:
    if abs(poses - shown) > 1:
        raise StageError(
            "bad_motion",
            f"OpenPose wrote {poses} frames, but the video shows {shown}: OpenPose ran on another "
            "file or was stopped early; run it again on exactly this file",
        )


def _people(path: Path) -> np.ndarray:
    try:
        people = json.loads(path.read_bytes())["people"]
        with np.errstate(over="ignore"):
            found = np.array([p["pose_keypoints_2d"] for p in people], dtype=np.float32)
        found = found.reshape(-1, JOINTS, 3)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise StageError(
            "bad_motion", f"{path.name}: not OpenPose BODY_25 JSON: {error!r:.300}"
        ) from None
    if not np.isfinite(found).all():
        raise StageError("bad_motion", f"{path.name}: contains NaN or infinity")
    return found


def _box_px2(person: np.ndarray) -> float:
    seen = person[person[:, 2] > 0, :2]
    return float(np.prod(seen.max(0) - seen.min(0))) if len(seen) else -1.0
