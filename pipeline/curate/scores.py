"""One row per clip: what was measured, without a verdict. Decisions are made from these alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clip:
    """One shot of one input and its scores.

    `start_s` and `end_s` are on the video's own clock; `box` is x, y, width, height in pixels of
    the upright frame, `box_share` its part of the frame's area, `certainty` how sure its sides are
    (picture.py), `motion` how much its picture changes, in grey levels. `jump_db` is the change of
    the sound at its start (shots.py); `loud_dbfs`, `silent`, `bass_db` and `pulse` are those of
    music.py. `dancers`, `whole_body` and `energy` are those of people.py, None where no detector
    has looked.
    """

    clip_id: str
    video_id: str
    source: str
    sha256: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    box: tuple[int, int, int, int]
    box_share: float
    certainty: float
    motion: float
    jump_db: float
    loud_dbfs: float
    silent: float
    bass_db: float
    pulse: float
    dancers: int | None = None
    whole_body: float | None = None
    energy: float | None = None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Figure:
    """A person on one of a thumbnail's three pictures, in shares of that picture's sides.

    `box` is x0, y0, x1, y1; `body` is BODY_25 (25, 3), None where nobody was posed. `main` is the
    main dancer of the clip.
    """

    picture: int
    box: tuple[float, float, float, float]
    body: np.ndarray | None
    main: bool


@dataclass(frozen=True)
class ClipData:
    """What a clip is compared and shown by.

    `fingerprint` uint8 (T, 252) and `hashes` uint64 (n, 3) are those of songs.py and duplicates.py;
    `thumbnail` is a JPEG of three frames side by side, `figures` are the people found on them.
    """

    fingerprint: np.ndarray
    hashes: np.ndarray
    thumbnail: bytes
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class SongMatch:
    """Two clips, by their places in a list, that sound alike: `song` is the score of songs.Pair,
    `lag_s`, `overlap_s` and `differs` are its own.

    `picture` is the distance of their pictures where the sound lays them together, 1 if unknown.
    """

    first: int
    second: int
    song: float
    picture: float
    lag_s: float = 0.0
    overlap_s: float = 4.0
    differs: float = 0.0
