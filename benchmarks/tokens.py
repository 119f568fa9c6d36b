"""How fast token models train and draw codes, on the CPU or a GPU, with the weights of a preset.

Prints steps and codes per second of training, and how long music of a given length takes. Beside
each is a floor: for training, the time of its floating point operations at the rate of a large
matrix product on this machine; for drawing, that of one product with each weight matrix for each
position, and nothing else. Weights and data are random: speed does not depend on them. On a GPU,
drawing uses CUDA graphs; its first piece, which records them, is not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from common import SAMPLES, inputs_of, matmul_rate, noise_dataset, random_batch, timed
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model.codecs.base import load_codec, samples_per_code
from model.contract.terminal import print_anything
from model.families.tokens.config import Config, Options
from model.families.tokens.family import Tokens
from model.families.tokens.level import LevelNetwork
from model.families.tokens.network import of_level
from model.runtime.arguments import device_of
from model.runtime.settings import load


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
    model = Tokens(config, Tokens.inputs_of(config, noise_dataset()), codec, device)
    print(f"{arguments.preset}: {size(model):.2f} M parameters, {device}, {torch.__version__}")
    train(model, arguments.steps)
    options = load(Options(), [f"guidance={arguments.guidance}"])
    generate(model, arguments.seconds, arguments.pieces, options)


def size(model: Tokens) -> float:
    """Return the number of parameters in millions."""
    return sum(p.numel() for p in model.network.parameters()) / 1e6


def train(model: Tokens, steps: int) -> None:
    """Print the time of a training step: the median of `steps`, after one to warm up."""
    model.start_training()
    count, device = model.config.batch_size, model.device
    batch = random_batch(model, count)
    model.step(batch)
    with FlopCounterMode(display=False) as counter:
        model.step(batch)
    floor_s = counter.get_total_flops() / matmul_rate(device, model.config.bf16)
    seconds, busy = zip(
        *(timed(lambda: model.step(batch), device) for _ in range(steps)), strict=True
    )
    step_s = float(np.median(seconds))
    tokens = sum(each.numel() for each in batch.codes.values())
    print(
        f"training: {1 / step_s:.2f} steps/s of {count} segments, {tokens / step_s:,.0f} codes/s "
        f"(median {step_s:.3f} s, {np.median(busy):.3f} s of processor time; floor {floor_s:.3f} s)"
    )


def generate(model: Tokens, seconds: float, pieces: int, options: Options) -> None:
    """Print how long drawing the codes of music takes."""
    drawn = draw(model, seconds, pieces, options)
    print(
        f"drawing: {pieces} x {drawn.seconds:g} s of music, guidance {list(options.guidance)}: "
        f"{drawn.took_s:.1f} s ({drawn.busy_s:.1f} s of processor time), "
        f"{drawn.codes / drawn.took_s:,.0f} codes/s, floor {drawn.floor_s:.1f} s"
    )


@dataclass(frozen=True)
class Drawn:
    """How long it took to draw codes, by the clock and of the processor, and the least it could.

    `seconds` is the length of each piece, in whole segments.
    """

    seconds: float
    codes: int
    took_s: float
    busy_s: float
    floor_s: float


@torch.no_grad()
def draw(model: Tokens, seconds: float, pieces: int, options: Options) -> Drawn:
    """Draw the codes of `pieces` pieces of music, after a short one that is not counted."""
    model.network.eval()
    segments = max(1, round(seconds / 2))
    samples = segments * SAMPLES
    steps = {
        level: -int(-samples // samples_per_code(model.codec, level)) for level in model.levels
    }
    inputs = inputs_of(pieces, segments, model.device)
    model.generate(inputs, {level: 8 * count // 100 for level, count in steps.items()}, options)
    took_s, busy_s = timed(lambda: model.generate(inputs, steps, options), model.device)
    floor_s = products_s(model, options, pieces) * segments * model.window
    return Drawn(2 * segments, pieces * sum(steps.values()), took_s, busy_s, floor_s)


def products_s(model: Tokens, options: Options, pieces: int) -> float:
    """Return the time of multiplying each weight matrix once for each row of a position."""
    products: list[tuple[torch.Tensor, torch.Tensor]] = []
    for i, module in enumerate(model.network.levels.values()):
        network = cast(LevelNetwork, module)
        rows = pieces * (2 if of_level(options.guidance, i) != 1 else 1)
        weights = dict(network.named_parameters())
        once = [
            weight
            for name, weight in weights.items()
            if name == "patches.weight" or (name.startswith("transformer") and "modul" not in name)
        ]
        each_code = [weight for name, weight in weights.items() if name.startswith("local.")]
        each_code += [weights["recent.weight"], network.logits()]
        for weight in (*once, weights["unfold.weight"], *each_code * network.patch):
            if weight.ndim == 2:
                row = torch.randn(rows, weight.shape[1], device=model.device)
                products.append((row, weight))

    def multiply() -> None:
        for row, matrix in products:
            F.linear(row, matrix)

    with torch.no_grad():
        multiply()
        return float(np.median([timed(multiply, model.device)[0] for _ in range(20)]))


if __name__ == "__main__":
    print_anything()
    main()
