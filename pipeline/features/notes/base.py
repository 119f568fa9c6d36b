"""The base class of a source of notes: where `pipeline notes` has the notes of the music from.

A source is a frozen dataclass. Its fields made by `option` are its options: for users of Python,
and as flags of `pipeline notes`. One of another package is registered under
`dance2music.note-sources` and chosen with `--from NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from model.contract.exit_codes import UsageError
from model.contract.options import chosen, flag_of, set_for
from model.contract.registry import Registry
from pipeline.engine.outcome import Outcome

if TYPE_CHECKING:
    import numpy as np

    from model.contract.dataset import Dataset

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
class VideoNotes:
    """One video's segments in one tar, whose notes are wanted.

    `starts_s` are the starts of the segments in the video. `spans` are the positions of their sound
    in the tar, and `gains` the factors that it was stored with; both are empty if the data set has
    no sound. `result` is the ledger key of the notes once they are stored; `outcome` is the reason
    if this failed.
    """

    shard: Path
    video_id: str
    song: str
    keys: tuple[str, ...]
    starts_s: tuple[float, ...]
    gains: tuple[float, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    result: str = ""
    outcome: Outcome | None = None

    def sound(self) -> list[bytes]:
        """Return each segment's wav file, read from the tar."""
        from pipeline.features.codes import read_spans

        return read_spans(self.shard, self.spans)


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
    kind = source_class(name)
    for other in (other for other in NOTE_SOURCES.own if other != name):
        if given := set_for(source_class(other), kind, values):
            raise UsageError(f"{' and '.join(map(flag_of, given))} goes with --from {other}")
    return kind(**chosen(kind, values))


def source_class(name: str) -> type[NoteSource]:
    """Return the class that is registered under a name.

    Raises ValueError if the name is unknown, if its package cannot be imported, or if the
    registered object is not a valid source of notes.
    """
    found = NOTE_SOURCES.get(name)
    if not (isinstance(found, type) and issubclass(found, NoteSource)) or found.name != name:
        raise ValueError(
            f"source of notes {name!r}: {found!r:.80} is no subclass of NoteSource with that name; "
            "correct its package"
        )
    return found
