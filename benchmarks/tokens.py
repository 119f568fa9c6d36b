"""How fast token models train and draw codes, on the CPU or a GPU, with the weights of a preset.

Prints steps and codes per second of training, and how long music of a given length takes, level by
level, beside the real time. Weights and data are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from model.codecs.base import load_codec, samples_per_code
from model.contract.segment import MOTION, SAMPLE_RATE_HZ, VISUAL
from model.contract.terminal import print_anything
from model.data.inputs import GENRE, Inputs, InputSpec
from model.data.source import Batch
from model.families.tokens.config import Config, Options
from model.families.tokens.family import Tokens
from model.runtime.arguments import device_of
from model.runtime.settings import load

SAMPLES = 2 * SAMPLE_RATE_HZ
SPECS = {
    MOTION: InputSpec(219, 1 / 60, 120),
    VISUAL: InputSpec(2048, 2.0, 1),
    GENRE: InputSpec(10, 2.0, 0),
}


def main() -> None:
    """Measure training and drawing; print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny", choices=[*Tokens.PRESETS])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--codec", default="demo")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="training steps (default: 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the music drawn")
    parser.add_argument("--guidance", default="2,1", help="as of model generate (default: 2,1)")
    parser.add_argument("--pieces", type=int, default=1, help="pieces drawn at once (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = device_of(arguments.device)
    config = load(Config(), arguments.settings, None, arguments.preset, Tokens.PRESETS)
    codec = load_codec(arguments.codec, config.level_names, device)
    model = Tokens(config, Inputs(SAMPLES, SPECS), codec, device)
    print(f"{arguments.preset}: {size(model):.2f} M parameters, {device}, {torch.__version__}")
    train(model, arguments.steps)
    options = load(Options(), [f"guidance={arguments.guidance}"])
    generate(model, arguments.seconds, arguments.pieces, options)


def size(model: Tokens) -> float:
    """Return the number of parameters in millions."""
    return sum(p.numel() for p in model.network.parameters()) / 1e6


def inputs_of(count: int, segments: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return random inputs of `count` pieces."""
    return {
        MOTION: torch.randn(count, 120 * segments, 219, device=device),
        VISUAL: torch.randn(count, segments, 2048, device=device),
        GENRE: torch.randint(10, (count,), device=device),
    }


def train(model: Tokens, steps: int) -> None:
    """Print the time of a training step: the median of `steps`, after one to warm up."""
    model.start_training()
    count, device = model.config.batch_size, model.device
    codes = {
        level: torch.randint(
            model.codec.level(level).size, (count, model.codec.steps(SAMPLES, level)), device=device
        )
        for level in model.levels
    }
    audio = torch.randn(count, SAMPLES, device=device) * 0.1
    batch = Batch([""] * count, audio, codes, inputs_of(count, 1, device))
    model.step(batch)
    seconds, busy = zip(
        *(timed(lambda: model.step(batch), device) for _ in range(steps)), strict=True
    )
    step_s = float(np.median(seconds))
    tokens = sum(each.numel() for each in codes.values())
    print(
        f"training: {1 / step_s:.2f} steps/s of {count} segments, {tokens / step_s:,.0f} codes/s "
        f"(median {step_s:.2f} s, {np.median(busy):.2f} s of processor time)"
    )


def generate(model: Tokens, seconds: float, pieces: int, options: Options) -> None:
    """Print how long drawing the codes of music takes."""
    model.network.eval()
    segments = max(1, round(seconds / 2))
    samples = segments * SAMPLES
    steps = {
        level: -int(-samples // samples_per_code(model.codec, level)) for level in model.levels
    }
    inputs = inputs_of(pieces, segments, model.device)
    with torch.no_grad():
        model.generate(inputs, {level: 8 * count // 100 for level, count in steps.items()}, options)
        took_s, busy_s = timed(lambda: model.generate(inputs, steps, options), model.device)
    print(
        f"drawing: {pieces} x {2 * segments} s of music, guidance {list(options.guidance)}: "
        f"{took_s:.1f} s ({busy_s:.1f} s of processor time), "
        f"{pieces * sum(steps.values()) / took_s:,.0f} codes/s"
    )


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the time that work takes by the clock, and of the processor, in seconds."""
    began_s, busy_s = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began_s, time.process_time() - busy_s


if __name__ == "__main__":
    print_anything()
    main()
