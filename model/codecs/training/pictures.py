"""Spectrograms and wav files of reconstructions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from model.contract.segment import SAMPLE_RATE_HZ

FLOOR_DB = -80


def write_wav(path: Path, audio: torch.Tensor | np.ndarray) -> None:
    """Write audio (N,) as a PCM16 mono wav file; samples outside [-1, 1] are clipped."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    clipped = np.clip(np.asarray(audio, dtype=np.float32), -1, 1)
    soundfile.write(os.fsencode(path), clipped, SAMPLE_RATE_HZ, subtype="PCM_16")


def draw_reconstructions(
    path: Path, songs: Mapping[str, Mapping[str, np.ndarray]], title: str
) -> None:
    """Draw power spectrograms in dB: a row per song, a column per version of its audio (N,)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(versions) for versions in songs.values())
    figure = Figure(figsize=(4.2 * columns, 2.4 * len(songs) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(songs), columns, squeeze=False, sharex=True, sharey=True)
    for row, (song, versions) in zip(axes, songs.items(), strict=True):
        loudest = max(float(_power(audio).max()) for audio in versions.values())
        for axis, (version, audio) in zip(row, versions.items(), strict=True):
            power = 10 * np.log10(np.maximum(_power(audio) / loudest, 1e-12))
            extent = (0, len(audio) / SAMPLE_RATE_HZ, 0, SAMPLE_RATE_HZ / 2000)
            axis.imshow(power, origin="lower", aspect="auto", extent=extent, vmin=FLOOR_DB, vmax=0,
                        cmap="magma", interpolation="nearest")  # fmt: skip
            axis.set_title(f"{song}: {version}", fontsize=9)
        row[0].set_ylabel("kHz")
    for axis in axes[-1]:
        axis.set_xlabel("s")
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def _power(audio: np.ndarray) -> np.ndarray:
    from model.codecs.training.losses import STFT, magnitude

    return magnitude(torch.from_numpy(audio)[None], STFT(1024, 256, 1024))[0].square().numpy()
