"""The feature `visual`, and the interface and registry of visual extractors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from model.contract.options import option
from model.contract.registry import Registry
from model.contract.segment import VISUAL
from pipeline.arguments import positive
from pipeline.features.base import Clips, Feature, precision, recorded_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from pipeline.engine.base import Stage
    from pipeline.features.plan import Settings
    from pipeline.sources.manifest import Row

EXTRACTORS = Registry(
    "visual",
    "visual extractor",
    {
        "i3d_r50": "pipeline.features.visual.i3d_r50:I3D",
        "i3d_inception": "pipeline.features.visual.i3d_inception:TwoStream",
    },
)
OFF = "none"
WEIGHTS = "kinetics"
"""The default for extractors with published weights."""
FLOW = "raft_large"
"""The default optical flow of i3d_inception."""


class Extractor(Protocol):
    """Computes features of clips.

    Frames are scaled by the shorter side, then cropped to a centred square. The class is called
    with `weights` (the user's value, default WEIGHTS) and `precision` (`float32` or `bf16`), and
    also with `flow` if it has FLOWS = True.
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
    name: str, weights: str = "", flow: str = "", precision: str = "float32"
) -> Extractor:
    """Return the extractor with this name, without loading its weights.

    Raises ValueError for an unknown name.
    """
    kind = EXTRACTORS.get(name)
    more = {"flow": flow or FLOW} if getattr(kind, "FLOWS", False) else {}
    return kind(weights=weights or kind.WEIGHTS, precision=precision, **more)


@dataclass(frozen=True)
class Visual(Feature):
    """Visual features: `windows` x DIM values for each segment, from a visual extractor.

    `weights_id` identifies the weights; `ready` sets it.
    """

    name: ClassVar[str] = "visual"
    suffix: ClassVar[str] = VISUAL

    extractor: str = option(
        "i3d_r50",
        lambda: f"visual features: {', '.join(EXTRACTORS.names())}, or none (default i3d_r50)",
        flag="visual",
        type=EXTRACTORS.choice(OFF),
    )
    windows: int = option(1, "clips per segment", flag="visual-windows", type=positive)
    weights: str = option(
        "",
        "weights of --visual: kinetics (default), a file (i3d_inception: a folder), or untrained "
        "(random, marked as untrained)",
        record=recorded_weights,
    )
    flow: str = option(
        "",
        "optical flow of i3d_inception (default raft_large)",
        choices=["raft_large", "raft_small"],
    )
    precision: str = precision()
    weights_id: str = ""

    @classmethod
    def off(cls) -> Visual:
        return cls(OFF)

    @property
    def on(self) -> bool:
        return self.extractor != OFF

    def make(self) -> Extractor:
        """Return the extractor, without loading its weights."""
        return make_extractor(self.extractor, self.weights, self.flow, self.precision)

    def check(self, window_s: Fraction) -> None:
        if self.flow and not getattr(EXTRACTORS.get(self.extractor), "FLOWS", False):
            raise ValueError(f"--flow {self.flow} needs --visual i3d_inception")
        self.make().check(window_s, self.windows)

    def ready(self, window_s: Fraction) -> Visual:
        if not self.on:
            return replace(self, flow="", weights=self.weights or WEIGHTS)
        self.check(window_s)
        kind = EXTRACTORS.get(self.extractor)
        flow = (self.flow or FLOW) if getattr(kind, "FLOWS", False) else ""
        found = replace(self, weights=self.weights or kind.WEIGHTS, flow=flow)
        return replace(found, weights_id=found.make().weights_id())

    def key(self, row: Row, cut: Mapping[str, Any], result: str) -> str:
        from pipeline.engine.ledger import result_key

        config = {"visual": self.extractor, "windows": self.windows}
        config |= {"flow": self.flow} if self.flow else {}
        config |= {"precision": self.precision}
        return result_key(row.sha256, "visual", {**cut, **config}, self.weights_id)

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        spec = {
            "dtype": "float32",
            "shape": [self.windows, EXTRACTORS.get(self.extractor).DIM],
            "extractor": self.extractor,
            "weights": self.weights_id,
            "precision": self.precision,
        }
        return spec | ({"flow": self.flow} if self.flow else {})

    def notes(self) -> list[str]:
        if self.weights != "untrained":
            return []
        return [f"visual features: {self.extractor} with random weights"]

    def clips(self) -> Clips:
        from pipeline.features.visual import stage

        return stage

    def stages(self, settings: Settings) -> list[Stage]:
        from pipeline.features.visual.stage import Describe

        return [Describe(settings, EXTRACTORS.get(self.extractor).VIDEOS)]
