"""MoveNet and BlazePose on clips of people: what they find, what it costs, and pictures.

    python benchmarks/real_poses.py found CLIP…      people and joints in each clip, as a build has
    python benchmarks/real_poses.py cost CLIP…       CPU-ms a frame and a person, of each network
    python benchmarks/real_poses.py stage CLIP…      CPU-ms a frame in all, beside HRNet-w32
    python benchmarks/real_poses.py picture CLIP… --out FILE.png     skeletons over frames

Weights: `pipeline weights fetch movenet_multipose blazepose_full blazepose_heavy`. `stage`
needs the extra `mmpose`; HRNet-w32 has random weights there, which take the same time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.terminal import print_anything
from pipeline.features.motion.body25 import BODY_25, BONES, MIN_CONFIDENCE, to_body25
from pipeline.features.pose import blazepose
from pipeline.features.pose.base import make_detector, make_estimator, takes_frames
from pipeline.features.pose.crops import cut
from pipeline.features.pose.movenet import MoveNet
from pipeline.features.pose.people import (
    PersonCollector,
    pace,
    pose_crops,
    pose_times,
    small_side_px,
)
from pipeline.features.pose.tracks import main_dancer
from pipeline.media.reader import FrameRequest, frame_times, probe, read_frames

CROPS = 64


def collected(path: Path, name: str, weights: str) -> tuple[dict[str, np.ndarray], PersonCollector]:
    """Return what the pose stage stores of a whole video, and the collector that has made it."""
    net = make_estimator(name, weights)
    net.setup()
    finder = None if takes_frames(net) else make_detector("movenet")
    if finder is not None:
        finder.setup()
    seen, shown_s = probe(path), frame_times(path)
    times_s = pose_times(shown_s, shown_s[0], shown_s[-1])
    size_px = (seen.width, seen.height)
    watch = PersonCollector(finder, net, len(times_s), size_px, **pace(net))
    request = FrameRequest(times_s, small_side_px(*size_px))
    read_frames(path, {"pose": request}, each={"pose": watch})
    found = watch.result(pose_crops(net, watch.crops()))
    return found | {"times_s": np.array(times_s), "size_px": np.array(size_px)}, watch


def found(clips: list[Path]) -> None:
    """Print people and joints of each clip, for each network."""
    for name, weights in (("movenet", ""), ("blazepose", ""), ("blazepose", "blazepose_heavy")):
        for path in clips:
            poses, watch = collected(path, name, weights)
            frames = len(poses["times_s"])
            counts = np.bincount(poses["frame"], minlength=frames)
            usual = np.bincount(counts).argmax()
            size_px = tuple(poses["size_px"].tolist())
            main = main_dancer(
                *(poses[part] for part in ("frame", "track", "boxes")), frames, size_px
            )
            mine = poses["track"] == main
            body = to_body25(watch.net.names, poses["joints"][mine])
            sure = body[..., 2] >= MIN_CONFIDENCE
            feet = [i for i, joint in enumerate(BODY_25) if "big_toe" in joint or "heel" in joint]
            print(
                f"{weights or name} {path.stem}: {frames} frames, {usual} people in "
                f"{np.mean(counts == usual):.1%}, main dancer in {mine.sum() / frames:.1%}, joints "
                f"seen {sure[:, :19].mean():.1%}, feet {sure[:, feet].mean():.1%}, "
                f"jitter {jitter(body):.4f} trunks{_stood_in(watch, poses)}"
            )


def jitter(body: np.ndarray) -> float:
    """Return the mean second difference of the joints (F, 25, 3) of trunk and arms, in trunks."""
    parts = body[:, [2, 3, 4, 5, 6, 7, 9, 12]]
    trunk = np.median(np.linalg.norm(body[:, 1, :2] - body[:, 8, :2], axis=1))
    sure = np.minimum(np.minimum(parts[2:, :, 2], parts[1:-1, :, 2]), parts[:-2, :, 2]) > 0
    second = np.linalg.norm(np.diff(parts[..., :2], 2, axis=0), axis=2)
    return float(second[sure].mean() / trunk)


def _stood_in(watch: PersonCollector, poses: dict[str, np.ndarray]) -> str:
    """Return in words how often MoveNet's joints stand in for BlazePose's: heels have no score."""
    if watch.net.names != blazepose.POINTS:
        return ""
    heel = poses["joints"][:, blazepose.POINTS.index("left_heel"), 2]
    return f", MoveNet's joints stand in {np.mean(heel == 0):.1%}"


def cost(clips: list[Path]) -> None:
    """Print CPU milliseconds of each network alone, on the clips' own frames and people."""
    os.environ["OMP_NUM_THREADS"] = "1"  # one batch at a time
    finder = MoveNet(device="cpu")
    finder.setup()
    for path in clips:
        seen, times_s = probe(path), frame_times(path)[:24]
        request = FrameRequest(times_s, small_side_px(seen.width, seen.height))
        frames = read_frames(path, {"all": request})["all"]
        cost_ms, rows = _cpu_ms(lambda f=frames: finder(f))
        words = [f"{path.stem}: MoveNet {cost_ms / len(frames):.1f} ms a frame"]
        people = [np.delete(row, 4, axis=1).astype(float) for row in rows]
        for weights in blazepose.NAMES:
            net = blazepose.BlazePose(weights, device="cpu")
            net.setup()
            crops = np.concatenate(
                [cut(f, net.places(p), net.input_px) for f, p in zip(frames, people, strict=True)]
            )[:CROPS]
            cost_ms, _ = _cpu_ms(lambda n=net, c=crops: n(c))
            words.append(f"{weights} {cost_ms / len(crops):.1f} ms a person")
        print(", ".join(words))


def stage(clips: list[Path]) -> None:
    """Print CPU milliseconds a frame from a file to joints; MoveNet finds the people."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for path in clips:
        costs = {}
        for name, weights in (("mmpose", "untrained"), ("blazepose", ""), ("movenet", "")):
            run = partial(collected, path, name, weights)
            cost_ms, (poses, _) = _cpu_ms(run, warm=False)
            costs[name] = cost_ms / len(poses["times_s"])
        ratios = ", ".join(
            f"{name} {cost:.0f} ms a frame (HRNet-w32 {costs['mmpose'] / cost:.1f} times as much)"
            for name, cost in costs.items()
        )
        print(f"{path.stem}: {ratios}")


def _cpu_ms(call: Callable[[], Any], warm: bool = True) -> tuple[float, Any]:
    if warm:
        call()
    start = time.process_time()
    result = call()
    return 1000 * (time.process_time() - start), result


def picture(clips: list[Path], out: Path, columns: int = 5) -> None:
    """Draw BlazePose's skeletons over frames spread over each clip, a row of tiles a clip."""
    import cv2

    rows = []
    for path in clips:
        poses, watch = collected(path, "blazepose", "")
        boxes = poses["boxes"]
        low, high = boxes[:, :2].min(0) - 30, boxes[:, 2:].max(0) + 30
        (x0, y0), (x1, y1) = np.clip(low, 0, None).astype(int), high.astype(int)
        places = np.linspace(0, len(poses["times_s"]) - 1, columns + 2).round().astype(int)[1:-1]
        times_s = [poses["times_s"][place] for place in places]
        images = read_frames(path, {"look": FrameRequest(times_s)})["look"]
        tiles = []
        for place, image in zip(places, images, strict=True):
            image = image.copy()
            for joints in poses["joints"][poses["frame"] == place]:
                _draw(image, to_body25(watch.net.names, joints))
            tile = image[y0:y1, x0:x1]
            scale = min(260 / tile.shape[1], 300 / tile.shape[0])
            tile = cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            spare = [300 - tile.shape[0], 260 - tile.shape[1]]
            tiles.append(np.pad(tile, ((0, spare[0]), (0, spare[1]), (0, 0)), constant_values=24))
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(out), np.vstack(rows)[..., ::-1])


def _draw(image: np.ndarray, body: np.ndarray) -> None:
    import cv2

    wide = max(1, image.shape[0] // 360)
    for bone in BONES:
        a, b = (body[BODY_25.index(name)] for name in bone.split())
        if min(a[2], b[2]) < MIN_CONFIDENCE:
            continue
        colour = (
            (255, 220, 0) if "left" in bone else (0, 160, 255) if "right" in bone else (255,) * 3
        )
        ends = [(round(float(x)), round(float(y))) for x, y, _ in (a, b)]
        cv2.line(image, *ends, (0, 0, 0), 3 * wide, cv2.LINE_AA)
        cv2.line(image, *ends, colour, 2 * wide, cv2.LINE_AA)


def main() -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["found", "cost", "stage", "picture"])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real_poses.png"))
    options = parser.parse_args()
    if options.what == "picture":
        picture(options.clips, options.out)
    else:
        {"found": found, "cost": cost, "stage": stage}[options.what](options.clips)


if __name__ == "__main__":
    print_anything()
    main()
