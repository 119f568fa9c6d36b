"""Folders of music as audio files: which files there are, and their sound."""

from __future__ import annotations

import os
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


def read_music(path: Path, advice: str = "give a wav, flac, ogg or mp3 file") -> np.ndarray:
    """Return the music (N,) float32 of a file of any rate and channels: mono at 22 050 Hz.

    Raises FileNotFoundError, and ValueError, with `advice`, if it cannot be read.
    """
    import soundfile
    import soxr

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of music")
    try:
        audio, rate_hz = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: not readable as music ({error}); {advice}") from None
    audio = audio.mean(1)
    return audio if rate_hz == SAMPLE_RATE_HZ else soxr.resample(audio, rate_hz, SAMPLE_RATE_HZ)
