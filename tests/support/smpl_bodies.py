"""A made-up body in the layout of SMPL's published files."""

from __future__ import annotations

import copyreg
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import sparse

from pipeline.sources.synthetic.body import OFFSETS_M, PARENTS

PELVIS_M = np.array([0.01, -0.2, 0.03])
"""Where the made-up body's root rests: SMPL's is not at the origin either."""


def body() -> dict[str, np.ndarray]:
    """Return a body of 72 vertices in the published layout: three at the corners of each joint.

    Its rest pose is the synthetic dancer's, so that one's kinematics are the independent truth.
    """
    rng = np.random.default_rng(3)
    joints = np.zeros((24, 3))
    for joint, parent in enumerate(PARENTS):
        joints[joint] = PELVIS_M if parent < 0 else joints[parent] + OFFSETS_M[joint]
    around = rng.normal(size=(24, 3, 3)) * 0.05
    around -= around.mean(1, keepdims=True)
    regressor = np.kron(np.eye(24), np.full((1, 3), 1 / 3))
    tree = np.array([PARENTS, range(24)], dtype=np.int64)
    return {
        "v_template": (joints[:, None] + around).reshape(72, 3),
        "J_regressor": regressor,
        "kintree_table": tree.astype(np.uint32),  # the root's parent is 2**32 - 1, as published
        "weights": np.repeat(np.eye(24), 3, axis=0),
        "posedirs": rng.normal(size=(72, 3, 207)) * 1e-2,
        "shapedirs": rng.normal(size=(72, 3, 10)),
        "f": np.arange(72, dtype=np.uint32).reshape(24, 3),
    }


class Ch:
    """Pickles as chumpy's arrays do under Python 2."""

    def __init__(self, **state: object) -> None:
        self.__dict__.update(state, _dirty_vars=set(), _itr=None)

    def __reduce__(self):
        return copyreg._reconstructor, (type(self), object, None), self.__dict__


class Select(Ch):
    """Pickles as a part of a chumpy array does."""


Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
Select.__module__, Select.__qualname__ = "chumpy.reordering", "Select"


@contextmanager
def fake_chumpy() -> Iterator[None]:
    """Give chumpy's names to the classes above, for as long as a file is written."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
            module = types.ModuleType(name)
            module.Ch, module.Select = Ch, Select
            patch.setitem(sys.modules, name, module)
        yield


def published(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the arrays as SMPL's pickles hold them: chumpy, sparse columns, protocol 2."""
    wide = np.concatenate([arrays["posedirs"], arrays["posedirs"] * 0], axis=2)
    picked = np.arange(wide.size).reshape(wide.shape)[:, :, :207]
    held = arrays | {
        "v_template": Ch(x=arrays["v_template"]),
        "posedirs": Select(a=Ch(x=wide), idxs=picked.ravel(), preferred_shape=(72, 3, 207)),
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "J_regressor_prior": sparse.csr_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
    }
    with fake_chumpy():
        return pickle.dumps(held, protocol=2)
