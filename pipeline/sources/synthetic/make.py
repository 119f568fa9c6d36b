"""Write the videos of a plan with an engine, several at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.engine.base import LocalEngine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import progress
from pipeline.engine.ray import RayEngine
from pipeline.sources.synthetic.plan import VideoSpec, plan
from pipeline.sources.synthetic.write import is_written, write_annotations, write_video


@dataclass
class WriteVideo:
    """Write one video, its motion and its ground truth."""

    root: Path
    name: str = "synthesise"
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = 0.0

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def __call__(self, items: list[VideoSpec]) -> list[tuple[VideoSpec, Outcome | None]]:
        return [(spec, attempt(self.name, partial(self._write, spec))) for spec in items]

    def _write(self, spec: VideoSpec) -> None:
        write_video(spec, self.root)


def make(root: Path, limit: int | None, seed: int, engine: LocalEngine | RayEngine) -> None:
    """Write the first `limit` videos of the plan (all 600 if None).

    Existing videos that were made from the same spec are kept. Raises OSError if a video cannot be
    written.
    """
    specs = plan(limit, seed)
    write_annotations(specs, root)
    todo = [spec for spec in specs if not is_written(spec, root)]
    done = engine.run([WriteVideo(root.resolve())], todo, _lost)
    for spec, outcome in progress(done, "synthesise", len(todo), "video"):
        if outcome:
            raise OSError(f"{spec.video_id}: {outcome.message}; run the same command again")


def _lost(spec: VideoSpec, stage: str, code: str, words: str) -> tuple[VideoSpec, Outcome]:
    return spec, Outcome("failed", stage, code, words)
