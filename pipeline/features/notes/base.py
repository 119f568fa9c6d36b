"""The base class of a source of notes: where `pipeline notes` has the notes of the music from.

A source is a frozen dataclass. Its fields made by `option` are its options: for users of Python,
and as flags of `pipeline notes`. One of another package is registered under
`dance2music.note-sources` and chosen with `--from NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from model.contract.options import made_of
from model.contract.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from model.contract.dataset import Dataset
    from pipeline.features.notes.video import VideoNotes

NOTE_SOURCES = Registry(
    "note-sources",
    "source of notes",
    {
        "synthetic": "pipeline.features.notes.sources:Synthetic",
        "basic-pitch": "pipeline.features.notes.sources:Transcription",
        "midi": "pipeline.features.notes.sources:Midi",
    },
)


@dataclass(frozen=True)
class NoteSource:
    """Finds the notes of a video's music. Every source must implement `content` and `notes`."""

    name: ClassVar[str] = ""
    """The name under which it is registered, and which dataset.json records."""

    def ready(self, dataset: Dataset) -> Self:
        """Return the source, checked and with all that `content` and `notes` need.

        Raises UsageError, FileNotFoundError or ValueError, with advice, if it cannot be used for
        the data set.
        """
        return self

    @property
    def note(self) -> str:
        """What dataset.json says of the notes' origin, of a source that is ready."""
        return ""

    @property
    def version(self) -> str:
        """What the notes depend on beside `content`, such as the hash of weights."""
        return ""

    def content(self, video: VideoNotes) -> str:
        """Return a hash of what a video's notes are made from; errors as in `notes`."""
        raise NotImplementedError

    def notes(self, video: VideoNotes, window_s: float) -> np.ndarray:
        """Return the notes (N, 7) of a video, in seconds from its start, in any order.

        Raises StageError `missing_notes` or `bad_notes`, with the file, if there are none.
        """
        raise NotImplementedError


def note_source(name: str, values: Mapping[str, Any]) -> NoteSource:
    """Return the source with this name and its options from `values`, whose keys are flag names.

    Raises UsageError if `values` sets an option that belongs only to another source.
    """
    return made_of(NOTE_SOURCES, NoteSource, name, values, "--from")


def source_class(name: str) -> type[NoteSource]:
    """Return the class that is registered under a name.

    Raises ValueError if the name is unknown, if its package cannot be imported, or if the
    registered object is not a valid source of notes.
    """
    return NOTE_SOURCES.subclass(name, NoteSource)
