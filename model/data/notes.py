"""Read the notes of a split: `for key, notes in read_notes(root, dataset, "train")`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.contract.dataset import Dataset, Notes
from model.contract.notes import NOTES, check_notes
from model.contract.shards import read_npy
from model.contract.storage import Location
from model.data.reader import read_tar

MAKE = "pipeline notes --shards {root} --from synthetic (or basic-pitch, or midi --midi DIR)"


def notes_of(root: Location, dataset: Dataset, notes_id: str | None = None) -> tuple[str, Notes]:
    """Return the id and the entry of a data set's notes.

    Raises ValueError, with the ids, if `notes_id` is unknown, or if it is None and the data set
    has notes of several sources; with the command that makes them if it has none.
    """
    if not dataset.notes:
        raise ValueError(f"{root}: no notes; run: {MAKE.format(root=root)}")
    names = ", ".join(sorted(dataset.notes))
    if notes_id is None and len(dataset.notes) > 1:
        raise ValueError(f"{root}: notes of several sources: {names}; choose one")
    chosen = next(iter(dataset.notes)) if notes_id is None else notes_id
    if chosen not in dataset.notes:
        raise ValueError(f"{root}: no notes {chosen!r}, there are {names}; choose one of these")
    return chosen, dataset.notes[chosen]


def read_notes(
    root: Location, dataset: Dataset, split: str, notes_id: str | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each segment's key and notes, in the order of the feature shards.

    The notes are float32 (N, 7), N from 0, with the columns of NOTE_COLUMNS: seconds from the
    window's start, sorted by onset. All windows of the split are there.

    Raises ValueError as `notes_of` does, and with the file and segment if the notes do not belong
    to the feature shards, or are invalid.
    """
    chosen, entry = notes_of(root, dataset, notes_id)
    ours = [(shard.name, shard.segments) for shard in dataset.splits.get(split, [])]
    theirs = [(shard.name, shard.segments) for shard in entry.splits.get(split, [])]
    if not sum(segments for _, segments in ours):
        raise ValueError(f"{root}: {dataset.no_segments(split)}")
    again = f"run pipeline notes --shards {root} --from {entry.source} again"
    if ours != theirs:
        raise ValueError(
            f"{root}: split {split} has shards (segments) {ours}, the notes of {chosen} have "
            f"{theirs}; {again}"
        )
    for name, segments in theirs:
        url = root / "notes" / chosen / name
        count = 0
        for raw in read_tar(url):
            count += 1
            key = raw["__key__"]
            try:
                notes = read_npy(raw[NOTES])
                check_notes(notes, dataset.seconds)
            except (KeyError, ValueError) as error:
                found = "missing" if isinstance(error, KeyError) else error
                raise ValueError(f"{url}: {key}.{NOTES}: {found}; {again}") from None
            yield key, notes
        if count != segments:
            raise ValueError(f"{url}: {count} segments, dataset.json says {segments}; {again}")
