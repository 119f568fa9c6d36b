"""The feature `visual`: what the picture shows, by one of the visual extractors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from model.contract.options import option
from model.contract.segment import VISUAL
from pipeline.arguments import positive
from pipeline.features.base import (
    BuildSettings,
    Clips,
    Feature,
    precision,
    recorded_weights,
    runtime,
)
from pipeline.features.runtime import check_installed, runtime_facts
from pipeline.features.visual.extractors import EXTRACTORS, FLOW, Extractor, make_extractor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.engine.base import Stage
    from pipeline.sources.manifest import Row

OFF = "none"
WEIGHTS = "kinetics"
"""The default for extractors with published weights."""


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
    windows: int = option(
        1,
        "visual features of each segment, one for each equal part of it (default 1)",
        flag="visual-windows",
        type=positive,
    )
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
    runtime: str = runtime()
    weights_id: str = ""

    @classmethod
    def off(cls) -> Visual:
        return cls(OFF)

    @property
    def on(self) -> bool:
        return self.extractor != OFF

    def make(self) -> Extractor:
        """Return the extractor, without loading its weights."""
        return make_extractor(self.extractor, self.weights, self.flow, self.precision, self.runtime)

    def check(self, window_s: Fraction) -> None:
        if self.flow and not getattr(EXTRACTORS.get(self.extractor), "FLOWS", False):
            raise ValueError(f"--flow {self.flow} needs --visual i3d_inception")
        made = self.make()
        check_installed(self.runtime)
        made.check(window_s, self.windows)

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
        config |= {"precision": self.precision} | runtime_facts(self.runtime)
        return result_key(row.sha256, "visual", {**cut, **config}, self.weights_id)

    def spec(self, window_s: Fraction) -> dict[str, Any]:
        spec = {
            "dtype": "float32",
            "shape": [self.windows, EXTRACTORS.get(self.extractor).DIM],
            "extractor": self.extractor,
            "weights": self.weights_id,
            "precision": self.precision,
        }
        return spec | ({"flow": self.flow} if self.flow else {}) | runtime_facts(self.runtime)

    def notes(self) -> list[str]:
        if self.weights != "untrained":
            return []
        return [f"visual features: {self.extractor} with random weights"]

    def clips(self) -> Clips:
        from pipeline.features.visual import stage

        return stage

    def stages(self, settings: BuildSettings) -> list[Stage]:
        from pipeline.features.visual.stage import Describe

        return [Describe(settings, EXTRACTORS.get(self.extractor).VIDEOS)]
