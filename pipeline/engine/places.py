"""Millions of numbers by their keys, in sorted arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

RECENT = 1 << 14
"""Number of keys that are found by a dictionary, before they are sorted into the arrays."""


class Places:
    """Numbers of 64 bits by keys of 64 bits; a key may have several. Each takes 16 bytes."""

    def __init__(self) -> None:
        self._keys = self._places = np.empty(0, np.uint64)
        self._recent: dict[int, tuple[int, ...]] = {}

    def add(self, keys: array[int], places: array[int]) -> None:
        """Add pairs; those that are added later are found first."""
        if len(keys) < RECENT:
            for key, place in zip(keys, places, strict=True):
                self._recent[key] = (place, *self._recent.get(key, ()))
            if len(self._recent) < RECENT:
                return
            keys, places = array("Q"), array("Q")
        pairs = [(key, place) for key, all_ in self._recent.items() for place in reversed(all_)]
        recent = np.array(pairs, np.uint64).reshape(-1, 2)
        new_keys, new_places = (np.frombuffer(numbers, np.uint64) for numbers in (keys, places))
        new_keys = np.concatenate([recent[:, 0], new_keys])
        new_places = np.concatenate([recent[:, 1], new_places])
        order = new_keys.argsort(kind="stable")
        at = np.searchsorted(self._keys, new_keys[order], side="right")
        self._keys = np.insert(self._keys, at, new_keys[order])  # one column after the other:
        self._places = np.insert(self._places, at, new_places[order])  # less memory at once
        self._recent = {}

    def find(self, key: int) -> list[int]:
        """Return the numbers of a key, the latest first."""
        found = list(self._recent.get(key, ()))
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        older: list[int] = []
        while at < len(self._keys) and self._keys[at] == key:
            older.append(int(self._places[at]))
            at += 1
        return found + older[::-1]

    def __iter__(self) -> Iterator[int]:
        yield from map(int, self._places)
        for places in self._recent.values():
            yield from reversed(places)
