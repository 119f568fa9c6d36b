"""The notes in the ground truth of the synthetic benchmark."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from model.contract.notes import NOTE_COLUMNS

AGAIN = "write it again: python -m pipeline.sources.synthetic DIR"
DAMAGED = (ValueError, LookupError, EOFError, OSError, zipfile.BadZipFile)


def read_truth(data: bytes, song: str = "") -> np.ndarray:
    """Return the notes in the bytes of a `truth/<video>.npz`, float64 (N, 7), sorted by onset.

    Raises ValueError if they are not a ground truth with notes, or that of another song.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {
                name: arrays[name] for name in ("song", "notes", "note_columns") if name in arrays
            }
    except DAMAGED as error:
        raise ValueError(f"not a ground truth ({error!s:.100}); {AGAIN}") from None
    if len(found) < 3 or tuple(found["note_columns"]) != NOTE_COLUMNS:
        raise ValueError(f"a ground truth without notes, of an earlier version; {AGAIN}")
    if song and str(found["song"]) != song:
        raise ValueError(f"the ground truth of song {found['song']}, expected {song}")
    return found["notes"].astype(np.float64)
