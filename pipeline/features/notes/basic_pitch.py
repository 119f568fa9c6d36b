"""Pitched notes of any sound, by the weights that the package basic-pitch ships.

The network (Bittner et al., ICASSP 2022; Apache-2.0) runs by onnxruntime alone: the package's own
code needs TensorFlow, and is not imported. Framing and decoding are this project's.

Symbols: N samples at 22 050 Hz, T frames of 256 samples, P = 88 pitches from MIDI 21, M notes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ

INSTALL = "uv pip install -c constraints.txt -e '.[transcribe]'"
MODEL = "basic_pitch/saved_models/icassp_2022/nmp.onnx"
INPUT, NOTES, ONSETS = (
    "serving_default_input_2:0", "StatefulPartitionedCall:1", "StatefulPartitionedCall:2",
)  # fmt: skip
"""Names in the file: its input (B, 43844, 1) and its outputs (B, 172, 88)."""
HOP = 256
WINDOW, FRAMES = 43_844, 172
SIDE = 15
"""Frames at each end of a window that are not used: there the network sees too little."""
STEP = (FRAMES - 2 * SIDE) * HOP
LOWEST = 21
AT_ONCE = 16
"""Windows that run together."""


@dataclass(frozen=True)
class Decoding:
    """How notes are read from the network's output; the defaults are the package's.

    A note begins at a peak of the onsets above `onset`, and lasts until the pitch has been below
    `frame` for more than `gap` frames. Notes shorter than `least` frames are dropped.
    """

    onset: float = 0.5
    frame: float = 0.3
    least: int = 11
    gap: int = 11


@dataclass(frozen=True)
class BasicPitch:
    """The network in a file, with the version of the package that it came with."""

    path: Path
    version: str

    @classmethod
    def installed(cls) -> BasicPitch:
        """Return the network that the installed package ships.

        Raises ValueError, with the command to install it, if it or onnxruntime is missing.
        """
        from importlib.util import find_spec

        try:
            package = distribution("basic-pitch")
        except PackageNotFoundError:
            raise ValueError(
                f"transcription needs the package basic-pitch, which is not installed: {INSTALL}"
            ) from None
        if find_spec("onnxruntime") is None:
            raise ValueError(
                f"transcription needs the package onnxruntime, which is not installed: {INSTALL}"
            )
        path = Path(str(package.locate_file(MODEL)))
        if not path.is_file():
            raise ValueError(f"{path}: missing in the package basic-pitch; install it again")
        return cls(path, package.version)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )

    def posteriors(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how probable each pitch sounds, and begins, in each frame: two (T, P) of 0 to 1.

        Frame t is around sample 256 t of audio (N,); T = N / 256, rounded up.
        """
        count = -(-len(audio) // HOP)
        starts = range(0, max(1, len(audio)), STEP)
        before = SIDE * HOP
        padded = np.zeros(starts[-1] + WINDOW, np.float32)
        end = min(len(padded), before + len(audio))
        padded[before:end] = audio[: end - before]
        windows = np.stack([padded[start : start + WINDOW, None] for start in starts])
        notes: list[np.ndarray] = []
        onsets: list[np.ndarray] = []
        for first in range(0, len(windows), AT_ONCE):
            group = {INPUT: windows[first : first + AT_ONCE]}
            made = self._session.run([NOTES, ONSETS], group)
            for kept, found in zip((notes, onsets), made, strict=True):
                kept.append(found[:, SIDE : FRAMES - SIDE].reshape(-1, found.shape[-1]))
        return np.concatenate(notes)[:count], np.concatenate(onsets)[:count]

    def notes(self, audio: np.ndarray, decoding: Decoding = Decoding()) -> np.ndarray:
        """Return the notes of audio (N,), float64 (M, 4): onset_s, duration_s, pitch, velocity."""
        return decode(*self.posteriors(audio), decoding)


def decode(notes: np.ndarray, onsets: np.ndarray, decoding: Decoding = Decoding()) -> np.ndarray:
    """Return notes, float64 (M, 4): onset_s, duration_s, pitch, velocity, sorted by onset.

    `notes` and `onsets` (T, P) are as `BasicPitch.posteriors` returns them. The velocity is 127
    times the mean probability of the note.
    """
    after = np.pad(onsets, ((1, 1), (0, 0)))
    peaks = (onsets >= decoding.onset) & (onsets > after[:-2]) & (onsets >= after[2:])
    found = []
    for pitch in np.flatnonzero(peaks.any(0)):
        starts = np.flatnonzero(peaks[:, pitch])
        stops = [*starts[1:], len(notes)]
        loud = notes[:, pitch] >= decoding.frame
        for start, stop in zip(starts, stops, strict=True):
            length = _lasting(loud[start:stop], decoding.gap)
            if length >= decoding.least:
                level = notes[start : start + length, pitch].mean()
                found.append((start, length, pitch + LOWEST, max(1.0, round(127 * level))))
    made = np.array(sorted(found), np.float64).reshape(-1, 4)
    made[:, :2] *= HOP / SAMPLE_RATE_HZ
    return made


def _lasting(loud: np.ndarray, gap: int) -> int:
    """Return the frames (T,) of a note until it is silent for more than `gap` frames."""
    sounding = np.flatnonzero(loud)
    if not len(sounding) or sounding[0] > gap:
        return 0
    breaks = np.flatnonzero(np.diff(sounding) > gap + 1)
    return int(sounding[breaks[0]] if len(breaks) else sounding[-1]) + 1
