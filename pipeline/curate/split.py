"""Put songs into train or test by their ids alone, in the published proportion."""

from __future__ import annotations

import hashlib

TEST_SHARE = 53 / 445
"""Of the 445 published TikTok videos 392 are for training and 53 for the test."""

VAL_SHARE = 0.1
"""Of the songs for training; 5 of the published 43 (51 of 392 videos)."""


def split_of(song: str, test_share: float = TEST_SHARE) -> str:
    """Return `train` or `test` for a song, from a hash of its id.

    No song is on both sides, and no other song that comes or goes moves it. The share is met on
    the average over songs, not exactly.
    """
    number = int.from_bytes(hashlib.sha256(b"split " + song.encode()).digest()[:8], "big")
    return "test" if number < test_share * 2**64 else "train"


def held_out(split: str, song: str) -> str:
    """Return `val` for a tenth of the songs in `train`, else `split` as it is.

    The trainer needs songs that it does not learn from; the test is not to be looked at. Whole
    songs, from another hash of the id, for the same reasons as above.
    """
    number = int.from_bytes(hashlib.sha256(b"val " + song.encode()).digest()[:8], "big")
    return "val" if split == "train" and number < VAL_SHARE * 2**64 else split
