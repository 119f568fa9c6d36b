"""Compute joint positions from AIST++ annotations with an SMPL body: 24 joints at 60 fps.

AIST++ fits the joint angles, one scale and the positions of the root; the body has the mean shape
of the model (github.com/google/aistplusplus_api, issue 9). A joint is at scale x (SMPL's joint) +
(root position), in the unit of the scene. Here, as in the `smpl` layout, everything is divided by
the scale, so the unit is metres.

Legend: T motion frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.features.motion.smpl_model import check_body_model, load_body_model
from pipeline.features.motion.smpl_rotations import JOINTS, SmplRotations, read_annotation

DIM = 3 * JOINTS
BATCH = 64
"""Frames computed at once: about 200 MB with the 6890 vertices of SMPL."""


@dataclass
class SmplJointPlaces(SmplRotations):
    """`--motion smpl-joints`: the same files, as joint positions of the user's body model."""

    LAYOUT: ClassVar[str] = "smpl-joints"
    DIM: ClassVar[int] = DIM
    BODY_MODEL: ClassVar[bool] = True
    """The class is called with the user's file."""

    smpl_model: Path | None = None
    _body: SmplJoints | None = field(default=None, repr=False)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, with advice, if the file is missing or invalid."""
        check_body_model(self.smpl_model)

    def setup(self) -> None:
        """Load the body model."""
        assert self.smpl_model is not None, "`check` raises without it"
        self._body = SmplJoints(self.smpl_model)
        self._body.setup()

    def load_motion(self, path: Path) -> np.ndarray:
        assert self._body is not None, "`setup` comes first"
        return self._body.load_motion(path)


@dataclass
class SmplJoints:
    """Forward kinematics by the smplx package, with the user's model file."""

    path: Path
    _body: Any = field(default=None, repr=False)

    def setup(self) -> None:
        """Load the model. Raises FileNotFoundError or ValueError, with advice."""
        import torch
        from smplx import SMPL
        from smplx.utils import Struct

        torch.set_num_threads(1)
        model = load_body_model(self.path)
        data = Struct(
            v_template=model.template,
            J_regressor=model.regressor,
            kintree_table=np.stack([model.parents, np.arange(JOINTS)]),
            weights=model.weights,
            posedirs=model.pose_shapes,
            f=model.faces,
            # The body shape is never changed: this is a view of one zero, as wide as smplx needs.
            shapedirs=np.broadcast_to(0.0, (*model.template.shape, SMPL.SHAPE_SPACE_DIM)),
        )
        # smplx adds some vertices (by index) to the joints; they are not used here.
        face = dict.fromkeys(("nose", "reye", "leye", "rear", "lear"), 0)
        self._body = SMPL(
            "",
            data_struct=data,
            num_betas=1,
            create_betas=False,
            create_body_pose=False,
            create_global_orient=False,
            create_transl=False,
            vertex_ids=face,
            use_hands=False,
            use_feet_keypoints=False,
            dtype=torch.float64,
        )

    def load_motion(self, path: Path) -> np.ndarray:
        """Return the joints of an AIST++ pickle, float32 (T, 72): x, y, z of each in metres.

        As in SMPL, the root's position includes its rest position in the model. The axes are those
        of the annotation. Raises StageError `missing_motion` or `bad_motion`.
        """
        poses, place = read_annotation(path)
        return self(poses, place).astype(np.float32)

    def __call__(self, poses: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return joint positions (T, 72).

        `poses` are axis-angle rotations (T, 72) in radians, `place` root positions (T, 3).
        """
        import torch

        joints = np.empty((len(poses), DIM))
        with torch.inference_mode():
            for start in range(0, len(poses), BATCH):
                pose = torch.from_numpy(poses[start : start + BATCH]).double()
                found = self._body(
                    betas=torch.zeros(len(pose), 1, dtype=torch.float64),
                    global_orient=pose[:, :3],
                    body_pose=pose[:, 3:],
                    transl=torch.from_numpy(place[start : start + BATCH]).double(),
                    return_verts=False,
                ).joints[:, :JOINTS]
                joints[start : start + BATCH] = found.reshape(len(pose), DIM).numpy()
        return joints
