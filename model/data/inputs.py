"""What a generator is built for: its inputs by name, as dataset.json describes them.

An input's name is the suffix of its member in the shards (`motion.npy`, `visual.npy`, that of a
plugin's feature), or GENRE, which each segment's JSON has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from model.contract.dataset import Dataset
from model.contract.segment import GENRES, WAV

GENRE = "genre"
"""The dance's genre as a number, its place in GENRES: a tensor (B,) int64."""


@dataclass(frozen=True)
class InputSpec:
    """One input: features per vector, the seconds a vector stands for, vectors per segment.

    `vectors` 0 is one label per segment, of `features` kinds.
    """

    features: int
    step_s: float
    vectors: int


@dataclass(frozen=True)
class Inputs:
    """What a generator may use: specs by name, and the samples of a segment at 22 050 Hz."""

    samples: int
    specs: Mapping[str, InputSpec] = field(default_factory=dict)

    def get(self, name: str) -> InputSpec | None:
        """Return an input's spec, None where there is no such input."""
        return self.specs.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.specs)


def inputs_of(dataset: Dataset, names: Iterable[str]) -> Inputs:
    """Return the specs of those of `names` that the data set has; GENRE is always there."""
    specs = {}
    for name in names:
        if name == GENRE:
            specs[name] = InputSpec(len(GENRES), dataset.seconds, 0)
        elif name in dataset.fields and name != WAV:
            vectors, features = dataset.fields[name]["shape"]
            specs[name] = InputSpec(features, dataset.seconds / vectors, vectors)
    return Inputs(dataset.samples, specs)


def shown(name: str) -> str:
    """Return an input's name without the ending of its file: `motion` for `motion.npy`."""
    return name.removesuffix(".npy")


def given(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    """Return an input that the generator needs; ValueError where it was not given."""
    if name not in inputs:
        raise ValueError(f"the generator was built with {shown(name)} as an input and got none")
    return inputs[name]
