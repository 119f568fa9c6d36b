"""The settings of a run: a frozen dataclass, changed by preset, YAML file and `--set key=value`.

A trainer, or a family of generators, declares its own dataclass:

    @dataclass(frozen=True)
    class MyConfig(Settings):
        level: str = setting("high", choices=("high", "low"))
        width: int = setting(64, min=1, earlier_names=("size",))
        lr: float = setting(1e-4, may_change=True)
        weights: dict[str, float] = field(default_factory=my_weights, metadata={"item": "loss"})

    config = load(MyConfig(), words=["width=32"], file=Path("my.yaml"))

A setting is an int, float, bool or str, a tuple of one of these types, or a dict from names to
floats. The names allowed in a dict are those of its default.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from model.contract.dataset import short_repr
from model.contract.exit_codes import UsageError

NO_YAML = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""Exceptions, beside its own, that the YAML parser raises for values it cannot construct."""

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """Base class of all settings. Raises ValueError for a value outside its range.

    A subclass with further rules defines a `__post_init__` that calls this one first.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata)


def setting(
    default: Any,
    *,
    min: float | None = 0,
    max: float | None = None,
    below: float | None = None,
    choices: Iterable[str] = (),
    length: int | None = None,
    may_change: bool = False,
    earlier_names: Iterable[str] = (),
    earlier_values: Mapping[Any, Any] | None = None,
) -> Any:
    """Declare a setting and its range.

    Numbers must be finite, at least `min` (None: no minimum), at most `max` and less than `below`.
    Texts must be one of `choices`. Tuples must have `length` items. With `may_change`, the setting
    may differ when a run is resumed, because it does not change what the model is. `earlier_names`
    are its names in earlier versions; files, `--set` and checkpoints may still use them. If it had
    other values under those names, `earlier_values` maps them to the present ones. A setting
    declared without this function has the range of `setting(default)`.

    A dict is declared by `field(default_factory=..., metadata={...})`. Its metadata may have the
    keys of this function, and `item`: the word for one entry in messages, such as "loss".
    """
    rules = {"min": min, "max": max, "below": below, "choices": tuple(choices), "length": length}
    run = {"may_change": may_change, "earlier_names": tuple(earlier_names)}
    before = {"earlier_values": dict(earlier_values or {})}
    return field(default=default, metadata={**rules, **run, **before})


def may_change_on_resume(kind: type[Settings]) -> frozenset[str]:
    """Return the names of the settings that may differ when a run is resumed."""
    return frozenset(one.name for one in fields(kind) if one.metadata.get("may_change"))


def todays_names(kind: type[Settings]) -> dict[str, str]:
    """Return a map from the earlier names of renamed settings to their present names."""
    return {old: one.name for one in fields(kind) for old in one.metadata.get("earlier_names", ())}


def to_dict(config: Settings) -> dict[str, Any]:
    """Return the settings as plain values, as in checkpoints and YAML; tuples become lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def with_todays_names(values: Mapping[Any, Any], kind: type[Settings], source: str) -> dict:
    """Return `values` under the present names of the settings, and with their present values.

    Raises ValueError, with `source`, if a setting is given under both its old and its new name, or
    with a value that it never had under the old one.
    """
    names = todays_names(kind)
    found: dict[Any, Any] = {}
    for key, value in values.items():
        name = names.get(key, key)
        if name != key and name in values:
            raise ValueError(f"{source}: {key} is the earlier name of {name}; give one of them")
        found[name] = value if name == key else _todays_value(kind, name, key, value, source)
    return found


def _todays_value(kind: type[Settings], name: str, key: str, value: Any, source: str) -> Any:
    """Return the present value of a setting that was given under its earlier name `key`."""
    (declared,) = (one for one in fields(kind) if one.name == name)
    known = declared.metadata.get("earlier_values")
    if not known:
        return value
    for was, now in known.items():
        if type(value) is type(was) and value == was:
            return now
    names = " or ".join(str(each).lower() for each in known)
    raise ValueError(f"{source}: {key} is {short_repr(value)}; expected {names}")


# --- from presets, files and `key=value` texts ---------------------------------------------------


def load(
    config: S,
    words: Iterable[str] = (),
    file: Path | None = None,
    preset: str | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Return `config` changed by one of `presets`, then by a YAML file, then by `key=value` words.

    The words are applied together, so that settings which depend on each other may come in any
    order. Raises ValueError for an unknown key (with a suggestion) and for an invalid value; for
    errors in `words`, its subclass UsageError.
    """
    if preset is not None:
        presets = presets or {}
        if preset not in presets:
            raise ValueError(f"unknown preset {preset!r}; expected one of {', '.join(presets)}")
        config = override(config, presets[preset], f"preset {preset}")
    if file is not None:
        config = override(config, read_yaml(file), str(file))
    changes: dict[str, Any] = {}
    source = ""
    try:
        for word in words:
            source = "--set" if source else f"--set {word}"
            key, equals, text = word.partition("=")
            if not equals:
                raise ValueError(f"--set {word}: expected key=value")
            key, kind = key.strip(), type(config)
            name = todays_names(kind).get(key, key)
            value = _parse(text, _kind_of(kind, name) if name == key else _earlier_kind(kind, name))
            given = with_todays_names({key: value}, kind, f"--set {word}")
            changes |= _changes(config, given, f"--set {word}", changes)
        return _replace(config, changes, source)
    except ValueError as error:
        raise UsageError(str(error)) from None


def override(config: S, values: Mapping[Any, Any], source: str) -> S:
    """Return `config` changed by `values`; the key `NAME.KEY` sets one entry of the dict `NAME`.

    Raises ValueError, with `source`, for an unknown key and for an invalid value.
    """
    values = with_todays_names(values, type(config), source)
    return _replace(config, _changes(config, values, source, {}), source)


def read_yaml(file: Path) -> dict[Any, Any]:
    """Return the settings of a YAML file, unchecked.

    Raises FileNotFoundError, and ValueError if the file is not YAML with `key: value` lines.
    """
    import yaml

    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such configuration file") from None
    except NO_YAML as error:
        raise ValueError(f"{file}: not YAML ({type(error).__name__}: {error!s:.500})") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML ({error!s:.500})") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ValueError(f"{file}: expected `key: value` lines, got {type(raw).__name__}")
    return raw


# --- one value -----------------------------------------------------------------------------------


def _changes(
    config: Settings, values: Mapping[Any, Any], source: str, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the changes in `values` with their types; dicts are merged with those in `before`."""
    kinds = _kinds(type(config))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ValueError(
                f"{source}: {short_repr(key)} is not a config key; expected `key: value` lines"
            )
        name, dot, inner = key.partition(".")
        if get_origin(kinds.get(name)) is dict:
            held = {**before, **changes}.get(name, getattr(config, name))
            given = {inner: value} if dot else value
            changes[name] = _merged(config, name, held, given, source)
        else:
            _known(key, kinds, "key", source)
            changes[key] = _typed(key, value, kinds[key], source, getattr(config, key))
    return changes


def _merged(
    config: Settings, name: str, held: Mapping[str, Any], given: Any, source: str
) -> dict[str, Any]:
    (declared,) = (one for one in fields(config) if one.name == name)
    item = declared.metadata.get("item", "name")
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{source}: {name} is {short_repr(given)}; expected {item} names and numbers"
        )
    assert declared.default_factory is not MISSING, "no dict can be a default"
    names, merged = declared.default_factory(), dict(held)
    for key, value in given.items():
        _known(key, names, item, source)
        merged[key] = _typed(f"{name}.{key}", value, float, source)
    return merged


def _replace(config: S, changes: Mapping[str, Any], source: str) -> S:
    try:
        return replace(config, **changes)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _kinds(kind: type[Settings]) -> dict[str, Any]:
    """Return the type of each setting; TypeError for a type that settings cannot have."""
    hints = get_type_hints(kind)
    kinds = {one.name: hints[one.name] for one in fields(kind)}
    for name, hint in kinds.items():
        plain = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if plain not in (bool, int, float, str) and hint != dict[str, float]:
            raise TypeError(
                f"{kind.__name__}.{name} is {hint}; settings are bool, int, float, str, "
                "tuple[…, ...] of these, or dict[str, float]"
            )
    return kinds


def _kind_of(kind: type[Settings], key: str) -> Any:
    """Return the type of a setting, or of one entry of a dict; None for an unknown key."""
    name, dot, _ = key.partition(".")
    found = _kinds(kind).get(name)
    return float if dot and get_origin(found) is dict else found


def _earlier_kind(kind: type[Settings], name: str) -> Any:
    """Return the type that a renamed setting had: that of its earlier values, if these differ."""
    (declared,) = (one for one in fields(kind) if one.name == name)
    values = declared.metadata.get("earlier_values")
    return type(next(iter(values))) if values else _kind_of(kind, name)


def _known(name: Any, names: Iterable[str], what: str, source: str) -> None:
    names = list(names)
    if name not in names:
        close = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
        guess = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        raise ValueError(f"{source}: {short_repr(name)} is an unknown {what}; {guess}")


def _parse(text: str, kind: Any) -> Any:
    """Parse the value of a `key=value` word as YAML; texts stay as they are, `a,b` is a list."""
    import yaml

    if get_origin(kind) is tuple and not text.strip().startswith("["):
        return [_parse(part, get_args(kind)[0]) for part in text.split(",")]
    if kind is str and text.strip()[:1] not in ("'", '"'):
        return text.strip()
    try:
        value = yaml.safe_load(text)
    except (*NO_YAML, yaml.YAMLError):
        return text
    return text if kind is str and not isinstance(value, str) else value


def _typed(key: str, value: Any, kind: Any, source: str, like: Any = ()) -> Any:
    """Return `value` converted to the setting's type, without rounding or guessing.

    `like` is the present value, used as an example in the message.
    """
    expected = getattr(kind, "__name__", str(kind))
    if kind is bool:
        fits, expected = isinstance(value, bool), "bool: true or false"
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    elif kind is float:
        value = _number(value)
        fits = isinstance(value, float)
    elif get_origin(kind) is tuple:
        item = get_args(kind)[0]
        fits = isinstance(value, list | tuple) and len(value) > 0
        expected = f"a list like {list(like)}"
        value = tuple(_typed(key, v, item, source) for v in value) if fits else value
    else:
        fits = isinstance(value, str)
    if not fits:
        raise ValueError(f"{source}: {key} is {short_repr(value)}; expected {expected}")
    return value


def _number(value: Any) -> Any:
    """Return a float if `value` is a number or its text (YAML 1.1 reads 1e-4 as text)."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value if isinstance(value, int) and abs(value) > sys.float_info.max else float(value)


def _check(name: str, value: Any, rules: Mapping[str, Any]) -> None:
    """Raise ValueError if a value is outside its setting's range."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check(f"{name}.{key}", inner, rules)
        return
    if isinstance(value, tuple):
        length = rules.get("length")
        wrong = [why for why in (_wrong(item, rules) for item in value) if why]
        if not wrong and length in (None, len(value)):
            return
        if length is not None:
            low, below = rules.get("min", 0), rules.get("below")
            count = {2: "two", 3: "three"}.get(length, length)
            inside = f" of [{low}, {below})" if below is not None else ""
            raise ValueError(f"{name} are {list(value)}; expected {count} numbers{inside}")
        raise ValueError(f"{name} are {list(value)}; expected {wrong[0]} each")
    if why := _wrong(value, rules):
        raise ValueError(f"{name} is {value!r}; expected {why}")


def _wrong(value: Any, rules: Mapping[str, Any]) -> str:
    """Return what was expected instead of a value, or "" if the value is allowed."""
    choices, low, below = rules.get("choices"), rules.get("min", 0), rules.get("below")
    if isinstance(value, str):
        return f"one of {', '.join(choices)}" if choices and value not in choices else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    is_int = isinstance(value, int)
    if not is_int and not math.isfinite(value):
        return "a finite number" + (f", at least {low}" if low is not None else "")
    if low is not None and value < low:
        return f"at least {low}" if is_int else f"a finite number, at least {low}"
    if below is not None and value >= below:
        return f"less than {below}" if is_int else f"a number of [{low}, {below})"
    high = rules.get("max")
    if high is not None and value > high:
        return f"at most {high}" if is_int or low is None else f"a number of [{low}, {high}]"
    return ""
