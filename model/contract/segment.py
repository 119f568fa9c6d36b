"""The record that the pipeline writes and the trainer reads: one segment of a video.

Legend used in every docstring of both packages: B batch, T motion frames, L code steps, J joints,
C channels, D features, N samples, W visual windows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

SCHEMA = 1
SAMPLE_RATE_HZ = 22_050
WINDOW_MIN_S, WINDOW_MAX_S = 2, 20
SPLITS = ("train", "val", "test")
DTYPES = ("int16", "uint16", "float32")
"""Of members of a segment, and of codes."""
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
"""Folders, in lower case, that systems keep beside the user's own (names with a dot go alone)."""
_KEY = re.compile(r"^(?P<video>[A-Za-z0-9_\-]+)_seg(?P<index>\d{4,})$")


@dataclass(frozen=True)
class Level:
    """One level of the JukeBox hierarchy, by the paper's name for it."""

    name: str
    index: int
    hop: int

    def steps(self, samples: int) -> int:
        """Return how many codes the encoder gives for `samples`: every stride-2 conv floors."""
        return samples // self.hop

    @property
    def suffix(self) -> str:
        return f"{self.name}.npy"


LEVELS = {"high": Level("high", 2, 128), "low": Level("low", 1, 32)}


def window_samples(window_s: Fraction | float | str) -> int:
    """Return the samples of one window at 22 050 Hz, rounded to the nearest."""
    return round(Fraction(str(window_s)) * SAMPLE_RATE_HZ)


def segment_key(video_id: str, index: int) -> str:
    """Return `<video id>_seg<NNNN>`; `index` counts from 1, as in the published segment lists.

    Raises ValueError for an id with other than letters, digits, "_" and "-", and an index below 1.
    """
    key = f"{video_id}_seg{index:04d}"
    if not _KEY.match(key) or index < 1:
        raise ValueError(
            f"{video_id!r} (segment {index}) makes no valid key: "
            "a video id has letters, digits, '_' and '-' only, and segments count from 1"
        )
    return key


def split_key(key: str) -> tuple[str, int]:
    """Return the video id and the 1-based index of a segment key; ValueError for what is none."""
    match = _KEY.match(key)
    if not match:
        raise ValueError(f"{key!r} is no segment key; expected <video id>_seg<NNNN>")
    return match["video"], int(match["index"])


def is_hidden(path: Path) -> bool:
    """Return whether a path is hidden or thrown away by any of its names.

    Give it relative to the folder that was asked for: that one may lie in a hidden folder itself.
    macOS leaves `._NAME` beside each file on disks of other systems; recycle bins, thumbnails and
    what a repair of the disk found lie in folders of fixed names.
    """
    return any(name.startswith(".") or name.lower() in BINS for name in path.parts)
