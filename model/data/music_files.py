"""Folders of music as audio files: which files there are, and their sound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.contract.segment import SAMPLE_RATE_HZ, is_hidden

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def music_files(folder: Path, option: str) -> list[Path]:
    """Return every music file below `folder`, sorted, without hidden and deleted files.

    Raises FileNotFoundError, with the `option` to give, if the folder is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give one with music files to {option}")
    named = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in named if not is_hidden(path.relative_to(folder)))


@dataclass(frozen=True)
class Sound:
    """The sound of a file (N,) float32, mono at 22 050 Hz, and what it was in the file."""

    audio: np.ndarray
    rate_hz: int
    channels: int
    seconds: float


def read_music(path: Path, advice: str = "give a wav, flac, ogg or mp3 file") -> np.ndarray:
    """Return the music (N,) float32 of a file of any rate and channels: mono at 22 050 Hz.

    Raises FileNotFoundError, and ValueError, with `advice`, if it cannot be read.
    """
    try:
        return read_sound(path).audio
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from None


def read_sound(path: Path) -> Sound:
    """Return the sound of a file.

    Raises FileNotFoundError, and ValueError if it cannot be read or is empty.
    """
    import soundfile
    import soxr

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of music")
    try:
        sound, rate_hz = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not readable as music ({error!s:.300})") from None
    if not len(sound):
        raise ValueError(f"{path}: not readable as music (it has no samples)")
    audio = sound.mean(1)
    if rate_hz != SAMPLE_RATE_HZ:
        audio = soxr.resample(audio, rate_hz, SAMPLE_RATE_HZ)
    return Sound(audio, rate_hz, sound.shape[1], len(sound) / rate_hz)
