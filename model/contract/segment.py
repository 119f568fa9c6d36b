"""Segments: the pieces of a video that the pipeline writes and the trainer reads.

Symbols in the docstrings of both packages: B batch, T motion frames, L code steps, J joints,
C channels, D features, N samples, W visual windows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

SCHEMA = 1
SAMPLE_RATE_HZ = 22_050
PEAK = 0.95
"""The sound of every segment is scaled to this peak, as in the reference code of the paper."""
WINDOW_MIN_S, WINDOW_MAX_S = 2, 20
SPLITS = ("train", "val", "test")
DTYPES = ("int16", "uint16", "float32")
"""Data types of a segment's members, and of codes."""
GENRES = ("BR", "PO", "LO", "MH", "LH", "HO", "WA", "KR", "JS", "JB")
"""AIST++ genres, in the order of the reference code's genre index."""
WAV, VISUAL, MOTION, META = "wav", "visual.npy", "motion.npy", "json"
"""Suffixes of a segment's members in a tar: `<key>.<suffix>`."""
BINS = frozenset(
    (
        "$recycle.bin recycler recycled @eadir #recycle @recycle @recently-snapshot #snapshot "
        "~snapshot __macosx lost+found lost.dir found.000"
    ).split()
) | {"system volume information", "network trash folder", "temporary items"}
"""System folders, in lower case, that are not the user's own (hidden names are tested apart)."""
_KEY = re.compile(r"^(?P<video>[A-Za-z0-9_\-]+)_seg(?P<index>\d{4,})$")


@dataclass(frozen=True)
class Level:
    """One level of the JukeBox hierarchy, under its name in the paper (D2M-GAN)."""

    name: str
    index: int
    hop: int

    def steps(self, samples: int) -> int:
        """Return the number of codes for `samples`: each stride-2 convolution rounds down."""
        return samples // self.hop

    @property
    def suffix(self) -> str:
        return f"{self.name}.npy"


LEVELS = {"high": Level("high", 2, 128), "low": Level("low", 1, 32)}


def window_samples(window_s: Fraction | float | str) -> int:
    """Return the number of samples of one window at 22 050 Hz, rounded to the nearest integer."""
    return round(Fraction(str(window_s)) * SAMPLE_RATE_HZ)


def segment_key(video_id: str, index: int) -> str:
    """Return `<video id>_seg<NNNN>`; `index` counts from 1, as in the published segment lists.

    Raises ValueError if the id has characters other than letters, digits, "_" and "-", or if the
    index is below 1.
    """
    key = f"{video_id}_seg{index:04d}"
    if not _KEY.match(key) or index < 1:
        raise ValueError(
            f"{video_id!r} (segment {index}) gives no valid key: "
            "a video id has only letters, digits, '_' and '-', and segments count from 1"
        )
    return key


def split_key(key: str) -> tuple[str, int]:
    """Return the video id and the 1-based index of a segment key; ValueError if it is invalid."""
    match = _KEY.match(key)
    if not match:
        raise ValueError(f"{key!r} is not a segment key; expected <video id>_seg<NNNN>")
    return match["video"], int(match["index"])


def is_hidden(path: Path) -> bool:
    """Return whether a path is hidden, or is in a system folder such as a recycle bin.

    Give the path relative to the folder that is searched, because that folder may itself be in a
    hidden folder. macOS writes a file `._NAME` beside each file on foreign file systems. Recycle
    bins, thumbnails and files recovered by a disk repair are in folders with fixed names.
    """
    return any(map(is_hidden_name, path.parts))


def is_hidden_name(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or is a system folder."""
    return name.startswith(".") or name.lower() in BINS
