"""Read the numbers of a pickle without running anything that it says.

A pickle can name any function and call it, and numpy's own functions for arrays believe what a
pickle tells them about memory. So nothing of numpy's is called either: arrays become records of
what the file says of them, and only `numbers` makes an array of one, after checking it.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

CORES = ("numpy.core", "numpy._core")
"""Where numpy 1 and numpy 2 say that their functions are."""
FORM = re.compile(r"(f[248]|[iu][1248])")


class _Dtype:
    """What a pickle says of an array's numbers: `f8` and the order of their bytes."""

    def __init__(self, form: Any, *rest: Any) -> None:
        self.form, self.order = form, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """What a pickle says of an array: a shape, a kind of numbers, their bytes."""

    shape: Any = ()
    dtype: Any = None
    by_column: Any = False
    data: Any = b""

    def __setstate__(self, state: Any) -> None:
        self.shape, self.dtype, self.by_column, self.data = state[-4:]

    @classmethod
    def of(cls, *state: Any) -> _Array:
        array = cls()
        array.__setstate__(state)
        return array


class Unpickler(pickle._Unpickler):
    """Knows numpy's arrays, as records, and what a subclass adds to `known`.

    It is the one that is written in Python: the one in C makes room for every number that a file
    gives to an object, which is 32 GB for ten bytes.
    """

    def known(self, module: str, name: str) -> Any:
        """Return what stands for a global, None for one that no such file needs.

        Not a function of ours itself: a pickle can set attributes of what it gets.
        """
        top, _, inner = module.rpartition(".")
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        if (module, name) == ("numpy", "dtype"):
            return lambda *state: _Dtype(*state)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: _latin1(text, encoding)
        calls: Mapping[tuple[str, str], Callable[..., _Array]] = {
            ("multiarray", "_reconstruct"): lambda kind, shape, code: _Array(),
            ("multiarray", "scalar"): lambda dtype, data: _Array.of((), dtype, False, data),
            ("numeric", "_frombuffer"): lambda data, dtype, shape, order: _Array.of(
                shape, dtype, order == "F", data
            ),
        }
        return calls.get((inner, name)) if top in CORES else None

    def find_class(self, module: str, name: str) -> Any:
        if (found := self.known(module, name)) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no such file needs")
        return found


def load(data: bytes, kind: type[Unpickler] = Unpickler, encoding: str = "ASCII") -> Any:
    """Return what a pickle holds; its arrays are for `numbers`.

    `encoding` is of Python 2's strings. Raises ValueError, which does not name the file.
    """
    try:
        return kind(io.BytesIO(data), encoding=encoding).load()
    except Exception as error:  # a broken pickle can raise anything; all of it means one thing
        raise ValueError(f"it cannot be read: {error or type(error).__name__}") from None


def numbers(value: Any) -> np.ndarray:
    """Return a pickled array, or a plain number, as an array of floats or integers.

    Raises ValueError for anything else, such as an array larger than its bytes in the file.
    """
    if isinstance(value, int | float):
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"no number that an array holds: {array.dtype}")
        return array
    if not isinstance(value, _Array):
        raise ValueError(f"no array of numbers, but {type(value).__name__}")
    dtype, shape, data = value.dtype, value.shape, value.data
    form = dtype.form if isinstance(dtype, _Dtype) else None
    if not (isinstance(form, str) and FORM.fullmatch(form) and dtype.order in ("<", ">", "=", "|")):
        raise ValueError(f"no array of numbers, but of {form!r:.20}")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"no shape of an array: {shape!r:.80}")
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin1")
    kind = np.dtype(form).newbyteorder(dtype.order)
    if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * kind.itemsize:
        held = f"{len(data)} bytes" if isinstance(data, bytes | bytearray) else type(data).__name__
        raise ValueError(f"{form} {shape} made of {held}")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if value.by_column else "C")
    return array.astype(form)


def _latin1(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r:.20}, no array does")
    return text.encode("latin1")
