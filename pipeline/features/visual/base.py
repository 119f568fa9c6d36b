"""What the picture shows, as a feature: the visual extractors by name, and what each is asked."""

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
"""The default of those that have published weights."""
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


@dataclass(frozen=True)
class Visual(Feature):
    """What the picture shows: `windows` x DIM values of a segment, by a visual extractor.

    `weights_id` identifies the weights once `ready` has read them.
    """

    name: ClassVar[str] = "visual"
    suffix: ClassVar[str] = VISUAL

    extractor: str = option(
        "i3d_r50",
        lambda: f"{', '.join(EXTRACTORS.names())}, or none (default i3d_r50)",
        flag="visual",
        type=EXTRACTORS.choice(OFF),
    )
    windows: int = option(1, "clips per segment", flag="visual-windows", type=positive)
    weights: str = option(
        "",
        "weights of --visual: kinetics (default), a file (i3d_inception: a folder), or untrained "
        "(random, labelled so)",
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
        """Return the extractor, its weights not yet loaded."""
        return make_extractor(self.extractor, self.weights, self.flow, self.precision)

    def check(self, window_s: Fraction) -> None:
        if self.flow and not getattr(EXTRACTORS.get(self.extractor), "FLOWS", False):
            raise ValueError(f"--flow {self.flow} goes with --visual i3d_inception")
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
