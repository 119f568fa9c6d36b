"""The visual extractors by name, and what each is asked."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Protocol

from model.contract.registry import Registry

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
"""The optical flow that i3d_inception uses where none is named."""


class Extractor(Protocol):
    """Features of clips. Frames are scaled by the short side, then cropped to a centred square.

    It is made with `weights` (as the user named them; WEIGHTS where nothing was) and `precision`
    (`float32` or `bf16`), and by `flow` too if FLOWS says so.
    """

    DIM: ClassVar[int]
    SHORT_SIDE_PX: ClassVar[int]
    CROP_PX: ClassVar[int]
    VIDEOS: ClassVar[int]
    """Videos that are described in one call."""
    WEIGHTS: ClassVar[str]
    """The weights where the user names none; `untrained` are always seeded random ones."""

    def clip_frames(self, window_s: Fraction, windows: int) -> int:
        """Return the frames of one of the `windows` clips of a segment."""
        ...

    def frame_times(self, start_s: Fraction, window_s: Fraction, windows: int) -> list[Fraction]:
        """Return when the frames of a segment's `windows` clips are, sorted."""
        ...

    def check(self, window_s: Fraction, windows: int) -> None:
        """Raise FileNotFoundError or ValueError for what the user must change first."""
        ...

    def weights_id(self) -> str:
        """Return what identifies the weights: a hash of their file."""
        ...

    def setup(self) -> None:
        """Load the weights; called once in each worker, before the first call."""
        ...

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Return float32 (n, DIM) for uint8 RGB clips (n, frames, CROP_PX, CROP_PX, 3)."""
        ...


def make_extractor(
    name: str, weights: str = "", flow: str = "", precision: str = "float32"
) -> Extractor:
    """Return the extractor by name, its weights not yet loaded; ValueError for an unknown one."""
    kind = EXTRACTORS.get(name)
    more = {"flow": flow or FLOW} if getattr(kind, "FLOWS", False) else {}
    return kind(weights=weights or kind.WEIGHTS, precision=precision, **more)
