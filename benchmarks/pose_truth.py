"""How right MoveNet and BlazePose are, measured against something that is known.

    python benchmarks/pose_truth.py synthetic DIR [--limit N]     against synthetic dancers' truth
    python benchmarks/pose_truth.py agree CLIP…                   against each other
    python benchmarks/pose_truth.py cameras CALIBRATION CLIP…     against three other cameras

DIR is a synthetic data set (`python -m pipeline.sources.synthetic DIR`). CALIBRATION is a Qualisys
file (.qca.txt) of the clips, in the order of its cameras, with one person who is seen by all; the
package `pose2sim` (BSD-3-Clause) ships such a set. Joints are nose, big toes and the 12 of
the limbs; distances are in trunks (neck to mid-hip). Weights: `pipeline weights fetch
movenet_multipose blazepose_full blazepose_heavy`.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from real_poses import collected

from model.contract.terminal import print_anything
from pipeline.features.motion.body25 import BODY_25, MIN_CONFIDENCE, to_body25
from pipeline.features.pose.tracks import dancers_seen, main_dancer
from pipeline.features.pose.train_small import JOINTS, truth_of
from pipeline.media.reader import frame_times

NETWORKS = {
    "movenet": ("movenet", ""),
    "blazepose full": ("blazepose", ""),
    "blazepose heavy": ("blazepose", "blazepose_heavy"),
}
SHOWN = list(JOINTS)
PLACES = [BODY_25.index(name) for name in SHOWN]
NECK, HIP = BODY_25.index("neck"), BODY_25.index("mid_hip")
NEAR = 0.2
"""The share of joints that are nearer than so many trunks is printed: PCK@0.2 of the trunk."""


def dancer(path: Path, network: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return BODY_25 (F, 25, 3) of the main dancer, NaN where not found, and all poses."""
    poses, watch = collected(path, *NETWORKS[network])
    frames, size_px = len(poses["times_s"]), tuple(poses["size_px"].tolist())
    main = main_dancer(poses["frame"], poses["track"], poses["boxes"], frames, size_px)
    mine = poses["track"] == main
    body = np.full((frames, len(BODY_25), 3), np.nan)
    body[poses["frame"][mine]] = to_body25(watch.net.names, poses["joints"][mine])
    return body, poses


def synthetic(source: Path, limit: int) -> None:
    """Print detection, counts and joints of each network against the truth of synthetic dancers."""
    paths = sorted((source / "videos").glob("*.mp4"))
    paths = paths[:: max(1, len(paths) // limit)][:limit]
    for network in NETWORKS:
        far, sure, found, counted = [], [], [], []
        for path in paths:
            body, poses = dancer(path, network)
            with np.load(source / "truth" / f"{path.stem}.npz") as truth:
                place = {time_s: i for i, time_s in enumerate(frame_times(path))}
                points = truth["keypoints2d"][[place[t] for t in poses["times_s"]]]  # (F, P, 25, 2)
            counted.append(dancers_seen(poses["frame"], len(body)) == points.shape[1])
            real = truth_of(points)  # (F, P, J, 2)
            shoulders, hips = (
                real[:, :, [SHOWN.index(f"{side}_{part}") for side in ("left", "right")]].mean(2)
                for part in ("shoulder", "hip")
            )
            trunk = np.linalg.norm(shoulders - hips, axis=-1)
            off = np.linalg.norm(body[:, None, PLACES, :2] - real, axis=-1) / trunk[..., None]
            nearest = np.nanmedian(off, axis=(0, 2)).argmin()  # the dancer that the track follows
            found.append(~np.isnan(body[:, 0, 0]))
            far.append(off[found[-1], nearest])
            sure.append(body[found[-1]][:, PLACES, 2] >= MIN_CONFIDENCE)
        off, seen = np.concatenate(far), np.concatenate(sure)
        print(
            f"{network}: {len(paths)} videos, dancer found in {np.concatenate(found).mean():.1%} "
            f"of frames, dancers counted right in {np.mean(counted):.0%} of videos"
        )
        print_joints(off, seen)


def agree(clips: list[Path]) -> None:
    """Print how far apart the networks' joints of the main dancer are, where both are sure."""
    for path in clips:
        bodies = {network: dancer(path, network)[0] for network in NETWORKS}
        for a, b in combinations(NETWORKS, 2):
            one, other = bodies[a][:, PLACES], bodies[b][:, PLACES]
            trunk = np.linalg.norm(bodies[a][:, NECK, :2] - bodies[a][:, HIP, :2], axis=1)
            off = np.linalg.norm(one[..., :2] - other[..., :2], axis=-1) / trunk[:, None]
            seen = (one[..., 2] >= MIN_CONFIDENCE) & (other[..., 2] >= MIN_CONFIDENCE)
            print(f"{path.stem}: {a} and {b}")
            print_joints(off, seen)


def cameras(calibration: Path, clips: list[Path]) -> None:
    """Print how far joints are from where the other cameras' joints say that they are.

    Each joint is triangulated from all cameras but one and projected into that one.
    """
    matrices = projections(calibration)
    for network in NETWORKS:
        bodies = np.stack([dancer(path, network)[0] for path in clips])  # (C, F, 25, 3)
        points, seen = bodies[..., PLACES, :2], bodies[..., PLACES, 2] >= MIN_CONFIDENCE
        far, counted = [], []
        for one in range(len(clips)):
            others = [i for i in range(len(clips)) if i != one]
            space = triangulated(matrices[others], points[others], seen[others])
            there = projected(matrices[one], space)
            trunk = np.linalg.norm(bodies[one, :, NECK, :2] - bodies[one, :, HIP, :2], axis=1)
            far.append(np.linalg.norm(points[one] - there, axis=-1) / trunk[:, None])
            counted.append(seen[one] & ~np.isnan(there[..., 0]))
        print(f"{network}: {len(clips)} cameras, {bodies.shape[1]} frames each")
        print_joints(np.concatenate(far), np.concatenate(counted))


def projections(calibration: Path) -> np.ndarray:
    """Return the cameras' matrices (C, 3, 4), px from m, of a Qualisys calibration file.

    Intrinsics are in 1/64 px and positions in mm; rotations go from the camera, which looks along
    its negative z axis, to the world. Lens distortion is left out.
    """
    found = []
    for camera in ElementTree.parse(calibration).getroot().iter("camera"):
        inner, outer = camera.find("intrinsic"), camera.find("transform")
        assert inner is not None and outer is not None, "a camera without calibration"
        fu, fv, cu, cv = (
            float(inner.attrib[name]) / 64
            for name in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
        )
        inside = np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]])
        turn = np.array([[float(outer.attrib[f"r{i}{j}"]) for j in "123"] for i in "123"])
        turn = np.diag([1.0, -1.0, -1.0]) @ turn
        centre = np.array([float(outer.attrib[axis]) / 1000 for axis in "xyz"])
        found.append(inside @ np.column_stack([turn, -turn @ centre]))
    return np.stack(found)


def triangulated(matrices: np.ndarray, points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return points in space (F, J, 3) from (C, F, J, 2); NaN where under two cameras see one."""
    x, y = points[..., 0, None], points[..., 1, None]
    rows = np.stack(
        [x * matrices[:, None, None, 2] - matrices[:, None, None, 0],
         y * matrices[:, None, None, 2] - matrices[:, None, None, 1]]
    )  # fmt: skip
    rows = np.where(seen[..., None], rows, 0.0)  # (2, C, F, J, 4)
    rows = np.moveaxis(rows, (2, 3), (0, 1)).reshape(*points.shape[1:3], -1, 4)
    solution = np.linalg.svd(rows)[2][..., -1, :]
    space = solution[..., :3] / solution[..., 3:]
    return np.where((seen.sum(0) >= 2)[..., None], space, np.nan)


def projected(matrix: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Return pixels (..., 2) of points (..., 3)."""
    image = space @ matrix[:, :3].T + matrix[:, 3]
    return image[..., :2] / image[..., 2:]


def print_joints(off: np.ndarray, seen: np.ndarray) -> None:
    """Print distances (N, J) in trunks of the joints that are `seen`: in all and by joint."""
    joined: dict[str, list[int]] = {}
    for index, name in enumerate(SHOWN):
        joined.setdefault(name.replace("left_", "").replace("right_", ""), []).append(index)
    parts = []
    for name, columns in joined.items():
        there = off[:, columns][seen[:, columns]]
        if len(there):
            parts.append(f"{name} {np.median(there):.3f} ({np.mean(there < NEAR):.0%})")
    there = off[seen]
    print(
        f"  seen {seen.mean():.1%}, of these median {np.median(there):.3f} trunks, within "
        f"{NEAR}: {np.mean(there < NEAR):.1%}\n  {'  '.join(parts)}"
    )


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["synthetic", "agree", "cameras"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=40, help="videos of a synthetic set")
    options = parser.parse_args()
    if options.what == "synthetic":
        synthetic(options.paths[0], options.limit)
    elif options.what == "agree":
        agree(options.paths)
    else:
        cameras(options.paths[0], options.paths[1:])


if __name__ == "__main__":
    print_anything()
    main()
