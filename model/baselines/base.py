"""Music to compare with: what a system played for each segment of a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRUTH = "ground truth"


@dataclass(frozen=True)
class Music:
    """A row: its sounds (N,), and its codes (S, L) where it was made of codes of the run's level.

    `note` is what must be said of it.
    """

    name: str
    audio: list[np.ndarray]
    codes: list[np.ndarray] | None = None
    note: str = ""
