"""The output of a run: tables in the terminal, metrics.jsonl, TensorBoard, samples and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.audio import LogMel
from model.contract.files import atomic_file, write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.wav import write_wav

METRICS = "metrics.jsonl"
SPECTROGRAMS = "spectrograms.png"


class Progress:
    """Prints tables of 80 columns: step, steps per second, time left, and values by name."""

    def __init__(self, step: int, steps: int) -> None:
        self.first, self.steps, self.began_s = step, steps, time.perf_counter()

    def show(
        self, step: int, now: Mapping[str, float], mean: Mapping[str, float], count: int
    ) -> None:
        """Print the values of the last step and their means over the last `count` steps.

        There is a row for each name of `mean`; if `now` has no such value, its cell is empty.
        """
        steps_per_s = (step - self.first) / max(time.perf_counter() - self.began_s, 1e-9)
        left = timedelta(seconds=round((self.steps - step) / max(steps_per_s, 1e-9)))
        title = f"step {step}/{self.steps}  {steps_per_s:.2f}/s  {left} left"
        rows = {name: (now.get(name), value) for name, value in mean.items()}
        print(table(title, ("now", f"mean of {count}"), rows), flush=True)

    def validated(self, step: int, values: Mapping[str, float]) -> None:
        """Print the results of a validation."""
        rows = {name: (value,) for name, value in values.items()}
        print(table(f"validation at step {step}", ("now",), rows), flush=True)


def table(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """Return lines of at most 80 ASCII characters: a title, the column heads, and the rows."""

    def line(name: str, cells: Iterable[str]) -> str:
        return f"  {name:<38.38}" + "".join(f"{cell:>16.16}" for cell in cells)

    lines = [title, line("name", heads)]
    for name, values in rows.items():
        lines.append(line(name, ("" if value is None else f"{value:.4g}" for value in values)))
    return "\n".join(lines)


class RunLog:
    """metrics.jsonl and TensorBoard of one run. Entries after `step` are removed at the start."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        run.mkdir(parents=True, exist_ok=True)
        self.path = run / METRICS
        kept = [row for row in read_metrics(run) if row["step"] <= step]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self.writer = SummaryWriter(str(run), purge_step=step + 1)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def sound(self, tag: str, audio: Tensor, step: int) -> None:
        self.writer.add_audio(tag, audio.clamp(-1, 1)[None], step, SAMPLE_RATE_HZ)

    def picture(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self.writer.add_image(tag, pixels, step, dataformats="HWC")


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.jsonl; a last line truncated by a crash is left out."""
    path = run / METRICS
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in complete.splitlines()]


def reported(run: Path, step: int, name: str) -> bool:
    """Return whether metrics.jsonl has a value of this name at a step."""
    return any(row["step"] == step and name in row for row in read_metrics(run))


def write_samples(
    run: Path, log: RunLog, step: int, heard: Mapping[str, Mapping[str, Tensor]], log_mel: LogMel
) -> Path:
    """Write each sample's audio (N,) as wav files, and all spectrograms as one picture.

    `heard` has, for each segment key, the audio of truth, reconstruction and generated.
    """
    folder = samples_folder(run, step)
    for key, sounds in heard.items():
        for name, audio in sounds.items():
            write_wav(folder / f"{key}.{name}.wav", audio)
            log.sound(f"{name}/{key}", audio, step)
    pixels = spectrograms(heard, log_mel, folder / SPECTROGRAMS, f"step {step}")
    log.picture("samples/spectrograms", pixels, step)
    return folder


def samples_folder(run: Path, step: int) -> Path:
    """Return the folder of a step's samples; it is complete when it has `SPECTROGRAMS`."""
    return run / "samples" / f"step-{step:07d}"


def spectrograms(
    heard: Mapping[str, Mapping[str, Tensor]], log_mel: LogMel, path: Path, title: str
) -> np.ndarray:
    """Draw a row per segment and a column per signal; write a PNG and return pixels (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imsave

    columns = list(next(iter(heard.values())))
    figure = Figure((3.6 * len(columns), 2.3 * len(heard) + 0.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(heard), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, (key, sounds) in zip(axes, heard.items(), strict=True):
        for axis, (name, audio) in zip(row, sounds.items(), strict=True):
            with torch.no_grad():
                mel = log_mel(audio[None])[0].numpy()
            extent = (0, len(audio) / SAMPLE_RATE_HZ, 0, mel.shape[0])
            axis.imshow(mel, origin="lower", aspect="auto", extent=extent, vmin=-4, vmax=1)
            axis.set_title(f"{name}\n{key}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("s")
    for row in axes:
        row[0].set_ylabel("mel band")
    figure.suptitle(title, fontsize=9)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    with atomic_file(path) as file:
        imsave(file, pixels, format="png")
    return pixels


def labels(note: str, untrained: Iterable[str]) -> list[str]:
    """Return the warnings that must accompany every result: stand-in codec, untrained features."""
    return ([f"codec: {note}"] if note else []) + [f"untrained: {name}" for name in untrained]
