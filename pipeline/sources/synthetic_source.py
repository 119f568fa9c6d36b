"""The synthetic benchmark as a source: its videos are listed first and made later, if missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from model.contract.options import option
from pipeline.arguments import UsageError, local, natural, positive, seconds
from pipeline.sources.aist import row
from pipeline.sources.base import Source
from pipeline.sources.listing import AnnotationFiles, Listing

if TYPE_CHECKING:
    from model.contract.sound_font import SoundFont
    from pipeline.engine.base import Engine
    from pipeline.sources.synthetic import VideoSpec

USUAL_SONGS = 6


@dataclass(frozen=True)
class Synthetic(Source):
    """Drawn dancers with composed music, with AIST++ names and layout (default data/synthetic)."""

    name: ClassVar[str] = "synthetic"
    DEFAULT_MOTION: ClassVar[str] = "smpl"
    MADE: ClassVar[bool] = True

    seed: int = option(0, "seed of the synthetic data set", strict=False, type=natural)
    songs_per_genre: int = option(
        USUAL_SONGS,
        f"synthetic: songs of each genre, {USUAL_SONGS} or more (default {USUAL_SONGS})",
        type=positive,
        metavar="N",
    )
    instruments: Path | None = option(
        None,
        "synthetic: play the songs with the sampled instruments of this sound font",
        type=local,
        metavar="FILE.sf2",
    )
    duration_s: float = option(
        8.0,
        "synthetic: length of each video in seconds (default 8)",
        type=seconds,
        metavar="S",
    )
    no_video: bool = option(
        False,
        "synthetic: draw no pictures; segments get sound and motion alone (with --visual none)",
        action="store_true",
    )

    vary_pace: bool = option(
        False,
        "synthetic: some dancers move on every second beat, or twice on each",
        action="store_true",
    )

    @property
    def root(self) -> Path:
        """The folder that the videos are written to."""
        return self.source or Path("data/synthetic")

    @property
    def pictures(self) -> bool:
        return not self.no_video

    @cached_property
    def font(self) -> SoundFont | None:
        """The opened sound font, None for the built-in synthesis.

        Raises FileNotFoundError or ValueError if it cannot be used.
        """
        from pipeline.sources.synthetic import open_instruments

        return open_instruments(self.instruments) if self.instruments else None

    def check(self) -> None:
        if self.songs_per_genre < USUAL_SONGS:
            raise UsageError(
                f"--songs-per-genre {self.songs_per_genre}: expected {USUAL_SONGS} or more; for "
                "fewer videos use --limit"
            )
        from pipeline.sources.synthetic.plan import LONGEST_S, SHORTEST_S

        if not SHORTEST_S <= self.duration_s <= LONGEST_S:
            raise UsageError(
                f"--duration-s {self.duration_s:g}: expected {SHORTEST_S:g} to {LONGEST_S:g}"
            )

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        if annotations_dir:
            raise UsageError(
                "--motion-dir does not go with the synthetic data set, which makes its own motions"
            )
        specs = self._plan(limit)
        rows = [row(spec.video_id, f"{spec.video_id}.mp4", spec.split, files) for spec in specs]
        notes = []
        if self.font:
            notes.append(f"songs played by {self.font.path.name} (SHA-256 {self.font.sha256})")
        if self.no_video:
            notes.append("no pictures were drawn (--no-video): only sound and motion are data")
        videos = self.root / ("videos" if self.pictures else "blank")
        return Listing(videos, self.root / "motions", rows, notes=notes)

    def make(self, limit: int | None, engine: Engine) -> None:
        from pipeline.sources.synthetic.make import make

        make(self._plan(limit), self.root, engine, "video" if self.pictures else "blank")

    def sound(self) -> dict[str, str]:
        return {"instruments_sha256": self.font.sha256} if self.font else {}

    def _plan(self, limit: int | None) -> Sequence[VideoSpec]:
        from pipeline.sources.synthetic import plan

        return plan(
            limit,
            self.seed,
            self.duration_s,
            songs_per_genre=self.songs_per_genre,
            instruments=self.font,
            vary_pace=self.vary_pace,
        )
