"""The inputs of a generator, by name, as described by dataset.json.

The name of an input is the suffix of its member in the shards (`motion.npy`, `visual.npy`, or that
of a plugin's feature), or GENRE, which is in each segment's JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from model.contract.dataset import Dataset
from model.contract.segment import GENRES, MOTION, WAV

GENRE = "genre"
"""The dance's genre as its index in GENRES: a tensor (B,) int64."""


@dataclass(frozen=True)
class InputSpec:
    """One input: features per vector, seconds covered by a vector, vectors per segment.

    If `vectors` is 0, the input is one class label per segment, and `features` the number of
    classes.
    """

    features: int
    step_s: float
    vectors: int


@dataclass(frozen=True)
class Inputs:
    """The inputs of a generator: specs by name, and the samples of a segment at 22 050 Hz."""

    samples: int
    specs: Mapping[str, InputSpec] = field(default_factory=dict)

    def get(self, name: str) -> InputSpec | None:
        """Return an input's spec, or None if there is no such input."""
        return self.specs.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.specs)


def inputs_of(dataset: Dataset, names: Iterable[str]) -> Inputs:
    """Return the specs of those `names` that the data set has; it always has GENRE."""
    specs = {}
    for name in names:
        if name == GENRE:
            specs[name] = InputSpec(len(GENRES), dataset.seconds, 0)
        elif name in dataset.fields and name != WAV:
            vectors, features = dataset.fields[name]["shape"]
            specs[name] = InputSpec(features, dataset.seconds / vectors, vectors)
    return Inputs(dataset.samples, specs)


def check_motion(dataset: Dataset) -> None:
    """Raise ValueError, with advice, if a data set has no motion for a family that follows it."""
    if MOTION not in dataset.fields:
        raise ValueError(
            f"the data set {dataset.name} has no motion, which this family follows: build it "
            "with --motion (see docs/guide/build.md)"
        )


def same_kind(expected: Mapping[str, Any], got: Mapping[str, Any] | None) -> bool:
    """Return whether features are of the kind that a run was trained on, by their field specs.

    Features that imitate those of a network (`imitates`) may be replaced by that network's: dtype,
    shape, layout and rate must then be the same.
    """
    if got is None or "imitates" not in expected:
        return got == expected
    if got.get("kind") not in (expected["imitates"], expected["kind"]):
        return False
    return all(got.get(name) == expected.get(name) for name in ("dtype", "shape", "layout", "fps"))


def shown(name: str) -> str:
    """Return an input's name without file extension: `motion` for `motion.npy`."""
    return name.removesuffix(".npy")


def given(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    """Return an input that the generator needs; ValueError if it is missing."""
    if name not in inputs:
        raise ValueError(f"the generator was built for the input {shown(name)}, which is missing")
    return inputs[name]
