"""Registries of parts that a user chooses by name: built-in ones and those of installed packages.

A package registers a part by an entry point of the group `dance2music.KIND`, for instance

    [project.entry-points."dance2music.codecs"]
    my-codec = "my_package.codec:MyCodec"

Listing the names imports nothing. Only the requested part is imported, so that a package that
cannot be imported affects only its users.
"""

from __future__ import annotations

import difflib
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, distributions
from typing import Any, TypeVar

T = TypeVar("T")
PREFIX = "dance2music."


@dataclass(frozen=True)
class Registry:
    """The parts of one kind, by name.

    Args:
        kind: the group of the entry points is `dance2music.<kind>`.
        what: the name of one part in messages, such as "codec".
        own: the built-in parts, each as "module:attribute".
    """

    kind: str
    what: str
    own: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return all names: the built-in ones first, then those of plugins, sorted."""
        return [*self.own, *sorted(self._plugins().keys() - self.own.keys())]

    def get(self, name: str) -> Any:
        """Import and return the part registered under a name.

        Raises ValueError for an unknown name (with a suggestion), for a plugin that cannot be
        imported (with its package's name), and for a name registered by two packages.
        """
        points = self._plugins().get(name, [])
        if len(points) + (name in self.own) > 1:
            packages = [_package(point) for point in points]
            claimed = ", ".join(["dance2music"] * (name in self.own) + packages)
            raise ValueError(
                f"{self.what} {name!r} is registered by several packages: {claimed}; uninstall "
                f"one of them: {' or '.join(packages)}"
            )
        if name in self.own:
            module, _, attribute = self.own[name].partition(":")
            return getattr(import_module(module), attribute)
        if not points:
            raise ValueError(unknown(self.what, name, self.names()))
        try:
            return points[0].load()
        except Exception as error:  # importing a plugin may raise anything
            raise ValueError(
                f"{self.what} {name!r} of the package {_package(points[0])} cannot be imported: "
                f"{type(error).__name__}: {error!s:.300}; repair or uninstall that package"
            ) from error

    def subclass(self, name: str, base: type[T]) -> type[T]:
        """Import and return the class registered under a name, which must be its `name`, too.

        Raises ValueError as `get` does, and if it is no subclass of `base` with that name.
        """
        found = self.get(name)
        right = isinstance(found, type) and issubclass(found, base)
        if not right or getattr(found, "name", "") != name:
            raise ValueError(
                f"{self.what} {name!r}: {found!r:.80} is no subclass of {base.__name__} with that "
                "name; correct its package"
            )
        return found

    def choice(self, *others: str) -> Callable[[str], str]:
        """Return an argparse type that accepts the names and `others` (such as "none")."""

        def chosen(text: str) -> str:
            names = [*self.names(), *others]
            if text not in names:
                raise ArgumentTypeError(unknown(self.what, text, names))
            return text

        return chosen

    def _plugins(self) -> dict[str, list[EntryPoint]]:
        return _entry_points().get(PREFIX + self.kind, {})


def unknown(what: str, name: str, names: Sequence[str]) -> str:
    """Return the message for a name that is not one of `names`."""
    return f"unknown {what} {name!r:.80}; {known(name, names)}"


def known(name: str, names: Sequence[str]) -> str:
    """Return the part of a message that lists all names and suggests the closest one."""
    close = difflib.get_close_matches(name, names, 1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"there are: {', '.join(names) or 'none installed'}{guess}"


@cache
def _entry_points() -> dict[str, dict[str, list[EntryPoint]]]:
    """Return the entry points of this project's groups, by group and name; read once (cached)."""
    found: dict[str, dict[str, list[EntryPoint]]] = {}
    points = (point for package in distributions() for point in package.entry_points)
    for point in (point for point in points if point.group.startswith(PREFIX)):
        same = found.setdefault(point.group, {}).setdefault(point.name, [])
        if all(point.value != other.value for other in same):
            same.append(point)
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
