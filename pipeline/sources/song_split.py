"""Assign songs to train, val or test, using only their ids, in the published proportion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.sources.manifest import Row

TEST_SHARE = 53 / 445
"""Of the 445 published TikTok videos, 392 are for training and 53 for testing."""

VAL_SHARE = 0.1
"""The share of training songs for validation.

Of the 43 published training songs, 5 are for validation (51 of 392 videos).
"""


def split_of(song: str, test_share: float = TEST_SHARE) -> str:
    """Return `train` or `test` for a song, from a hash of its id.

    So no song is in both splits, and adding or removing other songs does not move it. The
    proportion is met on average over songs, not exactly.
    """
    return "test" if _number(b"split ", song) < test_share else "train"


def songs_for_test(songs: Iterable[str], test_share: float) -> set[str]:
    """Return which songs `split_of` puts into `test`, but never all of them.

    If it puts all there, the one with the highest hash is for training. If it puts none of at least
    two there, the one with the lowest hash is for testing. So even a small set can be trained on.
    """
    names = set(songs)
    chosen = _chosen(b"split ", names, test_share)
    if names and chosen == names:
        chosen.remove(max(names, key=lambda song: (_number(b"split ", song), song)))
    return chosen


def val_songs(songs: Iterable[str]) -> set[str]:
    """Return which of the training songs are used for validation: a tenth on average.

    The trainer needs songs that it does not learn from, and the test split must not be used for
    that. As in `split_of`, complete songs are chosen by a hash of the id, but by another hash. If
    none of at least two songs would be chosen, the one with the lowest hash is.
    """
    return _chosen(b"val ", songs, VAL_SHARE)


def _chosen(salt: bytes, songs: Iterable[str], share: float) -> set[str]:
    numbers = {song: _number(salt, song) for song in songs}
    chosen = {song for song, number in numbers.items() if number < share}
    if not chosen and len(numbers) > 1:
        return {min(numbers, key=lambda song: (numbers[song], song))}
    return chosen


def _number(salt: bytes, song: str) -> float:
    """Return a number from 0 to 1 that depends only on the song's id."""
    return int.from_bytes(hashlib.sha256(salt + song.encode()).digest()[:8], "big") / 2**64


def with_val(rows: Sequence[Row], family: Mapping[str, str]) -> list[Row]:
    """Return the rows with a tenth of the training songs in `val`, unless `val` exists already.

    `family` groups songs that may be the same; they stay together. A song that is not in it is
    alone.
    """
    if any(row.split == "val" for row in rows):
        return list(rows)
    families = [family.get(row.song, row.song) if row.split == "train" else "" for row in rows]
    chosen = val_songs({name for name in families if name})
    return [
        replace(row, split="val") if name in chosen else row
        for row, name in zip(rows, families, strict=True)
    ]
