"""The base class of a source: the data set that a build starts from.

A source is a frozen dataclass. Its fields made by `option` are its options: for users of Python,
and as flags of `pipeline build`. A source of another package is registered under
`dance2music.sources` and chosen with `--dataset NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from model.contract.options import made_of, option
from model.contract.registry import Registry
from pipeline.arguments import local

if TYPE_CHECKING:
    from pipeline.engine.base import Engine
    from pipeline.sources.listing import AnnotationFiles, Listing

SOURCES = Registry(
    "sources",
    "data set",
    {
        "synthetic": "pipeline.sources.synthetic_source:Synthetic",
        "folder": "pipeline.sources.folder:Folder",
        "aist": "pipeline.sources.aist:Aist",
        "tiktok": "pipeline.sources.tiktok:TikTok",
        "wild": "pipeline.sources.wild:Wild",
    },
)
ESTIMATED = "estimated"
"""Value of DEFAULT_MOTION: poses estimated from the picture by the default estimator."""


@dataclass(frozen=True)
class Source:
    """Lists the inputs of a build. Every source must implement `list`."""

    name: ClassVar[str] = ""
    """The data set's name in dataset.json, and the name under which it is registered."""
    DEFAULT_MOTION: ClassVar[str] = "none"
    """The motion of the data set: a kind of annotation, ESTIMATED or `none`."""
    MADE: ClassVar[bool] = False
    """Whether `make` writes the videos, so that they may be missing when they are listed."""

    source: Path | None = option(
        None, "folder of videos; with --dataset folder also one video", type=local
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Path(self.source) if self.source else None)

    @property
    def pictures(self) -> bool:
        """Whether its videos show something; if not, features can be read from annotations only."""
        return True

    @property
    def usual_window_s(self) -> str:
        """The length of a segment in seconds, as text, if the user names none."""
        return "2"

    def check(self) -> None:
        """Raise UsageError for options that contradict each other, before any data is read."""

    def check_window(self, window_s: Fraction) -> None:
        """Raise UsageError if its segments cannot have this length."""

    def sound(self) -> dict[str, str]:
        """Return what dataset.json must say of the sound's origin, beside its format."""
        return {}

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        """Return one row for every input, in an order that does not depend on the machine.

        Args:
            files: the names of the annotation files that the build reads; None if it reads none.
            annotations_dir: the folder of the annotations, if the user names one.
            limit: how many inputs are wanted; the caller drops any further ones.

        Raises FileNotFoundError, ValueError or OSError for inputs that are missing or cannot be
        listed. The message says which files to put where.
        """
        raise NotImplementedError

    def make(self, limit: int | None, engine: Engine) -> None:
        """Write the first `limit` videos; only for a source with MADE = True."""


def source_class(name: str) -> type[Source]:
    """Return the class that is registered under a name.

    Raises ValueError if the name is unknown, if its package cannot be imported, or if the
    registered object is not a valid source class.
    """
    return SOURCES.subclass(name, Source)


def source_of(name: str, values: Mapping[str, Any]) -> Source:
    """Return the source with this name and its options from `values`, whose keys are flag names.

    Raises UsageError if `values` sets an option that belongs only to another source.
    """
    return made_of(SOURCES, Source, name, values, "--dataset")
