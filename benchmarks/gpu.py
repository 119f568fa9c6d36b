"""What a GPU takes for training, sampling, the codec and the stream: one table within 8 minutes.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --tiny         # all of it in miniature, in a minute or two on a CPU

Models have the sizes of the presets `paper` (D2M-GAN) and `base` (tokens), the codec that of the
5b; weights and data are noise, because speed does not depend on their values. Beside each figure is
its bound: the floating point operations at the rate of a large matrix product, measured in the same
process in the same precision. For drawing codes it is one product with each weight matrix for each
position.

Every part runs in a process of its own for at most its share of `--minutes`, as do all together.
What fails, or is not done in time, says why in the table; the other parts run all the same. Needs
only what `model train` needs.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import codec as codec_benchmark
import stream as stream_benchmark
import tokens as tokens_benchmark
import torch
import train as train_benchmark
from common import SAMPLES, matmul_rate, noise_dataset, random_batch, random_codes, timed
from parts import HEAD, Part, Row, attempt, rows_of_all, write_rows
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.codecs.base import Codec
from model.codecs.jukebox import JUKEBOX_5B
from model.codecs.jukebox.hparams import TINY
from model.contract.dataset import load_dataset
from model.contract.kinds import D2M_GAN
from model.contract.segment import MOTION, SAMPLE_RATE_HZ, VISUAL
from model.contract.terminal import print_anything
from model.data.inputs import GENRE
from model.data.source import Batch, Source
from model.data.stream import Position, TrainingStream, training_batches
from model.families.d2m_gan.config import load_config
from model.families.d2m_gan.family import D2MGAN
from model.families.d2m_gan.losses import weighted_total
from model.families.tokens.config import Config, Options
from model.families.tokens.family import Tokens
from model.runtime.arguments import device_of
from model.runtime.settings import load
from model.training.memory import largest_fit
from model.training.state import State, build

PAPER, TEMPORAL, TOKENS = "d2m-gan paper", "d2m-gan temporal", "tokens"
MODELS = (PAPER, TEMPORAL, TOKENS)
NARROW = ["width=32", "layers=1", "heads=2", "code_width=16", "local_width=16", "motion_channels=8"]
THIN = ["channels=16", "min_channels=8", "motion_channels=8", "discriminators=1"]
NO_CUDA = "no CUDA"


@dataclass(frozen=True)
class Bench:
    """What is measured, and where: full or `tiny` sizes, each figure a median of `repeats`."""

    device_name: str
    tiny: bool

    @property
    def device(self) -> torch.device:
        return device_of(self.device_name)

    @property
    def repeats(self) -> int:
        return 1 if self.tiny else 5

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def rate(self, bf16: bool) -> float:
        """Return the floating point operations a second of a large matrix product."""
        return matmul_rate(self.device, bf16, 256 if self.tiny else 0)

    def codec(self) -> Codec:
        return codec_benchmark.build(TINY if self.tiny else JUKEBOX_5B)[1].to(self.device)

    def batch_size(self, model: str) -> int:
        """Return the batch of the preset."""
        return 2 if self.tiny else 64 if model == TOKENS else 16

    def state(self, model: str, bf16: bool) -> State:
        """Build a model for training."""
        settings = [f"bf16={str(bf16).lower()}"]
        if model == TOKENS:
            preset, more = ("tiny", NARROW) if self.tiny else ("base", [])
            config = load(Config(), settings + more, None, preset, Tokens.PRESETS)
            return build(TOKENS, config, noise_dataset(), self.codec(), self.device)
        settings += [f"arch={model.split()[1]}", "use_genre=true", *THIN * self.tiny]
        config = load_config("tiny" if self.tiny else "paper", None, settings)
        return build(D2M_GAN, config, noise_dataset(), self.codec(), self.device)


# --- the parts: each yields rows ------------------------------------------------------------------


def machine(bench: Bench) -> Iterator[Row]:
    """What the device reaches: matrix products and copies."""
    for bf16 in (False, True):
        name = "bf16" if bf16 else "float32"
        yield Row("device", f"matrix product, {name}", bench.rate(bf16) / 1e12, "TFLOP/s")
    big = torch.randn(1 << (20 if bench.tiny else 27), device=bench.device)
    took_s = min(timed(big.clone, bench.device)[0] for _ in range(5))
    yield Row("device", "copy, read and written", 2 * big.nbytes / took_s / 1e9, "GB/s")


def training(bench: Bench, model: str) -> Iterator[Row]:
    """Forward, backward and complete steps, launched one by one and as a CUDA graph."""
    for bf16 in (False, True):
        state = bench.state(model, bf16)
        batch = random_batch(state.model, bench.batch_size(model))
        name = f"{'bf16' if bf16 else 'float32'}, eager"
        yield from attempt(model, name, passes, bench, model, name, state, batch)
        yield from attempt(model, name, whole_step, bench, model, name, state, batch)
    name = "bf16, CUDA graph"
    if bench.cuda:
        yield from attempt(model, name, graphed, bench, model, name, state, batch)
    else:
        yield Row(model, name, remark=NO_CUDA)


def compiled(bench: Bench, model: str) -> Iterator[Row]:
    """Forward and backward through torch.compile; on a CPU it only traces them."""
    state = bench.state(model, bf16=True)
    batch = random_batch(state.model, bench.batch_size(model))
    backend = "inductor" if bench.cuda else "eager"
    name = f"bf16, compiled ({backend})"
    forward = torch.compile(loss_of(state, batch), backend=backend)
    took_s, _ = timed(lambda: forward_backward(forward, state), bench.device)
    yield Row(model, f"{name}: first pass", took_s, "s", remark="compiling included")
    yield from passes(bench, model, name, state, batch, forward)


def codec(bench: Bench) -> Iterator[Row]:
    """How many seconds of sound the codec encodes and decodes in a second."""
    held = bench.codec()
    for count in (1, 2 if bench.tiny else 64):
        for level in ("high", "low"):
            what = f"{level}, {count} at once"
            yield from attempt("codec", what, codec_rates, bench, held, level, count, what)


def sampling(bench: Bench) -> Iterator[Row]:
    """How long the tokens model takes to draw 8 s of music at both levels."""
    model = cast(Tokens, bench.state(TOKENS, bf16=True).model)
    seconds = 2.0 if bench.tiny else 8.0
    for pieces in (1, 2 if bench.tiny else 16):
        what = f"{pieces} x {seconds:g} s of music, both levels"
        yield from attempt("sampling", what, drawing, model, seconds, pieces, what)


def stream(bench: Bench) -> Iterator[Row]:
    """The share of training in which it waits for batches, from shards that were just written."""
    state = bench.state(TEMPORAL, bf16=True)
    with TemporaryDirectory() as folder:
        root = stream_benchmark.made_up(Path(folder), 12 if bench.tiny else 192)
        dataset = load_dataset(root)
        (codec_id,) = dataset.codecs
        inputs = (MOTION, VISUAL, GENRE)
        source = Source(root, dataset, "train", codec_id, {"high": 1 << 16}, inputs)
        for workers in (0, 1):
            what = f"wait share of {TEMPORAL}, bf16, workers={workers}"
            yield from attempt("stream", what, wait_share, bench, state, source, workers, what)


def memory(bench: Bench) -> Iterator[Row]:
    """The largest batch, of powers of two, for which a training step fits in memory."""
    for model in MODELS:
        yield from attempt("memory", f"largest batch of {model}, bf16", largest, bench, model)


# --- one measurement ------------------------------------------------------------------------------


def loss_of(state: State, batch: Batch) -> Callable[[], Tensor]:
    """Return a function that computes the loss of the generator, with its gradient's graph."""
    model = state.model
    if isinstance(model, Tokens):
        held: list[Tensor] = vars(model).setdefault("caught", [])
        vars(model)["descend"] = held.append  # a step that does not descend

        def tokens_loss() -> Tensor:
            held.clear()
            model.step(batch)
            return held[0]

        return tokens_loss

    gan = cast(D2MGAN, model)
    level = gan.config.level
    real = gan.codec.embed(batch.codes[level], level)

    def generator_loss() -> Tensor:
        with gan.autocast():
            fake = gan.network(batch.inputs, real.shape[2])
        losses = gan.generator_losses(batch, real, real, fake)
        return weighted_total(losses, gan.config.weights)

    return generator_loss


def clear_gradients(state: State) -> None:
    for optimiser in state.model.optimisers.values():
        optimiser.zero_grad(set_to_none=True)


def forward_backward(forward: Callable[[], Tensor], state: State) -> None:
    clear_gradients(state)
    forward().backward()


def passes(
    bench: Bench, model: str, name: str, state: State, batch: Batch,
    forward: Callable[[], Tensor] | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Measure forward and backward passes, of `forward` or of the model as it is."""
    plain = loss_of(state, batch)
    run, rate = forward or plain, bench.rate(name.startswith("bf16"))
    forward_backward(run, state)
    counts = []
    clear_gradients(state)
    with FlopCounterMode(None, 2, False, train_benchmark.FORMULAS) as counter:
        loss = plain()
        counts.append(counter.get_total_flops())
        loss.backward()
        counts.append(counter.get_total_flops() - counts[0])
    times: list[list[float]] = [[], []]
    for _ in range(bench.repeats):
        clear_gradients(state)
        held: list[Tensor] = []
        times[0].append(timed(lambda held=held: held.append(run()), bench.device)[0])
        times[1].append(timed(held.pop().backward, bench.device)[0])
    for direction, spent, flops in zip(("forward", "backward"), times, counts, strict=True):
        yield Row(
            model, f"{name}: {direction}", 1e3 * median(spent), "ms", 1e3 * flops / rate,
            f"batch {len(batch)}, {flops / 1e9:.3g} GFLOP",
        )  # fmt: skip


def whole_step(bench: Bench, model: str, name: str, state: State, batch: Batch) -> Iterator[Row]:
    """Measure complete training steps, adversary and optimisers included."""
    vars(state.model).pop("descend", None)
    state.model.step(batch)
    with FlopCounterMode(None, 2, False, train_benchmark.FORMULAS) as counter:
        state.model.step(batch)
    spent = [timed(lambda: state.model.step(batch), bench.device)[0] for _ in range(bench.repeats)]
    bound_s = counter.get_total_flops() / bench.rate(name.startswith("bf16"))
    what = f"{name}: complete step"
    yield Row(model, what, 1e3 * median(spent), "ms", 1e3 * bound_s, f"batch {len(batch)}")


def graphed(bench: Bench, model: str, name: str, state: State, batch: Batch) -> Iterator[Row]:
    """Measure forward and backward as one CUDA graph: all kernels by a single launch."""
    forward = loss_of(state, batch)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            forward_backward(forward, state)
    torch.cuda.current_stream().wait_stream(side)
    clear_gradients(state)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward().backward()
    spent = [timed(graph.replay, bench.device)[0] for _ in range(bench.repeats + 1)]
    what = f"{name}: forward and backward"
    yield Row(model, what, 1e3 * median(spent[1:]), "ms", None, f"batch {len(batch)}")


def codec_rates(bench: Bench, held: Codec, level: str, count: int, what: str) -> Iterator[Row]:
    """Measure encoding and decoding of clips of 2 s, `count` at once."""
    audio = 0.3 * torch.randn(count, SAMPLES, device=bench.device)
    codes = random_codes(held, level, count, bench.device)
    works = {
        "encode": lambda: held.encode(audio, level),
        "decode": lambda: held.decode(codes, level),
    }
    seconds = count * SAMPLES / SAMPLE_RATE_HZ
    for name, work in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        spent_s = median(timed(work, bench.device)[0] for _ in range(bench.repeats))
        best = seconds * bench.rate(bf16=False) / counter.get_total_flops()
        yield Row("codec", f"{name} {what}", seconds / spent_s, "s of sound a second", best)


def drawing(model: Tokens, seconds: float, pieces: int, what: str) -> Iterator[Row]:
    """Measure drawing the codes of some pieces of music at once."""
    found = tokens_benchmark.draw(model, seconds, pieces, Options())
    rate = f"{found.codes / found.took_s:,.0f} codes a second"
    yield Row("sampling", what, found.took_s, "s", found.floor_s, rate)


def wait_share(
    bench: Bench, state: State, source: Source, workers: int, what: str
) -> Iterator[Row]:
    """Measure the share of the time that training steps wait for batches."""
    size, steps = bench.batch_size(TEMPORAL), 3 if bench.tiny else 40
    batches = TrainingStream(source, size, 0, 1024, Position())
    waited_s = 0.0
    with closing(training_batches(batches, workers, pin=bench.cuda)) as loader:
        for _ in range(2):
            timed(lambda: state.model.step(next(loader).to(bench.device)), bench.device)
        began_s = time.perf_counter()
        for _ in range(steps):
            asked_s = time.perf_counter()
            batch = next(loader)
            waited_s += time.perf_counter() - asked_s
            timed(lambda batch=batch: state.model.step(batch.to(bench.device)), bench.device)
        took_s = time.perf_counter() - began_s
    remark = f"{size * steps / took_s:.4g} segments a second trained"
    yield Row("stream", what, 100 * waited_s / took_s, "%", 0.0, remark)


def largest(bench: Bench, model: str) -> Iterator[Row]:
    """Find the largest batch by taking steps; on a CPU only the search itself is tried."""
    most, what = 2 if bench.tiny else 1024, f"largest batch of {model}, bf16"
    if not (bench.cuda or bench.tiny):
        yield Row("memory", what, remark=NO_CUDA)
        return
    if bench.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    state = bench.state(model, bf16=True)
    found = largest_fit(state, random_batch(state.model, 2 * most))
    remark = NO_CUDA
    if bench.cuda:
        used = torch.cuda.max_memory_allocated() / 2**30
        total = torch.cuda.get_device_properties(bench.device).total_memory / 2**30
        remark = f"at most {used:.1f} of {total:.1f} GiB used"
    remark += f"; larger than {most} not tried" if found == most else ""
    yield Row("memory", what, found, "segments of 2 s", None, remark)


MINUTES = 7.5
"""How long all parts may take together; the seconds of each part below are for this time."""


def parts_of(bench: Bench, minutes: float) -> dict[str, Part]:
    """Return all parts by name, each with the time that it may take."""
    parts = {
        "device": (partial(machine, bench), 20),
        **{name: (partial(training, bench, name), 50) for name in MODELS},
        "codec": (partial(codec, bench), 30),
        "sampling": (partial(sampling, bench), 50),
        "stream": (partial(stream, bench), 40),
        "memory": (partial(memory, bench), 60),
        **{f"{name}, compiled": (partial(compiled, bench, name), 60) for name in MODELS},
    }
    slow = minutes / MINUTES
    return {name: Part(work, slow * limit_s) for name, (work, limit_s) in parts.items()}


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="small sizes, for a try on a CPU")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all parts")
    parser.add_argument("--only", nargs="+", metavar="PART", help="such as codec or sampling")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    arguments = parser.parse_args()
    began_s = time.perf_counter()
    parts = parts_of(Bench(arguments.device, arguments.tiny), arguments.minutes)
    if unknown := sorted(set(arguments.only or ()) - set(parts)):
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(parts)}")
    chosen = {name: part for name, part in parts.items() if name in (arguments.only or parts)}
    print(f"torch {torch.__version__}, Python {platform.python_version()}\n\n{HEAD}", flush=True)
    rows = []
    for row in rows_of_all(chosen, 60 * arguments.minutes):
        rows.append(row)
        print(row, flush=True)
    took_s = time.perf_counter() - began_s
    print(f"\n{took_s:.0f} s in all")
    if arguments.out:
        facts = {"tiny": arguments.tiny, "seconds": took_s}
        write_rows(arguments.out, rows, facts)


if __name__ == "__main__":
    print_anything()
    main()
