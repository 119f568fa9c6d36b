"""The interface of visual extractors, and their registry."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Protocol

from model.contract.registry import Registry
from pipeline.features.runtime import TORCH, runtime_of

if TYPE_CHECKING:
    import numpy as np

EXTRACTORS = Registry(
    "visual",
    "visual extractor",
    {
        "i3d_r50": "pipeline.features.visual.i3d_r50:I3D",
        "i3d_inception": "pipeline.features.visual.i3d_inception:TwoStream",
    },
)
FLOW = "raft_large"
"""The default optical flow of i3d_inception."""


class Extractor(Protocol):
    """Computes features of clips.

    Frames are scaled by the shorter side, then cropped to a centred square. The class is called
    with `weights` (the user's value, default WEIGHTS) and `precision` (`float32` or `bf16`), also
    with `flow` if it has FLOWS = True, and with `runtime` if that is not torch but one of its
    RUNTIMES.
    """

    DIM: ClassVar[int]
    SHORT_SIDE_PX: ClassVar[int]
    CROP_PX: ClassVar[int]
    VIDEOS: ClassVar[int]
    """Number of videos in one call."""
    WEIGHTS: ClassVar[str]
    """The default weights; `untrained` always means seeded random weights."""

    def clip_frames(self, window_s: Fraction, windows: int) -> int:
        """Return the number of frames in a clip; a segment has `windows` clips."""
        ...

    def frame_times(self, start_s: Fraction, window_s: Fraction, windows: int) -> list[Fraction]:
        """Return the sorted times of the frames of a segment's `windows` clips."""
        ...

    def check(self, window_s: Fraction, windows: int) -> None:
        """Raise FileNotFoundError or ValueError if the user must change something first."""
        ...

    def weights_id(self) -> str:
        """Return the id of the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Return float32 (n, DIM) for uint8 RGB clips (n, frames, CROP_PX, CROP_PX, 3)."""
        ...


def make_extractor(
    name: str, weights: str = "", flow: str = "", precision: str = "float32", runtime: str = TORCH
) -> Extractor:
    """Return the extractor with this name, without loading its weights.

    Raises ValueError for an unknown name, or one that the runtime cannot run.
    """
    kind = EXTRACTORS.get(name)
    more = runtime_of(kind, name, runtime)
    more |= {"flow": flow or FLOW} if getattr(kind, "FLOWS", False) else {}
    return kind(weights=weights or kind.WEIGHTS, precision=precision, **more)
