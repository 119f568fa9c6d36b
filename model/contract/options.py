"""Options that a dataclass declares: from its fields come the flags of a command line.

    @dataclass(frozen=True)
    class Loudness:
        floor_db: float = option(-60.0, "quieter than this is silent", type=float)

gives `--floor-db`, and `Loudness(floor_db=-40)` for users of Python. A field without `option` is no
option: the user does not set it.
"""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any

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
        default: its value where the user sets none.
        help: what `--help` says of it, or a function that returns it, for one that lists names.
        flag: its name on the command line, without dashes (the field's, where left out).
        record: how a data set's `build` record holds a value; `never` leaves it out.
        strict: False where another choice of the user makes the option meaningless, not wrong.
        words: what else `ArgumentParser.add_argument` takes: type, choices, nargs, metavar, action.
    """
    facts = {"help": help, "flag": flag, "record": record, "strict": strict, "words": words}
    return field(default=default, metadata=facts)


def never(value: Any) -> None:
    """Keep an option out of the record: it says where things lie, not what is made of them."""


def options_of(kind: type) -> dict[str, Field[Any]]:
    """Return the options of a dataclass by their keys: the flag's name, with `_` for `-`."""
    found = [one for one in fields(kind) if "help" in one.metadata]
    return {(one.metadata["flag"] or one.name).replace("-", "_"): one for one in found}


def flag_of(key: str) -> str:
    """Return how an option's key is written on the command line."""
    return f"--{key.replace('_', '-')}"


def add_flags(parser: ArgumentParser, kind: type, taken: dict[str, Field[Any]]) -> None:
    """Add a flag for each option of a dataclass; one that another has declared alike is shared.

    `taken` has the options added so far, by key; those of `kind` are put into it. Raises ValueError
    where a name is taken by another option.
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
                f"{kind.__name__} of {kind.__module__} wants the option {flag_of(key)}, which is "
                "taken; give it another name: option(…, flag=NAME)"
            ) from None
        taken[key] = one


def chosen(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a dataclass that `values`, by options' keys, holds."""
    return {one.name: values[key] for key, one in options_of(kind).items() if key in values}


def recorded(made: Any) -> dict[str, Any]:
    """Return an instance's options by key, in values that JSON has; empty ones are left out.

    Paths are written in full, so that they hold from anywhere.
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
