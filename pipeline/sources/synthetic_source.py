"""The synthetic benchmark as a source: its videos are listed first and made later, if missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from model.contract.options import option
from pipeline.arguments import UsageError, natural
from pipeline.sources.aist import row
from pipeline.sources.base import Source
from pipeline.sources.listing import AnnotationFiles, Listing

if TYPE_CHECKING:
    from pipeline.engine.base import LocalEngine
    from pipeline.engine.ray import RayEngine


@dataclass(frozen=True)
class Synthetic(Source):
    """Drawn dancers with composed music, with AIST++ names and layout (default data/synthetic)."""

    name: ClassVar[str] = "synthetic"
    DEFAULT_MOTION: ClassVar[str] = "smpl"
    MADE: ClassVar[bool] = True

    seed: int = option(0, "seed of the synthetic data set", strict=False, type=natural)

    @property
    def root(self) -> Path:
        """The folder that the videos are written to."""
        return self.source or Path("data/synthetic")

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        from pipeline.sources.synthetic.plan import plan

        if annotations_dir:
            raise UsageError(
                "--motion-dir does not go with the synthetic data set, which makes its own motions"
            )
        specs = plan(limit, self.seed)
        rows = [row(spec.video_id, f"{spec.video_id}.mp4", spec.split, files) for spec in specs]
        return Listing(self.root / "videos", self.root / "motions", rows)

    def make(self, limit: int | None, engine: LocalEngine | RayEngine) -> None:
        from pipeline.sources.synthetic.make import make

        make(self.root, limit, self.seed, engine)
