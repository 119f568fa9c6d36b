"""Read the arrays of a pickle file without running any code from the file.

A pickle can name any function and call it. numpy's own functions for pickled arrays do not check
sizes that a pickle claims. So these are not called either: an array is first read as a record of
what the file says about it, and only `numbers` turns a record into an array, after checking it.
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
"""The module names of these functions in numpy 1 and numpy 2."""
FORM = re.compile(r"(f[248]|[iu][1248])")


class _Dtype:
    """A record of an array's number type in a pickle, for example `f8`, and its byte order."""

    def __init__(self, form: Any, *rest: Any) -> None:
        self.form, self.order = form, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """A record of an array in a pickle: its shape, number type and bytes."""

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
    """Accepts numpy arrays, as records, and anything that a subclass adds to `known`.

    It derives from the Python version of the unpickler. The C version reserves memory for any
    object number in the file: a file of ten bytes can make it allocate 32 GB.
    """

    def known(self, module: str, name: str) -> Any:
        """Return the substitute for a global name of the pickle; None if the name is not allowed.

        The substitutes are new lambdas, not functions of this module, because a pickle can set
        attributes of the objects that it gets.
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
            raise pickle.UnpicklingError(
                f"it uses {module}.{name}, which is not allowed in such a file"
            )
        return found


def load(data: bytes, kind: type[Unpickler] = Unpickler, encoding: str = "ASCII") -> Any:
    """Return the content of a pickle; its arrays are records for `numbers`.

    `encoding` is that of Python 2 strings. Raises ValueError, which does not name the file.
    """
    try:
        return kind(io.BytesIO(data), encoding=encoding).load()
    except Exception as error:  # a broken pickle can raise any exception
        raise ValueError(f"it cannot be read: {error or type(error).__name__}") from None


def numbers(value: Any) -> np.ndarray:
    """Return a pickled array, or a plain number, as an array of floats or integers.

    Raises ValueError for anything else, such as an array larger than its bytes in the file.
    """
    if isinstance(value, int | float):
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise ValueError(f"expected a number, found the type {array.dtype}")
        return array
    if not isinstance(value, _Array):
        raise ValueError(f"expected an array of numbers, found {type(value).__name__}")
    dtype, shape, data = value.dtype, value.shape, value.data
    form = dtype.form if isinstance(dtype, _Dtype) else None
    if not (isinstance(form, str) and FORM.fullmatch(form) and dtype.order in ("<", ">", "=", "|")):
        raise ValueError(f"expected an array of numbers, found elements of type {form!r:.20}")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"invalid shape of an array: {shape!r:.80}")
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin1")
    kind = np.dtype(form).newbyteorder(dtype.order)
    if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * kind.itemsize:
        found = f"{len(data)} bytes" if isinstance(data, bytes | bytearray) else type(data).__name__
        raise ValueError(f"an array of type {form} and shape {shape} cannot have {found}")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if value.by_column else "C")
    return array.astype(form)


def _latin1(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r:.20}; arrays use latin1")
    return text.encode("latin1")
