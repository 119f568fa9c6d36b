"""Read a published SMPL body model file without running any code from the file.

The files (https://smpl.is.tue.mpg.de; every user needs a licence) are Python 2 pickles of numpy
arrays, scipy sparse matrices and chumpy expressions; newer ones are .npz. A pickle can call any
function, so it is read by an unpickler that accepts numpy arrays and keeps the other two kinds of
objects as records. Source of the layout: Loper et al., "SMPL: A Skinned Multi-Person Linear Model",
2015, and the chumpy package (`Ch` has its values in `x`; `Select` selects entries of a flattened
`a`).

Legend: V vertices, J joints, F faces.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.files import sha256_of
from pipeline.features.motion import safe_pickle as plain_pickle
from pipeline.features.motion.smpl_rotations import JOINTS
from pipeline.weights.table import SMPL_PAGE

HOW = (
    "name your own licensed file with --smpl-model FILE: SMPL_MALE.pkl or "
    f"basicmodel_m_lbs_10_207_0_v1.1.0.pkl, from {SMPL_PAGE} (register, accept the terms, download "
    "SMPL for Python); AIST++ was fitted with the male model"
)
NPZ_BYTES, SPARSE_CELLS = 1 << 30, 1 << 24
"""Limits that no SMPL model exceeds; a compressed file could declare any size."""
MEMBERS = ("v_template", "J_regressor", "kintree_table", "weights", "posedirs", "f")


@dataclass(frozen=True)
class BodyModel:
    """The data that a pose needs, in metres; the body shape is the mean shape of the file.

    `template` (V, 3), `regressor` (24, V) from vertices to joints, `parents` (24,) with -1 for the
    root, `weights` (V, 24), `pose_shapes` (V, 3, 207), `faces` (F, 3).
    """

    template: np.ndarray
    regressor: np.ndarray
    parents: np.ndarray
    weights: np.ndarray
    pose_shapes: np.ndarray
    faces: np.ndarray


def load_body_model(path: Path) -> BodyModel:
    """Read a .pkl or .npz file of SMPL.

    Raises FileNotFoundError, or ValueError if it is not an SMPL model. The message says where to
    get one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--smpl-model {path}: no such file; {HOW}")
    try:
        raw = _read(path)
        model = BodyModel(
            template=_array(raw, "v_template", float),
            regressor=_array(raw, "J_regressor", float),
            parents=_parents(_array(raw, "kintree_table", np.int64)),
            weights=_array(raw, "weights", float),
            pose_shapes=_array(raw, "posedirs", float),
            faces=_array(raw, "f", np.int64),
        )
        _check(model)
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"--smpl-model {path}: not a valid SMPL body model: {error}; {HOW}"
        ) from None
    return model


def check_body_model(path: Path | None) -> None:
    """Raise FileNotFoundError or ValueError, with advice, if the file is missing or invalid."""
    if path is None:
        raise ValueError(f"--motion smpl-joints needs an SMPL body model; {HOW}")
    load_body_model(path)


def body_model_id(path: Path) -> str:
    """Return the id of the model for the key of a result: the hash of its file."""
    return sha256_of(path)


class _Record:
    """Replaces an object of chumpy or scipy: keeps the name of its class and its fields."""

    kind = ""
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(plain_pickle.Unpickler):
    """Accepts numpy arrays and sets; keeps objects of chumpy and scipy.sparse as records."""

    def known(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy" or module.startswith("scipy.sparse"):
            return type(name, (_Record,), {"kind": f"{module}.{name}"})
        plain = {
            ("copy_reg", "_reconstructor"): lambda kind, base, state: _rebuild(kind),
            ("copyreg", "_reconstructor"): lambda kind, base, state: _rebuild(kind),
            ("__builtin__", "object"): object,
            ("builtins", "object"): object,
            ("__builtin__", "set"): set,
            ("builtins", "set"): set,
        }
        return plain.get((module, name)) or super().known(module, name)


def _rebuild(kind: Any) -> _Record:
    """Return an empty record, as Python 2 creates an object before it sets its fields."""
    if not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise pickle.UnpicklingError(f"it creates a {kind!r}, which is not allowed in a body model")
    return kind()


def _read(path: Path) -> Mapping[str, Any]:
    data = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(data)):
        return _read_npz(data)
    raw = plain_pickle.load(data, _Unpickler, encoding="latin1")
    if not isinstance(raw, Mapping):
        raise ValueError(f"it contains a {type(raw).__name__}, expected a table of arrays")
    return raw


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            sizes = {info.filename: info.file_size for info in arrays.zip.infolist()}
            names = [name for name in MEMBERS if name in arrays.files]
            if (size_bytes := sum(sizes[f"{name}.npy"] for name in names)) > NPZ_BYTES:
                raise ValueError(
                    f"its arrays declare {size_bytes} bytes, expected at most {NPZ_BYTES}"
                )
            return {name: arrays[name] for name in names}
    except Exception as error:  # as with a pickle, a broken file can raise any exception
        raise ValueError(f"it cannot be read: {error!r:.300}") from None


def _array(raw: Mapping[str, Any], name: str, dtype: type) -> np.ndarray:
    if name not in raw:
        raise ValueError(f"the array {name} is missing; found: {', '.join(sorted(map(str, raw)))}")
    value = _dense(raw[name], name)
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise ValueError(
            f"{name} has type {value.dtype} or values that are not finite; expected finite numbers"
        )
    return value.astype(dtype)


def _dense(value: Any, name: str) -> np.ndarray:
    """Convert a record to the array that it describes."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, _Record):
        return plain_pickle.numbers(value)
    state = value.state if isinstance(value.state, Mapping) else {}
    form = value.kind.rsplit(".", 1)[-1]
    if form == "Ch" and "x" in state:
        return _dense(state["x"], name)
    if form == "Select" and {"a", "idxs", "preferred_shape"} <= state.keys():
        picked = np.ravel(_dense(state["a"], name))[plain_pickle.numbers(state["idxs"])]
        return picked.reshape(tuple(int(n) for n in state["preferred_shape"]))
    if form in ("csc_matrix", "csr_matrix") and {"data", "indices", "indptr"} <= state.keys():
        return _sparse(state, by_column=form == "csc_matrix")
    raise ValueError(f"{name} is a {value.kind}, which is not supported")


def _sparse(state: Mapping[str, Any], by_column: bool) -> np.ndarray:
    """Convert a sparse array of compressed columns (or rows) to a dense one."""
    rows, columns = (int(n) for n in state.get("_shape", state.get("shape")))
    starts, places, values = (
        plain_pickle.numbers(state[name]) for name in ("indptr", "indices", "data")
    )
    counts = np.diff(starts)
    if not (0 <= rows * columns <= SPARSE_CELLS) or len(counts) != (columns if by_column else rows):
        raise ValueError(
            f"invalid sparse array: {rows} x {columns} in {len(counts)} rows or columns"
        )
    if counts.min(initial=0) < 0 or counts.sum() != len(places) or places.min(initial=0) < 0:
        raise ValueError(
            f"invalid sparse array: its index does not match its {len(places)} numbers"
        )
    lines = np.repeat(np.arange(len(counts)), counts)
    dense = np.zeros((rows, columns))
    np.add.at(dense, (places, lines) if by_column else (lines, places), values)
    return dense


def _parents(tree: np.ndarray) -> np.ndarray:
    """Return the parents (24,) from the published (2, 24) table; the root gets -1."""
    if tree.shape != (2, JOINTS):
        joints = tree.shape[-1] if tree.ndim else 0
        raise ValueError(
            f"kintree_table has {joints} joints, expected {JOINTS}: use SMPL, not SMPL-H, SMPL-X "
            "or MANO"
        )
    parents = tree[0].copy()
    parents[0] = -1
    if not all(0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise ValueError("kintree_table is not a valid tree: a joint comes before its parent")
    return parents


def _check(model: BodyModel) -> None:
    vertices = len(model.template)
    expected = {
        "template": (vertices, 3),
        "regressor": (JOINTS, vertices),
        "weights": (vertices, JOINTS),
        "pose_shapes": (vertices, 3, 9 * (JOINTS - 1)),
    }
    for name, shape in expected.items():
        found = getattr(model, name)
        if found.shape != shape:
            raise ValueError(f"{name} has shape {found.shape}, expected {shape}")
    faces = model.faces
    if faces.shape != (len(faces), 3) or not ((0 <= faces) & (faces < vertices)).all():
        raise ValueError(f"f is {faces.shape}, expected (F, 3) indices of the {vertices} vertices")
