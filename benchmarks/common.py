"""Noise in the shapes of AIST++, and clocks, for the benchmarks of speed.

Speed does not depend on the values of data or weights, so both are random.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from model.codecs.base import Codec
from model.contract.dataset import Dataset
from model.contract.segment import MOTION, SAMPLE_RATE_HZ, VISUAL, WAV
from model.data.inputs import GENRE
from model.data.source import Batch
from model.families.base import Model

SAMPLES = 2 * SAMPLE_RATE_HZ
"""Samples of a segment of 2 s."""
FIELDS: dict[str, dict[str, Any]] = {
    WAV: {"dtype": "int16", "shape": [SAMPLES]},
    MOTION: {"dtype": "float32", "shape": [120, 219]},
    VISUAL: {"dtype": "float32", "shape": [1, 2048]},
}


def noise_dataset() -> Dataset:
    """Return what dataset.json would say of the noise."""
    return Dataset("noise", "2", FIELDS, {}, {})


def inputs_of(count: int, segments: int, device: torch.device) -> dict[str, Tensor]:
    """Return random inputs of `count` pieces, each of so many segments."""
    return {
        MOTION: torch.randn(count, 120 * segments, 219, device=device),
        VISUAL: torch.randn(count, segments, 2048, device=device),
        GENRE: torch.randint(10, (count,), device=device),
    }


def random_codes(codec: Codec, level: str, count: int, device: torch.device) -> Tensor:
    """Return random codes (B, L) of `count` segments."""
    steps = codec.steps(SAMPLES, level)
    return torch.randint(codec.level(level).size, (count, steps), device=device)


def random_batch(model: Model, count: int) -> Batch:
    """Return `count` segments of noise, with random codes of the model's levels."""
    device = model.device
    codes = {level: random_codes(model.codec, level, count, device) for level in model.levels}
    audio = torch.randn(count, SAMPLES, device=device) * 0.1
    return Batch([""] * count, audio, codes, inputs_of(count, 1, device), [""] * count)


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the time that work takes by the clock, and of the processor, in seconds."""
    began_s, busy_s = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began_s, time.process_time() - busy_s


@cache
def matmul_rate(device: torch.device, bf16: bool, side: int = 0) -> float:
    """Return the floating point operations a second of a large matrix product (side, side).

    It is measured once in a process.
    """
    side = side or (8192 if device.type == "cuda" else 1024)
    kind = torch.bfloat16 if bf16 else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    a @ b
    took_s = min(timed(lambda: a @ b, device)[0] for _ in range(5))
    return 2 * side**3 / took_s
