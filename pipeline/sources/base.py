"""What a source of inputs is: a data set that a build starts from, by name, and what it is asked.

A source is a frozen dataclass; fields made by `option` are its options, for users of Python and, as
flags, of `pipeline build`. One of another package is registered under `dance2music.sources` and
chosen by `--dataset NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from model.contract.options import chosen, flag_of, option, options_of
from model.contract.registry import Registry
from pipeline.arguments import UsageError, local

if TYPE_CHECKING:
    from pipeline.engine.base import LocalEngine
    from pipeline.engine.ray import RayEngine
    from pipeline.sources.listing import AnnotationFiles, Listing

SOURCES = Registry(
    "sources",
    "data set",
    {
        "synthetic": "pipeline.sources.synthetic_source:Synthetic",
        "folder": "pipeline.sources.folder:Folder",
        "aist": "pipeline.sources.aist:Aist",
        "tiktok": "pipeline.sources.tiktok:TikTok",
    },
)
ESTIMATED = "estimated"
"""As a source's usual motion: poses from the picture, by whatever estimator is the usual one."""


@dataclass(frozen=True)
class Source:
    """Where the inputs of a build are listed. `list` is what a source must have."""

    name: ClassVar[str] = ""
    """The data set's name in dataset.json, and the registered one."""
    DEFAULT_MOTION: ClassVar[str] = "none"
    """The motion that it comes with: a kind of annotation, ESTIMATED or `none`."""
    MADE: ClassVar[bool] = False
    """Whether `make` writes the videos: they need not be there when they are listed."""

    source: Path | None = option(None, "folder of videos, or one video (folder)", type=local)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Path(self.source) if self.source else None)

    def check(self) -> None:
        """Raise UsageError for options that contradict each other, before any data is read."""

    def list(
        self,
        files: AnnotationFiles | None = None,
        annotations_dir: Path | None = None,
        limit: int | None = None,
    ) -> Listing:
        """Return one row for every input, in an order that does not depend on the machine.

        Args:
            files: how the annotations are called that the build reads; None where it reads none.
            annotations_dir: where they lie, if the user says so.
            limit: how many inputs are wanted; the caller drops any further ones.

        Raises FileNotFoundError, ValueError or OSError, saying what to put where, for inputs that
        are not there or cannot be listed.
        """
        raise NotImplementedError

    def make(self, limit: int | None, engine: LocalEngine | RayEngine) -> None:
        """Write the first `limit` videos, for a source that is MADE."""


def source_class(name: str) -> type[Source]:
    """Return the class registered under a name.

    Raises ValueError for an unknown name, a package that cannot be imported, and no such class.
    """
    found = SOURCES.get(name)
    if not (isinstance(found, type) and issubclass(found, Source)) or found.name != name:
        raise ValueError(
            f"data set {name!r}: {found!r:.80} is no subclass of Source with that name; mend it"
        )
    return found


def source_of(name: str, values: Mapping[str, Any]) -> Source:
    """Return the source of a name with its options from `values`, by the names of their flags.

    Raises UsageError where `values` sets an option that is another source's alone.
    """
    kind = source_class(name)
    mine = options_of(kind)
    for other in (other for other in SOURCES.own if other != name):
        found = options_of(source_class(other))
        theirs = {k: o for k, o in found.items() if k not in mine and o.metadata["strict"]}
        if any(values.get(key, one.default) != one.default for key, one in theirs.items()):
            flags = [flag_of(key) for key in theirs]
            goes = "go" if len(flags) > 1 else "goes"
            raise UsageError(f"{' and '.join(flags)} {goes} with --dataset {other}")
    return kind(**chosen(kind, values))
