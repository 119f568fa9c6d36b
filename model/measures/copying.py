"""Does generated music copy the training music? The longest run of codes that both have.

Symbols: S segments, R training segments, L codes.
"""

from __future__ import annotations

import numpy as np


def longest_shared_run(codes: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return for each segment the length (S,) of its longest run of codes found in training.

    `codes` (S, L) and `training` (R, L') are of one level; a run lies within one segment of each.
    Compare the result with that of true music of other songs, which shares short runs by chance.
    """
    codes, training = np.asarray(codes, np.int64), np.asarray(training, np.int64)
    if codes.ndim != 2 or training.ndim != 2 or not codes.size or not training.size:
        raise ValueError(f"codes {codes.shape}, training {training.shape}: expected (S, L), (R, L)")
    runs = Runs([training, codes])
    low = np.zeros(len(codes), int)
    high = np.full(len(codes), min(codes.shape[1], training.shape[1]))
    while (open_ := low < high).any():
        middle = (low + high + 1) // 2
        for length in np.unique(middle[open_]):
            at = np.flatnonzero(open_ & (middle == length))
            known, own = runs.of(int(length))
            found = np.isin(own[at], known).any(1)
            low[at[found]], high[at[~found]] = length, length - 1
    return low


class Runs:
    """Numbers for runs of codes: runs of equal length have equal numbers if they are equal."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.doubled = [arrays]

    def of(self, length: int) -> list[np.ndarray]:
        """Return for each array the numbers (S, L - length + 1) of its runs of a length.

        A run is numbered by its first and its last part, both of the largest power of two that
        fits; the two may overlap.
        """
        power = length.bit_length() - 1
        while len(self.doubled) <= power:
            half = 2 ** (len(self.doubled) - 1)
            self.doubled.append(_numbers(self.doubled[-1], half))
        return _numbers(self.doubled[power], length - 2**power)


def _numbers(arrays: list[np.ndarray], apart: int) -> list[np.ndarray]:
    """Return new numbers for pairs of numbers that are `apart`."""
    if not apart:
        return arrays
    base = 1 + max(int(array.max()) for array in arrays)
    pairs = [array[:, :-apart] * base + array[:, apart:] for array in arrays]
    number = np.unique(np.concatenate([pair.ravel() for pair in pairs]), return_inverse=True)[1]
    ends = np.cumsum([pair.size for pair in pairs])[:-1]
    return [
        part.reshape(pair.shape) for part, pair in zip(np.split(number, ends), pairs, strict=True)
    ]
