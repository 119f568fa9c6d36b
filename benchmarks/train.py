"""How fast a training step is, beside the same networks in the order of the authors' code.

    python benchmarks/train.py [--reference] [--parts] [--level high low] [--arch paper temporal]
                               [--batch 16] [--repeats 3] [--threads 2] [--device cpu]

All in one run, the sides taking turns on the same batch after one uncounted step of one segment:
process CPU seconds (on a GPU: seconds until the device is done) per step, medians. The codec has
the 5b's size and random weights, the inputs are noise: speed does not depend on their values.

`--reference` adds `reference_step.py`, always with `arch: paper` in float32. `--parts` breaks each
side's step down: seconds, FLOPs, bytes that its operators read and write, operators that compute
(on a GPU: kernel launches, about), and the floor that each of these sets at the rates of a matrix
product and of a copy measured in the same run. Written for CPUs and GPUs, not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from common import SAMPLES, inputs_of, noise_dataset
from reference_step import ReferenceStep
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.codecs.base import Codec
from model.codecs.jukebox import JUKEBOX_5B, random_codec
from model.contract.kinds import D2M_GAN
from model.contract.terminal import print_anything
from model.data.source import Batch
from model.families.d2m_gan.config import load_config
from model.families.d2m_gan.losses import weighted_total
from model.training.state import State, build

LAUNCH_S = 5e-6
"""Of one kernel from Python, about; CUDA graphs pay it once."""


@dataclass
class Side:
    name: str
    state: State
    step: Callable[[Batch], Any]


def make_batch(size: int, codec: Codec, level: str) -> Batch:
    drawn = torch.Generator().manual_seed(1)
    audio = 0.1 * torch.randn(size, SAMPLES, generator=drawn)
    return Batch(
        [f"noise_seg{i:04d}" for i in range(size)],
        audio.to(codec.device),
        {level: codec.encode(audio, level)},
        inputs_of(size, 1, codec.device),
        [""] * size,
    )


def make_sides(args: argparse.Namespace, level: str, codec: Codec) -> list[Side]:
    """Return what is compared; sides of one architecture begin with the same weights."""

    def state_of(preset: str, arch: str, **changes: Any) -> State:
        settings = [f"level={level}", f"arch={arch}", "use_genre=true"]
        config = replace(load_config(preset, None, settings), **changes)
        return build(D2M_GAN, config, noise_dataset(), codec, codec.device)

    def ours(name: str, state: State) -> Side:
        return Side(name, state, state.model.step)

    sides = []
    if "paper" in args.arch or args.reference:
        code = state_of("code", "paper")
        if args.reference:
            sides.append(Side("reference", code, ReferenceStep(code)))
    if "paper" in args.arch:
        audible = dict(code.config.weights, wave=40.0, mel=15.0)
        in_bf16 = state_of("code", "paper", weights=audible, bf16=True)
        sides.append(ours("paper, the code's gradients", code))
        sides.append(ours("paper, audio losses", state_of("code", "paper", weights=audible)))
        sides.append(ours("paper, audio losses, bf16", in_bf16))
    if "temporal" in args.arch:
        sides.append(ours("temporal, audio losses", state_of("paper", "temporal")))
        in_bf16 = state_of("paper", "temporal", bf16=True)
        sides.append(ours("temporal, audio losses, bf16", in_bf16))
    return sides


def clock(device: torch.device) -> float:
    """Return CPU seconds of this process, or on a GPU the time at which its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def take_turns(sides: Iterable[Side], batch: Batch, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each side's steps; all are told as they come."""
    sides, device = list(sides), batch.audio.device
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for side in sides:
        side.step(batch.head(1))
    for turn in range(repeats):
        for side in sides:
            began_s = clock(device)
            side.step(batch)
            times[side.name].append(clock(device) - began_s)
            print(f"  turn {turn + 1}: {side.name}: {times[side.name][-1]:.2f} s", flush=True)
    return times


# --- the step in parts ---------------------------------------------------------------------------


class Traffic(TorchDispatchMode):
    """Counts operators that compute, and the bytes of the tensors they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.moved_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not (func.is_view or func.namespace != "aten"):
            self.launches += 1
            held = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.moved_bytes += sum(x.numel() * x.element_size() for x in held)
        return out


def backward_flop(
    out: torch.Size, x: torch.Size, weight: torch.Size, *rest: Any, out_shape: Any = None
) -> int:
    """Return a convolution's backward FLOPs: torch's own count forgets groups."""
    *_, transposed, _, _, wanted = rest
    forward = 2 * math.prod(x if transposed else out) * math.prod(weight[1:])
    return forward * sum(wanted[:2])


FORMULAS = {torch.ops.aten.convolution_backward: backward_flop}


def measure_parts(state: State, batch: Batch) -> list[tuple[str, float, float, float, int]]:
    """Return (part, seconds, FLOP, bytes, launches) of one step of ours, as `D2MGAN.step` takes it.

    Seconds come from one pass, the counts from another.
    """
    timed = _walk(state, batch, counted=False)
    counted = _walk(state, batch, counted=True)
    return [(name, s, *rest) for (name, s, *_), (_, _, *rest) in zip(timed, counted, strict=True)]


def _walk(state: State, batch: Batch, counted: bool) -> list[tuple[str, float, float, float, int]]:
    rows: list[tuple[str, float, float, float, int]] = []
    held: dict[str, Any] = {}
    model, config, codec, level = state.model, state.config, state.codec, state.config.level

    def forward() -> None:
        held["real"] = held["raw"] = codec.embed(batch.codes[level], level)
        if config.discriminate_latents or config.weights["latent"]:
            held["raw"] = codec.latents(batch.audio, level)
        with model.autocast():
            held["fake"] = model.network(batch.inputs, batch.codes[level].shape[1])

    def adversary() -> None:
        shown = held["raw"] if config.discriminate_latents else held["real"]
        model.adversary.step(shown / model.scale, held["fake"] / model.scale)

    def losses() -> None:
        found = model.generator_losses(batch, held["real"], held["raw"], held["fake"])
        held["total"] = weighted_total(found, config.weights)

    def backward() -> None:
        model.optimiser.zero_grad(set_to_none=True)
        held["total"].backward()

    for name, part in (
        ("generator forward", forward), ("adversary's step", adversary), ("losses", losses),
        ("backward", backward), ("Adam", model.optimiser.step),
    ):  # fmt: skip
        flops = traffic = nullcontext()
        if counted:
            flops, traffic = FlopCounterMode(None, 2, False, FORMULAS), Traffic()
        began_s = clock(batch.audio.device)
        with flops, traffic:
            part()
        spent_s = clock(batch.audio.device) - began_s
        if counted:
            rows.append(
                (name, spent_s, flops.get_total_flops(), traffic.moved_bytes, traffic.launches)
            )
        else:
            rows.append((name, spent_s, 0.0, 0.0, 0))
    return rows


def rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Return what the device reaches: FLOP/s of a matrix product, bytes/s of a copy.

    On a CPU per CPU second, that is of one core.
    """
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    big = torch.randn(1 << 26, device=device)

    def best(work: Callable[[], object]) -> float:
        found = []
        for _ in range(5):
            began_s = clock(device)
            work()
            found.append(clock(device) - began_s)
        return min(found)

    return 2 * side**3 / best(lambda: a @ a), 2 * big.nbytes / best(big.clone)


def tell_parts(side: Side, batch: Batch) -> None:
    device = batch.audio.device
    dtype = torch.bfloat16 if side.state.config.bf16 else torch.float32
    flop_rate, byte_rate = rates(device, dtype)
    print(f"\n{side.name}: {flop_rate / 1e9:.0f} GFLOP/s ({dtype}), {byte_rate / 1e9:.1f} GB/s")
    print("| part | s | GFLOP | GB | launches | floor: FLOP, s | bytes, s | launches, s |")
    print("|---|---|---|---|---|---|---|---|")
    rows = measure_parts(side.state, batch)
    whole = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    for name, spent_s, flop, moved, launches in [*rows, whole]:
        print(
            f"| {name} | {spent_s:.2f} | {flop / 1e9:.0f} | {moved / 1e9:.1f} | {launches} | "
            f"{flop / flop_rate:.2f} | {moved / byte_rate:.2f} | {launches * LAUNCH_S:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--level", nargs="+", choices=("high", "low"), default=["high", "low"])
    parser.add_argument(
        "--arch", nargs="+", choices=("paper", "temporal"), default=["paper", "temporal"]
    )
    parser.add_argument("--batch", type=int, default=16, help="segments of 2 s (default 16)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    codec = random_codec(levels=("high", "low", "bottom"), hparams=JUKEBOX_5B).to(args.device)
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, batch {args.batch}")
    for level in args.level:
        print(f"level {level}", flush=True)
        sides, batch = make_sides(args, level, codec), make_batch(args.batch, codec, level)
        times = take_turns(sides, batch, args.repeats)
        print("| level | step | s, median | turns | reference / it |\n|---|---|---|---|---|")
        for name, spent in times.items():
            middle = statistics.median(spent)
            ratio = statistics.median(times["reference"]) / middle if args.reference else 1.0
            told = f"{ratio:.2f}" if args.reference else ""
            print(f"| {level} | {name} | {middle:.2f} | {len(spent)} | {told} |", flush=True)
        if args.parts:
            for side in sides:
                if side.name != "reference":
                    tell_parts(side, batch)


if __name__ == "__main__":
    print_anything()
    main()
