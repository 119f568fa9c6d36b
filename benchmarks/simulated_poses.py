"""How like an estimator's poses simulated ones are: figures of the 2D poses of shard folders.

    pipeline build --dataset folder --source DIR --motion blazepose --visual none --out shards/real
    pipeline build --dataset synthetic --no-video --vary-pace --limit 60 --visual none \
        --motion simulated-keypoints2d --out shards/simulated
    python benchmarks/simulated_poses.py shards/real shards/simulated

For each folder and group of joints: the share that is seen, and of the joints seen the confidence
(5, 50 and 95 %), the distance moved in a frame, and the second difference, which noise raises most
(medians and means, in trunks: neck to mid-hip, the median of the segment).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from model.contract.segment import MOTION
from model.contract.shards import read_npy, read_shard
from model.contract.terminal import print_anything
from pipeline.features.motion.body25 import BODY_25, JOINTS

GROUPS = {
    "face": ("nose", "eye", "ear"),
    "shoulders": ("shoulder",),
    "elbows": ("elbow",),
    "wrists": ("wrist",),
    "hips": ("hip",),
    "knees": ("knee",),
    "ankles": ("ankle",),
    "toes, heels": ("toe", "heel"),
}
OWN = [name for name in BODY_25 if name not in ("neck", "mid_hip") and "small_toe" not in name]
NECK, HIP = BODY_25.index("neck"), BODY_25.index("mid_hip")


def poses(folder: Path) -> np.ndarray:
    """Return the poses (segments, T, 25, 3) of a shard folder."""
    found = [
        read_npy(members[MOTION])
        for shard in sorted(folder.glob("*.tar"))
        for _, members in read_shard(shard)
    ]
    return np.stack(found).reshape(len(found), -1, JOINTS, 3).astype(float)


def percent(values: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in np.nanpercentile(values, (5, 50, 95)))


def report(folder: Path) -> None:
    """Print the figures of one folder."""
    body = poses(folder)
    seen = body[..., 2] > 0
    places = np.where(seen[..., None], body[..., :2], np.nan)
    trunk = np.nanmedian(np.linalg.norm(places[:, :, NECK] - places[:, :, HIP], axis=-1), axis=1)
    places, body = places[trunk > 0], body[trunk > 0]
    seen, trunk = seen[trunk > 0], trunk[trunk > 0, None, None]
    print(f"\n{folder}: {len(body)} segments with people")
    print(f"trunk, in heights of the picture (5 50 95 %): {percent(trunk)}")
    for axis, name in enumerate("xy"):
        print(f"mid-hip {name}: {percent(places[:, :, HIP, axis])}")
    steps = np.linalg.norm(np.diff(places, axis=1), axis=-1) / trunk
    bends = np.linalg.norm(np.diff(places, 2, axis=1), axis=-1) / trunk
    print("joints | seen | confidence 5 50 95 % | moved: median, mean | 2nd difference: same")
    for group, parts in GROUPS.items():
        at = [BODY_25.index(name) for name in OWN if name.split("_")[-1] in parts]
        sure = np.where(seen, body[..., 2], np.nan)[:, :, at]
        moved = [
            f"{np.nanmedian(each[:, :, at]):.3f} {np.nanmean(each[:, :, at]):.3f}"
            for each in (steps, bends)
        ]
        print(f"{group} | {seen[:, :, at].mean():.1%} | {percent(sure)} | {' | '.join(moved)}")


def main() -> None:
    """Print the figures of each folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", nargs="+", type=Path)
    for folder in parser.parse_args().shards:
        report(folder)


if __name__ == "__main__":
    print_anything()
    main()
