"""Options that a dataclass declares: its fields become flags of a command line.

    @dataclass(frozen=True)
    class Loudness:
        floor_db: float = option(-60.0, "quieter than this is silent", type=float)

gives the flag `--floor-db`, and `Loudness(floor_db=-40)` in Python. A field without `option` gets
no flag: the user does not set it.
"""

from __future__ import annotations

from argparse import ArgumentError, _ActionsContainer
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, TypeVar

from model.contract.exit_codes import UsageError
from model.contract.registry import Registry

T = TypeVar("T")
Help = str | Callable[[], str]


def option(
    default: Any,
    help: Help,
    flag: str = "",
    record: Callable[[Any], Any] | None = None,
    strict: bool = True,
    **words: Any,
) -> Any:
    """Return a field that is an option.

    Args:
        default: the value if the user sets none.
        help: the text in `--help`, or a function that returns it (for texts that list plugins).
        flag: the name on the command line, without dashes (default: the name of the field).
        record: converts a value for the `build` record of a data set; `never` leaves it out.
        strict: whether it is an error to give this option if another one makes it ineffective.
        words: more arguments of `ArgumentParser.add_argument`: type, choices, nargs, metavar.
    """
    facts = {"help": help, "flag": flag, "record": record, "strict": strict, "words": words}
    return field(default=default, metadata=facts)


def never(value: Any) -> None:
    """Keep an option out of the record: it is a location, which does not change the results."""


def options_of(kind: type) -> dict[str, Field[Any]]:
    """Return the options of a dataclass by key: the flag's name, with `_` instead of `-`."""
    found = [one for one in fields(kind) if "help" in one.metadata]
    return {(one.metadata["flag"] or one.name).replace("-", "_"): one for one in found}


def flag_of(key: str) -> str:
    """Return how an option's key is written on the command line."""
    return f"--{key.replace('_', '-')}"


def add_flags(parser: _ActionsContainer, kind: type, taken: dict[str, Field[Any]]) -> None:
    """Add a flag for each option of a dataclass. Two equal declarations share one flag.

    `taken` has the options added so far, by key; the options of `kind` are added to it. Raises
    ValueError if a flag is already used by a different option.
    """
    for key, one in options_of(kind).items():
        if key in taken and taken[key].metadata == one.metadata:
            continue
        text = one.metadata["help"]
        words = {"default": one.default, **one.metadata["words"]}
        text = text if isinstance(text, str) else text()
        try:
            parser.add_argument(flag_of(key), dest=key, help=text.replace("%", "%%"), **words)
        except ArgumentError:
            raise ValueError(
                f"{kind.__name__} of {kind.__module__} declares the option {flag_of(key)}, which "
                "is already used; give it another name: option(…, flag=NAME)"
            ) from None
        taken[key] = one


def chosen(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a dataclass that are in `values`, which has option keys."""
    return {one.name: values[key] for key, one in options_of(kind).items() if key in values}


def set_for(other: type, kind: type, values: Mapping[str, Any]) -> list[str]:
    """Return the strict options of `other` that `kind` does not have and that `values` set."""
    known = options_of(kind)
    foreign = {key: one for key, one in options_of(other).items() if key not in known}
    strict = {key: one.default for key, one in foreign.items() if one.metadata["strict"]}
    return [key for key, default in strict.items() if values.get(key, default) != default]


def made_of(
    registry: Registry, base: type[T], name: str, values: Mapping[str, Any], flag: str
) -> T:
    """Return an instance of the class registered under `name`, with its options from `values`.

    The keys of `values` are flag names; `flag` is that of the choice, such as "--dataset". Raises
    UsageError if `values` sets an option that belongs only to another built-in class.
    """
    kind = registry.subclass(name, base)
    for other in (other for other in registry.own if other != name):
        if given := set_for(registry.subclass(other, base), kind, values):
            goes = "go" if len(given) > 1 else "goes"
            raise UsageError(f"{' and '.join(map(flag_of, given))} {goes} with {flag} {other}")
    return kind(**chosen(kind, values))


def recorded(made: Any) -> dict[str, Any]:
    """Return an instance's options by key, as JSON values; None, False and "" are left out.

    Paths are absolute, so that they are valid from any working folder.
    """
    record = {}
    for key, one in options_of(type(made)).items():
        value = getattr(made, one.name)
        if write := one.metadata["record"]:
            value = write(value)
        if isinstance(value, Path):
            value = str(value.resolve())
        if value is not None and value is not False and value != "":
            record[key] = value
    return record
