"""Data sets with weights, as `model train --shards` takes them: `shards/a`, or `shards/b=2`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from model.contract.storage import Location, to_location

WEIGHT_MAX = 1000
WEIGHT = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})")


@dataclass(frozen=True)
class Weighted:
    """A data set to train on, and how many times an epoch passes over it: above 0, at most 1000.

    Raises ValueError for other weights.
    """

    root: Location
    weight: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if not 0 < self.weight <= WEIGHT_MAX:
            raise ValueError(
                f"{self.root}: a weight of {float(self.weight):g}; expected one above 0, at most "
                f"{WEIGHT_MAX}: DIR=2 passes over a data set twice in an epoch"
            )

    def __str__(self) -> str:
        return str(self.root) + (f"={float(self.weight):g}" if self.weight != 1 else "")


def to_weighted(text: str) -> Weighted:
    """Return DIR or DIR=WEIGHT as a data set with its weight; without one it is 1.

    If the complete text is an existing path, it is the data set; and what follows the last `=` is a
    weight only if it is a plain number. `DIR=1` is a weight for any name of a folder.
    """
    name, _, weight = text.rpartition("=")
    if not name or not WEIGHT.fullmatch(weight) or ("://" not in text and Path(text).exists()):
        return Weighted(to_location(text))
    return Weighted(to_location(name), Fraction(weight))
