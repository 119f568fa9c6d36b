"""2D pose: how fast a crop is beside mmpose's own API, and how right the small networks are.

    python benchmarks/pose.py speed --weights untrained   HRNet-w32, 192 x 256, 133 joints
    python benchmarks/pose.py accuracy --source DIR --limit N
    python benchmarks/pose.py picture --source DIR --out docs/results/poses.jpg

DIR is a synthetic data set (`python -m pipeline.sources.synthetic DIR`). Needs the extra `mmpose`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.terminal import print_anything
from pipeline.features.motion.body25 import BODY_25, to_body25
from pipeline.features.pose.crops import crop, uncrop
from pipeline.features.pose.detector_torchvision import Detector
from pipeline.features.pose.estimator_mmpose import PoseNet, load
from pipeline.features.pose.people import PersonCollector, pose_times, small_side_px
from pipeline.features.pose.tracks import dancers_seen, main_dancer
from pipeline.features.pose.train_small import JOINTS, truth_of
from pipeline.media.reader import FrameRequest, frame_times, probe, read_frames
from pipeline.sources.synthetic.body import J
from pipeline.sources.synthetic.stills import Still, stills

DATA = Path(__file__).parent.parent / "tests" / "data"
JOINTS_FILE, PERSONS_FILE = (
    DATA / "pose_synthetic.safetensors",
    DATA / "persons_synthetic.safetensors",
)
BONES = (
    *("nose neck", "neck right_shoulder", "right_shoulder right_elbow", "right_elbow right_wrist"),
    *("neck left_shoulder", "left_shoulder left_elbow", "left_elbow left_wrist", "neck mid_hip"),
    *("mid_hip right_hip", "right_hip right_knee", "right_knee right_ankle", "mid_hip left_hip"),
    *("left_hip left_knee", "left_knee left_ankle", "left_ankle left_big_toe"),
    "right_ankle right_big_toe",
)


def speed(weights: str, count: int, precision: str) -> None:
    """Print CPU milliseconds a crop: mmpose one by one, as it comes and without flip, and ours."""
    import torch

    torch.set_num_threads(1)
    seen = [s for s in stills(3 * count, 5, per_genre=1) if len(s.boxes) == 1][:count]
    net = PoseNet(weights, precision, device="cpu")
    net.setup()
    theirs = _theirs(weights)
    for flip in (True, False):
        theirs.test_cfg["flip_test"] = flip
        _one_by_one(theirs, seen[:1])
        cost_ms, answers = _cpu_ms(lambda: _one_by_one(theirs, seen))
        print(f"inference_topdown, flip {flip}: {cost_ms / len(seen):.0f} ms a crop")
        if flip:
            first_ms = cost_ms
    _ours(net, seen[:1])
    cost_ms, joints = _cpu_ms(lambda: _ours(net, seen))
    print(f"PoseNet, {precision}, batches of {net.batch}: {cost_ms / len(seen):.1f} ms a crop")
    alone_ms, gflop = _alone(net, len(seen))
    share, rate = alone_ms * len(seen) / first_ms, 1000 * gflop / alone_ms
    print(f"its network alone: {alone_ms:.1f} ms a crop, {share:.2f} of the first: "
          f"{gflop:.2f} GFLOP at {rate:.0f} GFLOP/s")  # fmt: skip
    apart = np.abs(joints[..., :2] - answers)
    print(f"{cost_ms / first_ms:.2f} of the first; within 0.5 px of the second: "
          f"{(apart < 0.5).all(-1).mean():.4f}, furthest {apart.max():.4f} px")  # fmt: skip


def _theirs(weights: str) -> Any:
    """Return the same network as mmpose's `init_model` would, ready for its own API."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    net, names, input_px = load(weights)
    net.test_cfg = {"flip_test": True, "flip_mode": "heatmap", "shift_heatmap": True}
    facts = (
        *("id", "img_id", "img_path", "category_id", "crowd_index", "ori_shape", "img_shape"),
        *("input_size", "input_center", "input_scale", "flip", "flip_direction", "flip_indices"),
    )
    steps = [
        {"type": "LoadImage"},
        {"type": "GetBBoxCenterScale"},
        {"type": "TopdownAffine", "input_size": input_px},
        {"type": "PackPoseInputs", "meta_keys": facts},
    ]
    net.cfg = Config({"test_dataloader": {"dataset": {"pipeline": steps}}})
    indices = [names.index(_mirror(name)) for name in names]
    net.dataset_meta = {"dataset_name": "own", "flip_indices": indices}
    init_default_scope("mmpose")
    return net.eval()


def _one_by_one(net: Any, seen: list[Still]) -> np.ndarray:
    from mmpose.apis import inference_topdown

    found = []
    for still in seen:
        (answer,) = inference_topdown(net, still.picture[..., ::-1].copy(), still.boxes)
        found.append(answer.pred_instances.keypoints[0])
    return np.stack(found)


def _ours(net: PoseNet, seen: list[Still]) -> np.ndarray:
    crops = np.concatenate([crop(s.picture, s.boxes, net.input_px) for s in seen])
    return uncrop(net(crops), np.concatenate([s.boxes for s in seen]), net.input_px)


def _alone(net: PoseNet, count: int) -> tuple[float, float]:
    """Return CPU milliseconds and GFLOP of a crop in our network, nothing before or after it."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    width, height = net.input_px
    x = torch.rand(net.batch, 3, height, width).contiguous(memory_format=torch.channels_last)
    passes = -(-count // net.batch)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=net.precision == "bf16")
    with torch.inference_mode(), autocast:
        with FlopCounterMode(display=False) as counted:
            net.forward(x)
        cost_ms, _ = _cpu_ms(lambda: [net.forward(x) for _ in range(passes)])
    return cost_ms / (passes * net.batch), counted.get_total_flops() / net.batch / 1e9


def _cpu_ms(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return 1000 * (time.process_time() - start), result


def watched(path: Path, detector: Detector, net: PoseNet) -> dict[str, np.ndarray]:
    """Return what the pose stage stores of a whole video, and the index of each pose's frame."""
    seen, shown_s = probe(path), frame_times(path)
    times_s = pose_times(shown_s, shown_s[0], shown_s[-1])
    watch = PersonCollector(detector, net, len(times_s), (seen.width, seen.height))
    request = FrameRequest(times_s, small_side_px(seen.width, seen.height))
    read_frames(path, {"pose": request}, each={"pose": watch})
    found = watch.result(net(watch.crops()))
    place = {time_s: index for index, time_s in enumerate(shown_s)}
    return found | {"shown": np.array([place[time_s] for time_s in times_s])}


def accuracy(source: Path, limit: int) -> None:
    """Print PCK@0.1 by joint and genre, sides mixed up, dancers counted.

    Of every genre as many videos as of the others, about `limit` in all.
    """
    detector, net = _small()
    far, swapped, counts, dancers = [], [], [], []
    paths = _of_every_genre(sorted((source / "videos").glob("*.mp4")), limit)
    for path in paths:
        found = watched(path, detector, net)
        with np.load(source / "truth" / f"{path.stem}.npz") as truth:
            points = truth["keypoints2d"][found["shown"]]
        frames, seen = len(found["shown"]), probe(path)
        counts.append(dancers_seen(found["frame"], frames))
        dancers.append(points.shape[1])
        size_px = (seen.width, seen.height)
        main = main_dancer(found["frame"], found["track"], found["boxes"], frames, size_px)
        mine = found["track"] == main
        real = points[found["frame"][mine]]
        joints = found["joints"][mine, :, :2]
        off = np.linalg.norm(joints[:, None] - truth_of(real), axis=-1)  # (N, P, 15)
        nearest = np.median(off.mean(2), 0).argmin()
        torso = np.linalg.norm(
            real[:, nearest, J["left_hip"]] - real[:, nearest, J["right_shoulder"]], axis=1
        )
        missing = np.ones((frames - len(set(found["frame"][mine].tolist())), len(JOINTS)))
        far.append(np.concatenate([off[:, nearest] / torso[:, None], 9 * missing]))
        names = list(JOINTS)
        other = [names.index(_mirror(n)) for n in names]
        wrong = np.linalg.norm(joints - truth_of(real)[:, nearest][:, other], axis=-1)
        apart = np.linalg.norm(
            truth_of(real)[:, nearest] - truth_of(real)[:, nearest][:, other], axis=-1
        )
        wide = apart > 0.4 * torso[:, None]
        swapped.append((wrong < off[:, nearest])[wide])
    hit = np.concatenate(far) < 0.1
    print(f"{len(far)} videos, {len(hit)} frames: PCK@0.1 of the torso {hit.mean():.3f}")
    print("  ".join(f"{name} {share:.2f}" for name, share in zip(JOINTS, hit.mean(0), strict=True)))
    genres: dict[str, list[float]] = {}
    for path, off in zip(paths, far, strict=True):
        genres.setdefault(path.stem[1:3], []).append(float(np.mean(off < 0.1)))
    shares = sorted((np.mean(parts), genre, len(parts)) for genre, parts in genres.items())
    print("by genre: " + "  ".join(f"{genre} {share:.3f} ({n})" for share, genre, n in shares))
    print(f"worst video {min(np.mean(f < 0.1) for f in far):.3f}; left taken for right, where they "
          f"are apart: {np.concatenate(swapped).mean():.4f}")  # fmt: skip
    right = np.mean(np.array(counts) == np.array(dancers))
    print(f"dancers counted right in {right:.1%} of the videos")


def _of_every_genre(paths: list[Path], limit: int) -> list[Path]:
    """Return as many videos of each genre (AIST++'s names tell it), spread over its list."""
    genres: dict[str, list[Path]] = {}
    for path in paths:
        genres.setdefault(path.stem[:3], []).append(path)
    each = max(1, min(limit // len(genres), *map(len, genres.values())))
    return [of[k * len(of) // each] for of in genres.values() for k in range(each)]


def _mirror(name: str) -> str:
    left, right = name.replace("left", "right"), name.replace("right", "left")
    return left if "left" in name else right


def _small() -> tuple[Detector, PoseNet]:
    detector, net = (
        Detector(str(PERSONS_FILE), device="cpu"),
        PoseNet(str(JOINTS_FILE), device="cpu"),
    )
    detector.setup()
    net.setup()
    return detector, net


def picture(source: Path, out: Path, columns: int = 4, rows: int = 2) -> None:
    """Draw found skeletons and boxes over frames of the first videos of `source`."""
    import cv2

    detector, net = _small()
    tiles = []
    for path in sorted((source / "videos").glob("*.mp4"))[: columns * rows]:
        found = watched(path, detector, net)
        at = len(found["shown"]) // 2
        times_s = frame_times(path)[found["shown"][at] :][:1]
        image = read_frames(path, {"one": FrameRequest(times_s)})["one"][0].copy()
        for index in np.flatnonzero(found["frame"] == at):
            _draw(image, found["boxes"][index], found["joints"][index])
        scale = 240 / image.shape[0]
        tile = cv2.resize(image, (round(image.shape[1] * scale), 240))
        side = max(0, 320 - tile.shape[1])
        tile = np.pad(tile, ((0, 0), (side // 2, side - side // 2), (0, 0)), constant_values=24)
        tiles.append(tile[:, :320])
    grid = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    cv2.imwrite(str(out), grid[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def _draw(image: np.ndarray, box: np.ndarray, joints: np.ndarray) -> None:
    import cv2

    corners = [tuple(int(v) for v in box[i : i + 2]) for i in (0, 2)]
    cv2.rectangle(image, *corners, (255, 255, 255), 1, cv2.LINE_AA)
    body = to_body25(list(JOINTS), joints)
    for bone in BONES:
        a, b = (body[BODY_25.index(name)] for name in bone.split())
        if min(a[2], b[2]) < 0.2:
            continue
        colour = (
            (255, 220, 0) if "left" in bone else (0, 230, 255) if "right" in bone else (255,) * 3
        )
        ends = [(round(float(x)), round(float(y))) for x, y, _ in (a, b)]
        cv2.line(image, *ends, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.line(image, *ends, colour, 1, cv2.LINE_AA)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "accuracy", "picture"])
    parser.add_argument("--weights", default="untrained", help="untrained, or a file")
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--source", type=Path, default=Path("data/synthetic"))
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/results/poses.jpg"))
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.weights, options.crops, options.precision)
    elif options.what == "accuracy":
        accuracy(options.source, options.limit)
    else:
        picture(options.source, options.out)


if __name__ == "__main__":
    print_anything()
    main()
