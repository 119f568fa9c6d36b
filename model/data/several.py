"""Several data sets with the same features and codes, trained on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from model.contract.dataset import Dataset, load_dataset, short_repr
from model.contract.segment import WAV
from model.contract.weighted import Weighted
from model.data.inputs import same_kind
from model.data.source import Source
from model.runtime.settings import Settings

Loaded = tuple[Weighted, Dataset]
"""A data set to train on, and its dataset.json."""


@dataclass(frozen=True)
class Several:
    """One split of several data sets, as the source of batches (`model.data.source.Segments`).

    An epoch of training passes `weights` times over each source. Validations and measurements take
    no account of weights.
    """

    sources: Sequence[Source]
    weights: Sequence[Fraction]

    @property
    def split(self) -> str:
        return self.sources[0].split

    @property
    def address(self) -> str:
        return ", ".join(source.address for source in self.sources)

    @property
    def segments(self) -> int:
        """Segments of the split in all data sets."""
        return sum(source.segments for source in self.sources)

    def of_split(self, split: str) -> Several | None:
        """Return another split of the data sets that have it; None if none has."""
        pairs = zip(self.sources, self.weights, strict=True)
        there = [(other, w) for source, w in pairs if (other := source.of_split(split))]
        return Several(*map(list, zip(*there, strict=True))) if there else None


def load_all(given: Sequence[Weighted]) -> list[Loaded]:
    """Read the dataset.json of each data set. Raises ValueError if one is given twice."""
    counted = Counter(str(each.root).rstrip("/") for each in given)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise ValueError(f"{twice[0]}: given twice; give it once, with a weight: {twice[0]}=2")
    return [(each, load_dataset(each.root)) for each in given]


def joined(loaded: Sequence[Loaded]) -> Dataset:
    """Return what a run records of its data: of several data sets the first, with all names.

    Its splits and codes are those of the first; `untrained` has the features of all that are.
    """
    first = loaded[0][1]
    if len(loaded) == 1:
        return first
    name = "+".join(dataset.name for _, dataset in loaded)
    untrained = [what for _, dataset in loaded for what in dataset.untrained]
    return replace(first, name=name, untrained=list(dict.fromkeys(untrained)))


def labels_of(loaded: Sequence[Loaded]) -> list[str]:
    """Return what to put before the keys of each data set's segments; "" for one data set alone.

    It is the name of the folder, with a number where two have the same.
    """
    if len(loaded) == 1:
        return [""]
    names = [each.root.name for each, _ in loaded]
    if len(set(names)) < len(names):
        names = [f"{name}-{i}" for i, name in enumerate(names, 1)]
    return [f"{name}:" for name in names]


def check_alike(loaded: Sequence[Loaded], inputs: Sequence[Iterable[str]]) -> None:
    """Check that data sets have the same windows, and the same features as far as they are read.

    `inputs` are the names of the inputs that the model reads of each. Raises ValueError with the
    two data sets, the feature, and the field that differs.
    """
    (first, ours), names = loaded[0], set(inputs[0])
    for (other, theirs), found in zip(loaded[1:], inputs[1:], strict=True):
        if ours.samples != theirs.samples:
            refuse(first, other, "window_s", ours.window_s, theirs.window_s)
        for name in sorted({*names, *found, WAV}):
            if name in ours.fields or name in theirs.fields:
                a, b = ours.fields.get(name), theirs.fields.get(name)
                differ(first, other, name, a, b)


def differ(
    first: Weighted, other: Weighted, name: str, a: Mapping[str, Any] | None,
    b: Mapping[str, Any] | None,
) -> None:  # fmt: skip
    """Raise ValueError for the first entry in which two specifications of a feature differ.

    Features that imitate those of a network may be beside that network's (`same_kind`).
    """
    if a is None or b is None:
        refuse(first, other, name, *("missing" if x is None else "there" for x in (a, b)))
    elif not (same_kind(a, b) or same_kind(b, a)):
        for entry in sorted(a.keys() | b.keys(), key=lambda entry: (entry == "imitates", entry)):
            if a.get(entry) != b.get(entry):
                refuse(first, other, f"{name}, {entry}", a.get(entry), b.get(entry))


def check_settled(loaded: Sequence[Loaded], config: Settings, others: Sequence[Settings]) -> None:
    """Raise ValueError for a setting that another data set decides otherwise than the first."""
    for (other, _), found in zip(loaded[1:], others, strict=True):
        for name, value in vars(config).items():
            if value != vars(found)[name]:
                refuse(loaded[0][0], other, f"the setting {name}", value, vars(found)[name])


def check_codes(loaded: Sequence[Loaded]) -> Dataset:
    """Return the first data set with those of its codecs alone of which all have codes.

    Raises ValueError, with two data sets and their codecs, if there is none.
    """
    (first, ours) = loaded[0]
    common = dict(ours.codecs)
    for other, theirs in loaded[1:]:
        left = {name: codes for name, codes in common.items() if name in theirs.codecs}
        if common and not left:
            sources = ", ".join(codes.source for codes in common.values())
            raise ValueError(
                f"{first.root} and {other.root} cannot be trained on together: codes are of codec "
                f"{', '.join(common)} in the one, of {', '.join(theirs.codecs) or 'none'} in the "
                f"other; run: pipeline extract-codes --shards {other.root} --codec {sources}"
            )
        common = left
    return replace(ours, codecs=common)


def check_levels(sources: Sequence[Source]) -> None:
    """Raise ValueError, with the two data sets, if codes of a level have different shapes."""
    first = sources[0]
    for other in sources[1:]:
        for level in first.sizes:
            a, b = (s.dataset.codecs[s.codec_id].streams[level].shape for s in (first, other))
            if a != b:
                refuse(Weighted(first.root), Weighted(other.root), f"codes of level {level}", a, b)


def refuse(first: Weighted, other: Weighted, field: str, a: Any, b: Any) -> None:
    """Raise ValueError: two data sets differ in a field."""
    raise ValueError(
        f"{first.root} and {other.root} cannot be trained on together: {field} is {shown(a)} in "
        f"the one, {shown(b)} in the other; build both with the same options"
    )


def shown(value: Any) -> str:
    return value if isinstance(value, str) else short_repr(value)
