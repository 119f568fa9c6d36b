"""AIST++'s 2D keypoints as motion: cameras, missing joints, pictures, and files that are wrong.

That a build follows the windows of each camera is tested in tests/pipeline/fetch.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from builds import clip, motion_file, options
from hostile_parts import Touch

from pipeline.build import build
from pipeline.engine.outcome import StageError
from pipeline.features.motion.aist_keypoints import (
    AistKeypoints,
    camera_of,
    load_keypoints,
    picture_px,
)
from pipeline.features.motion.body25 import BODY_25
from pipeline.sources.manifest import Row

NAME = "gBR_sBM_cAll_d04_mBR0_ch01"
ROW = Row("gBR_sBM_c03_d04_mBR0_ch01", "gBR_sBM_c03_d04_mBR0_ch01.mp4")
FACTS = {"video_start_s": "0", "width_px": 1920, "height_px": 1080}


def keypoints(frames: int = 240) -> np.ndarray:
    """Return joints whose x is 10 times the frame, and whose y is the camera and the joint."""
    found = np.ones((9, frames, 17, 3), np.float32)
    found[..., 0] = 10 * np.arange(frames)[:, None]
    found[..., 1] = 100 * np.arange(9)[:, None, None] + np.arange(17)
    found[..., 2] = np.linspace(0.1, 0.9, 17)
    return found


def save(path: Path, **raw: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(raw, protocol=pickle.HIGHEST_PROTOCOL))
    return path


def cut(path: Path, *starts_s: str, row: Row = ROW, **facts: object) -> np.ndarray:
    windows = [(Fraction(start), Fraction(start) + 2) for start in starts_s]
    return AistKeypoints()(None, path, row, FACTS | facts, windows).reshape(len(windows), 60, 25, 3)


def test_each_camera_gives_its_own_joints_with_their_confidence(tmp_path):
    found = keypoints()
    path = save(tmp_path / f"{NAME}.pkl", keypoints2d=found, timestamps=np.arange(240))
    motion = cut(path, "0", "1.9")
    assert motion.dtype == np.float32
    for name, joint in (("nose", 0), ("left_wrist", 9), ("right_ankle", 16)):
        at = motion[:, :, BODY_25.index(name)]
        for k, first in enumerate((0, 114)):
            wanted = (10 * (first + 2 * np.arange(60)) - 960) / 1080
            np.testing.assert_allclose(at[k, :, 0], wanted, atol=1e-5)
        np.testing.assert_allclose(at[..., 1], (200 + joint - 540) / 1080, atol=1e-5)
        np.testing.assert_allclose(at[..., 2], 0.1 + 0.05 * joint, atol=1e-6)
    np.testing.assert_allclose(motion[..., BODY_25.index("neck"), 2], 0.35, atol=1e-6)
    assert not motion[..., 19:, :].any()


def test_frames_follow_the_clock_of_the_video(tmp_path):
    path = save(tmp_path / f"{NAME}.pkl", keypoints2d=keypoints())
    nose_px = cut(path, "0.5", video_start_s="0.25")[0, :, 0, 0] * 1080 + 960
    np.testing.assert_allclose(nose_px, 10 * (15 + 2 * np.arange(60)), atol=1e-3)
    short = save(tmp_path / "short.pkl", keypoints2d=keypoints(117))
    assert cut(short, "0")[0, -1, 0, 0] == cut(short, "0")[0, -2, 0, 0], "50 ms may be missing"
    with pytest.raises(StageError, match="motion has 116 frames, the windows need 120"):
        cut(save(tmp_path / "shorter.pkl", keypoints2d=keypoints(116)), "0")


def test_what_was_not_detected_is_missing_and_not_made_up(tmp_path):
    found = keypoints()
    found[2, 10] = np.nan
    found[2, 20, 5, 1] = np.nan
    found[2, 30, 11, 2] = 0
    motion = cut(save(tmp_path / f"{NAME}.pkl", keypoints2d=found), "0")[0]
    assert not motion[5].any() and motion[4].any() and motion[6].any()
    gone = {BODY_25.index(name) for name in ("left_shoulder", "neck")}
    assert {j for j in range(19) if not motion[10, j].any()} == gone
    gone = {BODY_25.index(name) for name in ("left_hip", "mid_hip")}
    assert {j for j in range(19) if not motion[15, j].any()} == gone
    assert np.isfinite(motion).all()


def test_a_smaller_video_has_the_same_motion_and_another_shape_its_own_px(tmp_path):
    path = save(tmp_path / f"{NAME}.pkl", keypoints2d=keypoints())
    np.testing.assert_array_equal(cut(path, "0"), cut(path, "0", width_px=854, height_px=480))
    assert picture_px(640, 480) == (640, 480)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "not AIST.*keypoints2d"),
        ({"keypoints2d": "many"}, "expected an array of numbers"),
        ({"keypoints2d": keypoints()[0]}, r"shape \(240, 17, 3\), expected \(9, N, 17, 3\)"),
        ({"keypoints2d": keypoints()[:, :, :16]}, "expected"),
        ({"keypoints2d": keypoints()[:2]}, "has 2 cameras, none is c03"),
        ({"keypoints2d": keypoints() + np.inf}, "c03 has infinite numbers"),
        ({"keypoints2d": keypoints() * np.nan}, "c03 shows nobody in any frame"),
        ({"keypoints2d": keypoints()[:, :0]}, "c03 shows nobody in any frame"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(raw, told, tmp_path):
    with pytest.raises(StageError, match=rf"a\.pkl.*{told}") as caught:
        load_keypoints(save(tmp_path / "a.pkl", **raw), "c03")
    assert caught.value.code == "bad_motion"


def test_a_hostile_or_missing_file_and_a_name_without_camera_are_refused(tmp_path):
    hostile = save(tmp_path / "a.pkl", keypoints2d=Touch(tmp_path / "made"))
    with pytest.raises(StageError, match="not allowed"):
        load_keypoints(hostile, "c01")
    assert not (tmp_path / "made").exists()
    with pytest.raises(StageError, match="not found") as caught:
        load_keypoints(tmp_path / "none.pkl", "c01")
    assert caught.value.code == "missing_motion"
    for name in ("dance", "gBR_sBM_cAll_d04_mBR0_ch01", "gBR_sBM_c10_d04_mBR0_ch01"):
        with pytest.raises(StageError, match="states no camera from c01 to c09"):
            camera_of(replace(ROW, video_id=name))


def test_each_kind_of_annotation_is_read_from_its_own_folder(tmp_path):
    source, name = tmp_path / "aist", "gBR_sBM_c01_d04_mBR1_ch03"
    clip(source / "videos" / f"{name}.mp4", 2.2)
    file = f"{name.replace('c01', 'cAll')}.pkl"
    motion_file(source / "annotations" / "motions" / file, 132)
    save(source / "annotations" / "keypoints2d" / file, keypoints2d=keypoints(132))
    save(source / "annotations" / "keypoints3d" / file, keypoints3d=np.zeros((132, 17, 3)))
    for motion, shape in (("smpl", [120, 219]), ("aist-keypoints2d", [60, 75])):
        out = tmp_path / motion
        asked = {"dataset": "aist", "motion": motion, "limit": 1}
        report = build(options(source, out, **asked))
        assert report.counts["ok"] == 1 and not report.notes
        text = (out / "dataset.json").read_text(encoding="utf-8")
        assert str(shape[1]) in text
    folder = build(options(source / "videos", tmp_path / "folder", motion="aist-keypoints2d",
                           motion_dir=source / "annotations" / "keypoints2d"))  # fmt: skip
    assert folder.counts["ok"] == 1
