"""The visual extractors by name, and what a build asks of each."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from pipeline.features.visual.i3d_inception import TwoStream
from pipeline.features.visual.i3d_r50 import I3D

NAMES = ("i3d_r50", "i3d_inception")
FLOW = "raft_large"
"""The optical flow that i3d_inception uses where none is named."""


class Extractor(Protocol):
    """Features of clips. Frames are scaled by the short side, then cropped to a centred square."""

    DIM: ClassVar[int]
    SHORT_SIDE_PX: ClassVar[int]
    CROP_PX: ClassVar[int]
    VIDEOS: ClassVar[int]

    def clip_frames(self, window_s: Fraction, windows: int) -> int: ...

    def frame_times(self, start_s: Fraction, window_s: Fraction, windows: int) -> list[Fraction]:
        """Return when the frames of a segment's `windows` clips are, sorted."""
        ...

    def check(self, window_s: Fraction, windows: int) -> None:
        """Raise FileNotFoundError or ValueError for what the user must change first."""
        ...

    def weights_id(self) -> str: ...

    def setup(self) -> None: ...

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Return float32 (n, DIM) for uint8 RGB clips (n, frames, CROP_PX, CROP_PX, 3)."""
        ...


def make_extractor(name: str, weights: str, flow: str, precision: str) -> Extractor:
    """Return the extractor by name, its weights not yet loaded; `flow` is i3d_inception's."""
    if name == "i3d_r50":
        return I3D(weights, precision)
    if name == "i3d_inception":
        return TwoStream(weights, flow or FLOW, precision)
    raise ValueError(f"--visual {name}: expected one of {', '.join(NAMES)}")
