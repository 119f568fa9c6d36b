"""Write the videos of a plan with an engine, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.engine.base import Engine
from pipeline.engine.outcome import Outcome, attempt
from pipeline.engine.progress import progress
from pipeline.sources.synthetic.plan import VideoSpec
from pipeline.sources.synthetic.write import Medium, is_written, write_annotations, write_video


@dataclass
class WriteVideo:
    """Write one video, its motion and its ground truth."""

    root: Path
    medium: Medium = "video"
    name: str = "synthesise"
    batch: int = 1
    gpus: float = 0.0
    limit_s: float = 0.0

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def __call__(self, items: list[VideoSpec]) -> list[tuple[VideoSpec, Outcome | None]]:
        return [(spec, attempt(self.name, partial(self._write, spec))) for spec in items]

    def _write(self, spec: VideoSpec) -> None:
        write_video(spec, self.root, self.medium)


def make(
    specs: Sequence[VideoSpec],
    root: Path,
    engine: Engine,
    medium: Medium = "video",
) -> None:
    """Write the videos of a plan, with drawn pictures or with black ones (`blank`).

    Existing videos that were made from the same spec are kept. Raises OSError if a video cannot be
    written.
    """
    write_annotations(specs, root)
    todo = [spec for spec in specs if not is_written(spec, root, medium)]
    if medium != "video":
        todo.sort(key=lambda spec: spec.song_id)  # a song is composed once for all its videos
    done = engine.run([WriteVideo(root.resolve(), medium)], todo, _lost)
    for spec, outcome in progress(done, "synthesise", len(todo), "video"):
        if outcome:
            raise OSError(f"{spec.video_id}: {outcome.message}; run the same command again")


def _lost(spec: VideoSpec, stage: str, code: str, words: str) -> tuple[VideoSpec, Outcome]:
    return spec, Outcome("failed", stage, code, words)
