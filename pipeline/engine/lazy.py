"""A sequence whose items are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Lazy(Sequence[T]):
    """Gives items by number or by slice; a subclass has `__len__` and makes one item."""

    @abstractmethod
    def item(self, at: int) -> T:
        """Return one item; `at` is from 0 to the length less 1."""

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        numbers = range(len(self))[at]
        return self.item(numbers) if isinstance(numbers, int) else [self.item(k) for k in numbers]
