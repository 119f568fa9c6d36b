"""A codec's training run for the common training loop, and what every trainer of codecs needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from model.codecs.base import Codec
from model.codecs.training.config import TrainingConfig
from model.codecs.training.corpus import Corpus, normalised, read_folder, read_shards
from model.codecs.training.losses import Bandwidth, measure_bandwidth
from model.codecs.training.pictures import draw_reconstructions, write_wav
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.storage import Location
from model.runtime.loop import Schedule, TrainingRun
from model.runtime.precision import as_begun, resolved
from model.runtime.run_log import table

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

C = TypeVar("C", bound=TrainingConfig)
CONFIG = "config.json"
"""The settings of a run, in its folder."""
BANDWIDTH_S = 300
HELD_OUT_ITEMS = 4
ADVICE = "lower lr and resume"


class CodecRun(TrainingRun):
    """What the training runs of codecs share: intervals, reports and the log."""

    title = ""
    """What is trained, as the first word of each report."""

    def __init__(self, config: TrainingConfig, log: SummaryWriter) -> None:
        self.config, self.log = config, log
        every = config.save_every
        self.schedule = Schedule(config.steps, config.log_every, every, val_every=every)

    def reports(self, saving: bool, stopping: bool) -> bool:
        return self.step % self.config.log_every == 0

    def report(self, now: Mapping[str, float], mean: Mapping[str, float], count: int) -> None:
        self.scalars(now)
        rows = {name: (value, mean[name]) for name, value in now.items()}
        print(
            table(f"{self.title} step {self.step}", ("now", f"mean of {count}"), rows), flush=True
        )

    def scalars(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.log.add_scalar(name, value, self.step)


def crops(config: TrainingConfig, corpus: Corpus, step: int) -> Iterator[Tensor]:
    """Yield crops (B, N) for each step from `step` on; see `Corpus.batch`."""
    while True:
        batch = corpus.batch(config.seed, step, config.batch, config.crop_samples)
        yield torch.from_numpy(batch)
        step += 1


def read_corpus(audio: Path | None, shards: Location | None, samples: int) -> Corpus:
    """Read the music of a folder or of a data set: items (N,) int16, N at least `samples`.

    Raises ValueError unless exactly one is given, or if its music is invalid.
    """
    if audio is not None and shards is None:
        return read_folder(audio, samples)
    if shards is not None and audio is None:
        return read_shards(shards, samples)
    raise ValueError("expected either a folder of music or the shards of a data set")


def bandwidth_crops(config: TrainingConfig, corpus: Corpus) -> Tensor:
    """Return crops (n, N), about `BANDWIDTH_S` of music, to be measured by `bandwidth_of`."""
    items = max(1, round(BANDWIDTH_S / (config.crop_samples / SAMPLE_RATE_HZ)))
    return torch.from_numpy(corpus.batch(config.seed + 1, 0, items, config.crop_samples))


def bandwidth_of(crops: Tensor) -> Bandwidth:
    """Return the statistics of training crops (n, N), by which the losses are divided."""
    return measure_bandwidth(crops[:, None])


def pick_device(config: TrainingConfig, index: int = 0) -> torch.device:
    """Return the device of run `index`; with "auto", runs use different GPUs if possible.

    Raises ValueError for a GPU that does not exist.
    """
    count = torch.cuda.device_count()
    if config.device != "auto":
        device = torch.device(config.device)
        if device.type == "cuda" and (device.index or 0) >= count:
            raise ValueError(f"device {config.device}: torch finds {count} GPUs on this machine")
        return device
    return torch.device("cuda", index % count) if count else torch.device("cpu")


def begun_with(config: C, device: torch.device, out: Path, resume: bool) -> C:
    """Return the settings with `precision` decided: by the hardware, or as a resumed run has it."""
    if not resume:
        return resolved(config, device.type)
    path = out / CONFIG
    saved = json.loads(path.read_bytes()) if path.is_file() else {}
    return as_begun(config, saved, str(path))


@torch.no_grad()
def average_into(average: Mapping[str, Tensor], model: torch.nn.Module, mu: float) -> None:
    """Update the moving average of a model's parameters, which has their names."""
    names, values = zip(*model.named_parameters(), strict=True)
    torch._foreach_lerp_([average[name] for name in names], list(values), 1 - mu)


def average_decay(step: int, mu: float) -> float:
    """Return the decay at a step: smaller at first, so that the random start is soon forgotten."""
    return min(mu, (1 + step) / (10 + step))


@torch.no_grad()
def reconstruct(
    codec: Codec, level: str, corpus: Corpus, samples: int, out: Path, title: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruct held-out music; return what was encoded (B, N), the result and the codes.

    Items have at least 2 s, or `samples` if the music is shorter: whole hops. Writes wav files and
    spectrograms below `out`/samples.
    """
    hop = max(1, codec.level(level).hop * SAMPLE_RATE_HZ // codec.sample_rate_hz)
    length = max(samples, 2 * SAMPLE_RATE_HZ)
    length -= length % hop
    segments = [item[:length] for item in corpus.held_out if len(item) >= length]
    segments = segments or [item[:samples] for item in corpus.held_out]
    segments = segments[:: max(1, len(segments) // HELD_OUT_ITEMS)][:HELD_OUT_ITEMS]
    originals = [torch.from_numpy(normalised(s.astype("float32") / 32768)) for s in segments]
    target = torch.stack(originals).to(codec.device)
    codes = codec.encode(target, level)
    output = codec.decode(codes, level)
    pairs = {}
    for i, (original, decoded) in enumerate(zip(target.cpu(), output.cpu(), strict=True)):
        write_wav(out / "samples" / f"{i}_original.wav", original)
        write_wav(out / "samples" / f"{i}_decoded.wav", decoded)
        pairs[f"held-out {i}"] = {"original": original.numpy(), level: decoded.numpy()}
    draw_reconstructions(out / "samples" / "spectrograms.png", pairs, title)
    return target, output, codes
