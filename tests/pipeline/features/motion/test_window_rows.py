"""How many rows of motion a window has: frames a second times its length, to the nearest row."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pipeline.features.motion import openpose, smpl_rotations
from pipeline.features.motion.base import Motion
from pipeline.features.pose.people import motion_of

CLIP_S = Fraction("5.12")
WINDOWS_S = [Fraction(2), Fraction("2.05"), Fraction(5, 2), CLIP_S, Fraction(20)]


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_every_kind_of_motion_has_the_rows_that_its_entry_says(window_s: Fraction) -> None:
    starts_s = [k * window_s for k in range(2)]
    at_60, at_30 = round(60 * window_s), round(30 * window_s)
    for kind, rows in (("smpl", at_60), ("smpl-joints", at_60), ("openpose", at_30),
                       ("aist-keypoints2d", at_30), ("blazepose", at_30)):  # fmt: skip
        assert Motion(kind).spec(window_s)["shape"][0] == rows, kind
    frames = np.arange(60 * 41, dtype=np.float32)
    made = smpl_rotations.cut_motion(frames[:, None], Fraction(0), starts_s, window_s)
    assert made.shape == (2, at_60, 1)
    assert made[:, ::2][:, :at_30].shape == (2, at_30, 1)  # as aist-keypoints2d halves the rate
    shown_s = [Fraction(k, 30) for k in range(30 * 41)]
    poses = np.zeros((len(shown_s), 75), np.float32)
    assert openpose.cut_motion(poses, shown_s, starts_s, window_s).shape == (2, at_30, 75)
    nobody = {"times_s": np.array([float(at) for at in shown_s]), "boxes": np.zeros((0, 4))}
    nobody |= {"frame": np.zeros(0, int), "track": np.zeros(0, int)}
    size = {"width_px": 96, "height_px": 64, "joints": []}
    assert motion_of(nobody, size, starts_s, window_s)[0].shape == (2, at_30, 75)


def test_5_12_s_are_307_rows_at_60_fps_and_154_at_30() -> None:
    assert Motion("smpl").spec(CLIP_S)["shape"] == [307, 219]
    assert Motion("blazepose").spec(CLIP_S)["shape"] == [154, 75]


def test_row_0_is_the_annotations_frame_nearest_to_the_start_of_each_window() -> None:
    frames = np.arange(60 * 48, dtype=np.float32)[:, None]
    starts_s = [k * CLIP_S for k in range(9)]
    made = smpl_rotations.cut_motion(frames, Fraction(0), starts_s, CLIP_S)
    assert made[:, 0, 0].tolist() == [0, 307, 614, 922, 1229, 1536, 1843, 2150, 2458]
    for rows, start_s in zip(made[..., 0], starts_s, strict=True):
        late = rows / 60 - float(start_s) - np.arange(307) / 60
        assert np.abs(late).max() <= 0.5 / 60


@pytest.mark.parametrize("window_s", WINDOWS_S)
def test_a_last_window_that_is_padded_never_lacks_motion(window_s: Fraction) -> None:
    """The picture may end 50 ms early, and the annotation has a row for each of its frames."""
    for count in range(1, 10):
        stop_s = count * window_s - Fraction(50, 1000)
        rows = -(-stop_s * 60 // 1)
        motion = np.zeros((int(rows), 1), np.float32)
        starts_s = [k * window_s for k in range(count)]
        made = smpl_rotations.cut_motion(motion, Fraction(0), starts_s, window_s)
        assert len(made) == count
