"""Put songs into train or test by their ids alone, in the published proportion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.sources.manifest import Row

TEST_SHARE = 53 / 445
"""Of the 445 published TikTok videos 392 are for training and 53 for the test."""

VAL_SHARE = 0.1
"""Of the songs for training; 5 of the published 43 (51 of 392 videos)."""


def split_of(song: str, test_share: float = TEST_SHARE) -> str:
    """Return `train` or `test` for a song, from a hash of its id.

    No song is on both sides, and no other song that comes or goes moves it. The share is met on
    the average over songs, not exactly.
    """
    return "test" if _number(b"split ", song) < test_share else "train"


def val_songs(songs: Iterable[str]) -> set[str]:
    """Return which of the songs for training are held out for validation: a tenth on the average.

    The trainer needs songs that it does not learn from; the test is not to be looked at. Whole
    songs, from another hash of the id, for the same reasons as above. Where none would be, of two
    or more, the one with the lowest hash is.
    """
    numbers = {song: _number(b"val ", song) for song in songs}
    chosen = {song for song, number in numbers.items() if number < VAL_SHARE}
    if not chosen and len(numbers) > 1:
        return {min(numbers, key=lambda song: (numbers[song], song))}
    return chosen


def _number(salt: bytes, song: str) -> float:
    """Return a number from 0 to 1 that the song's id alone decides."""
    return int.from_bytes(hashlib.sha256(salt + song.encode()).digest()[:8], "big") / 2**64


def with_val(rows: Sequence[Row], family: Mapping[str, str]) -> list[Row]:
    """Return the rows with a tenth of the training songs in `val`, unless some are already.

    Songs that may be one, by their `family`, go together; a song that is not in it is alone.
    """
    if any(row.split == "val" for row in rows):
        return list(rows)
    kin = [family.get(row.song, row.song) if row.split == "train" else "" for row in rows]
    chosen = val_songs({name for name in kin if name})
    return [
        replace(row, split="val") if name in chosen else row
        for row, name in zip(rows, kin, strict=True)
    ]
