"""What a run tells: tables as it goes, metrics.jsonl, TensorBoard, sample sounds and pictures."""

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
from model.contract.files import write_atomic
from model.contract.segment import SAMPLE_RATE_HZ
from model.contract.wav import write_wav

METRICS = "metrics.jsonl"
SPECTROGRAMS = "spectrograms.png"


class Progress:
    """Tables for a terminal of 80 columns, or a file: step, rate, time left, and values by name."""

    def __init__(self, step: int, steps: int) -> None:
        self.first, self.steps, self.began_s = step, steps, time.perf_counter()

    def show(
        self, step: int, now: Mapping[str, float], mean: Mapping[str, float], count: int
    ) -> None:
        """Print values of the last step beside their means over the `count` steps since a report.

        Values go by the names of `mean`; where `now` lacks one, its place stays empty.
        """
        steps_per_s = (step - self.first) / max(time.perf_counter() - self.began_s, 1e-9)
        left = timedelta(seconds=round((self.steps - step) / max(steps_per_s, 1e-9)))
        title = f"step {step}/{self.steps}  {steps_per_s:.2f}/s  {left} left"
        rows = {name: (now.get(name), value) for name, value in mean.items()}
        print(table(title, ("now", f"mean of {count}"), rows), flush=True)

    def validated(self, step: int, values: Mapping[str, float]) -> None:
        """Print what a validation found."""
        rows = {name: (value,) for name, value in values.items()}
        print(table(f"validation at step {step}", ("now",), rows), flush=True)


def table(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    """Return lines of at most 80 ASCII characters: a title, the columns' heads, a row for each."""

    def line(name: str, cells: Iterable[str]) -> str:
        return f"  {name:<38.38}" + "".join(f"{cell:>16.16}" for cell in cells)

    lines = [title, line("name", heads)]
    for name, values in rows.items():
        lines.append(line(name, ("" if value is None else f"{value:.4g}" for value in values)))
    return "\n".join(lines)


class RunLog:
    """metrics.jsonl and TensorBoard of one run; what was logged after `step` is dropped first."""

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
    """Return the rows of metrics.jsonl; a last line cut short by a crash is left out."""
    path = run / METRICS
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def reported(run: Path, step: int, name: str) -> bool:
    """Return whether metrics.jsonl has a value of that name at a step."""
    return any(row["step"] == step and name in row for row in read_metrics(run))


def write_samples(
    run: Path, log: RunLog, step: int, heard: Mapping[str, Mapping[str, Tensor]], log_mel: LogMel
) -> Path:
    """Write each sample's sounds (N,) as wav and all spectrograms as one picture.

    `heard` gives, by segment key, a sound for each of truth, reconstruction and generated.
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
    """Return where the samples of a step lie; they are whole once `SPECTROGRAMS` is there."""
    return run / "samples" / f"step-{step:07d}"


def spectrograms(
    heard: Mapping[str, Mapping[str, Tensor]], log_mel: LogMel, path: Path, title: str
) -> np.ndarray:
    """Draw one row per segment and one column per sound; write a PNG, return pixels (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
    part = path.with_name(f"{path.name}.part")
    figure.savefig(part, format="png")
    part.replace(path)
    return pixels


def labels(note: str, untrained: Iterable[str]) -> list[str]:
    """Return what everybody who hears a result must be told."""
    return ([f"codec: {note}"] if note else []) + [f"untrained: {name}" for name in untrained]
