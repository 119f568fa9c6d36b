"""Read the thresholds from a YAML file; every key must be known, every value of the right type."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from model.contract.dataset import short_repr
from pipeline.curate.decide import Thresholds
from pipeline.curate.picture import PictureSettings
from pipeline.curate.shots import ShotSettings

DEFAULT = Path(__file__).with_name("thresholds.yaml")
NO_YAML = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""Errors that the YAML parser raises for invalid values, in addition to its own error type."""
OWN = {"wild": Path(__file__).with_name("thresholds_wild.yaml")}
"""Files with the values of a data set that differ from the default file."""
LISTS = {"strong": 3, "weak": 3, "song_odds": 4}
"""Settings that consist of several numbers."""


@dataclass(frozen=True)
class Settings:
    """How to measure (`shots`, `picture`), and how to decide from the scores (`decide`)."""

    shots: ShotSettings
    picture: PictureSettings
    decide: Thresholds


def load_settings(path: Path = DEFAULT, dataset: str = "") -> Settings:
    """Read a file of thresholds; missing keys have the values of the data set's own file, if it has
    one, else those of the default file.

    Raises ValueError for an unknown key or a value of another type.
    """
    parts = {"shots": ShotSettings, "picture": PictureSettings, "decide": Thresholds}
    given = _read(DEFAULT, parts)
    known = {name: list(given[name]) for name in parts}
    for layer in dict.fromkeys([OWN.get(dataset, DEFAULT), path]):
        if layer == DEFAULT:
            continue
        more = _read(layer, parts)
        for name in [name for name in parts if more.get(name) is not None]:
            _known(layer, f"{name}.", more[name], known[name])
            given[name] = given[name] | more[name]
    return Settings(**{name: _part(path, name, given[name], kind) for name, kind in parts.items()})


def _read(path: Path, parts: Iterable[str]) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (*NO_YAML, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not YAML: {type(error).__name__}: {error!s:.500}") from None
    given = {} if given is None else given
    _known(path, "", given, list(parts))
    return given


def _part(path: Path, name: str, given: dict[str, Any], kind: type) -> Any:
    known = [field.name for field in fields(kind)]
    _known(path, f"{name}.", given, known)
    values = {}
    for key, value in given.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise ValueError(f"{path}: {name}.{key} is {short_repr(value)}, expected a number")
        if not all(abs(n) <= sys.float_info.max for n in numbers):  # this rejects NaN, too
            raise ValueError(
                f"{path}: {name}.{key} is {short_repr(value)}, expected a finite number"
            )
        values[key] = tuple(map(float, value)) if isinstance(value, list) else float(value)
        count = LISTS.get(key, 1)
        if isinstance(value, list) != (key in LISTS) or len(numbers) != count:
            wanted = f"{count} numbers in brackets" if key in LISTS else "one number"
            raise ValueError(f"{path}: {name}.{key} is {short_repr(value)}, expected {wanted}")
    return kind(**values)


def _known(path: Path, prefix: str, given: Any, known: list[str]) -> None:
    if not isinstance(given, dict):
        where = prefix or "the file"
        raise ValueError(f"{path}: {where} holds {short_repr(given)}, expected keys {known}")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1) if isinstance(key, str) else []
            guess = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
            name = key if isinstance(key, str) else short_repr(key)
            raise ValueError(f"{path}: unknown key {prefix}{name:.80}; {guess}")
