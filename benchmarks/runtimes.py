"""What the networks of features cost on a CPU, by torch and by OpenVINO.

    python benchmarks/runtimes.py networks [--only NAME…]    CPU-s a call, each side in turn
    python benchmarks/runtimes.py stage CLIP…                a video's poses, and the networks alone

`networks` gives random pictures to I3D, with random weights, and to the pose networks (`pipeline
weights fetch movenet_multipose blazepose_full`). Each side is a process of its own with one thread;
the sides take turns, so that other work on the machine slows all alike. `plain` is torch without
what pipeline/features/torch_on_cpu.py does. `openvino` needs the extra of this name.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from model.contract.terminal import print_anything
from pipeline.features import runtime
from pipeline.features.pose.base import make_detector, make_estimator
from pipeline.features.pose.people import PersonCollector, pace, pose_times, small_side_px
from pipeline.features.visual import i3d_r50, inception
from pipeline.media.reader import FrameRequest, frame_times, probe, read_frames

Call = Callable[[], object]
HOW = ("plain", "torch", "openvino")
RUNTIME = {"openvino": "openvino"}
"""The runtime of a side; torch for the others."""


@contextmanager
def as_plain(plain: bool) -> Iterator[None]:
    """Set networks up without what makes torch faster, if `plain`."""
    with ExitStack() as held:
        if plain:
            held.enter_context(patch.object(i3d_r50, "by_onednn", lambda network: network))
            held.enter_context(patch.object(runtime, "keep_memory", lambda at_once: None))
        yield


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def i3d(how: str, precision: str = "float32") -> Call:
    """Return a call that describes a clip."""
    net = i3d_r50.I3D("untrained", precision, device="cpu", runtime=RUNTIME.get(how, "torch"))
    with as_plain(how == "plain"):
        net.setup()
    return partial(net, noise(1, 8, 224, 224, 3))


def stream(how: str) -> Call:
    """Return a call of Inception-I3D's stream of pictures, on a clip of 2 s."""
    import torch

    torch.set_num_threads(1)
    net: Any = inception.untrained(3).eval().requires_grad_(False)
    net = net.to(memory_format=torch.channels_last_3d)
    with as_plain(how == "plain"):
        run = runtime.runner(net, RUNTIME.get(how, "torch"), "float32")
    clip = torch.rand(1, 3, 50, 224, 224).contiguous(memory_format=torch.channels_last_3d)
    return torch.inference_mode()(partial(run, clip))


def pose(name: str, how: str) -> Call:
    """Return a call of a pose network on one batch of crops or frames."""
    net: Any = make_estimator(name, runtime=RUNTIME.get(how, "torch"))
    with as_plain(how == "plain"):
        net.setup()
    return partial(net, noise(net.batch, *((256, 256) if name == "blazepose" else (360, 640)), 3))


SIDES: dict[str, dict[str, Callable[[], Call]]] = {
    "i3d_r50": {
        **{how: partial(i3d, how) for how in HOW},
        "torch, bf16": partial(i3d, "torch", "bf16"),
        "openvino, bf16": partial(i3d, "openvino", "bf16"),
    },
    "i3d_inception": {how: partial(stream, how) for how in HOW},
    "blazepose": {how: partial(pose, "blazepose", how) for how in HOW},
    "movenet": {how: partial(pose, "movenet", how) for how in HOW},
}
"""For each network its sides; the first one is what the others are compared with."""


def networks(names: Sequence[str], rounds: int, without: Sequence[str]) -> None:
    """Print the median of each side's CPU-s a call, and its share of the first side's."""
    context = multiprocessing.get_context("spawn")
    for name in names or SIDES:
        found: dict[str, list[float]] = {}
        sides = {}
        for how in SIDES[name]:
            missing = "openvino" in how and find_spec("openvino") is None
            if not missing and not any(word in how for word in without):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(name, how, theirs), daemon=True)
                process.start()
                sides[how], found[how] = (ours, process), []
        for _ in range(rounds):
            for how, (pipe, _) in sides.items():
                pipe.send(True)
                found[how].append(pipe.recv())
        for pipe, process in sides.values():
            pipe.send(False)
            process.join()
        first = next(iter(found.values()))
        for how, costs in found.items():
            shares = [cost / base for cost, base in zip(costs, first, strict=True)]
            print(f"{name}, {how}: {median(costs):.3f} CPU-s ({min(costs):.3f} to "
                  f"{max(costs):.3f}), {median(shares):.2f} of the first", flush=True)  # fmt: skip


def serve(name: str, how: str, pipe: Connection) -> None:
    """Take the time of one call whenever the pipe asks for it."""
    call = SIDES[name][how]()
    call()
    while pipe.recv():
        began_s = time.process_time()
        call()
        pipe.send(time.process_time() - began_s)


def stage(clips: Sequence[Path], runtimes: Sequence[str]) -> None:
    """Print the CPU-ms a frame of a video's poses, decoding included, and of the networks alone."""
    os.environ["OMP_NUM_THREADS"] = "1"  # one batch at a time, so that its time can be told
    for path in clips:
        for name in runtimes:
            nets: list[Any] = [make_estimator("blazepose", runtime=name)]
            nets.append(make_detector("movenet", runtime=name))
            spent = [0.0]
            for net in nets:
                net.setup()
                net._net = partial(timed, net._net, spent)
            posed(path, *nets)  # OpenVINO converts a network for the size of this video
            spent[0], began_s = 0.0, time.process_time()
            frames = posed(path, *nets)
            total_s = time.process_time() - began_s
            print(f"{path.stem}, {name}: {1000 * total_s / frames:.1f} CPU-ms a frame, networks "
                  f"alone {1000 * spent[0] / frames:.1f}: {total_s / spent[0]:.2f} times",
                  flush=True)  # fmt: skip


def timed(net: Callable[[Any], Any], spent: list[float], x: Any) -> Any:
    """Run a network, and add its CPU-s to `spent`."""
    began_s = time.process_time()
    result = net(x)
    spent[0] += time.process_time() - began_s
    return result


def posed(path: Path, net: Any, detector: Any) -> int:
    """Find the poses of a video as the pose stage does; return the number of frames looked at."""
    seen, shown_s = probe(path), frame_times(path)
    times_s = pose_times(shown_s, shown_s[0], shown_s[-1])
    size_px = (seen.width, seen.height)
    watch = PersonCollector(detector, net, len(times_s), size_px, **pace(net))
    request = FrameRequest(times_s, small_side_px(*size_px))
    read_frames(path, {"pose": request}, each={"pose": watch})
    watch.result(net(watch.crops()))
    return len(times_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["networks", "stage"])
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--only", nargs="+", default=[], choices=list(SIDES))
    parser.add_argument("--without", nargs="+", default=[], help="sides to leave out, such as bf16")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.what == "stage":
        found = [name for name in ("torch", "openvino") if name == "torch" or find_spec(name)]
        stage(options.clips, found)
    else:
        networks(options.only, options.rounds, options.without)


if __name__ == "__main__":
    print_anything()
    main()
