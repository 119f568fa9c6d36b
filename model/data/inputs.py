"""What a generator is built for: the inputs of one segment, as dataset.json describes them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class InputSpec:
    """One input: features per vector, the seconds a vector stands for, vectors per segment."""

    features: int
    step_s: float
    vectors: int


@dataclass(frozen=True)
class Inputs:
    """What a generator may use: None where it has no such input, `genres` 0 for no genre label.

    `samples` are those of one segment at 22 050 Hz.
    """

    motion: InputSpec | None
    visual: InputSpec | None
    genres: int
    samples: int


def given(x: Tensor | None, name: str) -> Tensor:
    """Return an input that the generator needs; ValueError where it was not given."""
    if x is None:
        raise ValueError(f"the generator was built with {name} as an input and got none")
    return x
