"""One row of measured scores per clip, without a verdict. Decisions use only these scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clip:
    """One shot of one input and its scores.

    `start_s` and `end_s` are on the video's own clock. `box` is x, y, width, height in pixels of
    the upright frame, and `box_share` its share of the frame's area. `certainty` is how reliable
    the sides of the box are (picture.py), `motion` how much the picture changes, in grey levels.
    `jump_db` is the change of the sound at the start (shots.py). `loud_dbfs`, `silent`, `bass_db`
    and `pulse` come from music.py. `dancers`, `whole_body` and `energy` come from people.py; they
    are None if no detector was used. `speech`, `singing` and `music` are shares of the time, and
    `voices_by` names the network that measured them (voices.py); None without one. `genre` is the
    label of the input (genres.py), "" if the data set has none.
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
    speech: float | None = None
    singing: float | None = None
    music: float | None = None
    voices_by: str | None = None
    genre: str = ""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Figure:
    """A person in one of the three pictures of a thumbnail (`picture` is 0, 1 or 2).

    `box` is x0, y0, x1, y1; `body` is BODY_25 (25, 3), or None without a pose. Positions are
    fractions of the picture's width and height. `main` marks the main dancer of the clip.
    """

    picture: int
    box: tuple[float, float, float, float]
    body: np.ndarray | None
    main: bool


@dataclass(frozen=True)
class ClipData:
    """The data by which a clip is compared and shown.

    `fingerprint` uint8 (T, 252) comes from songs.py, `hashes` uint64 (n, 3) from duplicates.py.
    `thumbnail` is a JPEG of three frames side by side; `figures` are the people found in them.
    """

    fingerprint: np.ndarray
    hashes: np.ndarray
    thumbnail: bytes
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class SongMatch:
    """Two clips that sound alike; `first` and `second` are indices of a list of clips.

    `song` is the score of songs.Pair; `lag_s`, `overlap_s` and `differs` are the same as there.
    `picture` is the distance of their pictures when they are aligned by sound, 1 if unknown.
    """

    first: int
    second: int
    song: float
    picture: float
    lag_s: float = 0.0
    overlap_s: float = 4.0
    differs: float = 0.0
