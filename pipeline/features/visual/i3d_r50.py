"""Visual features of a window by I3D ResNet-50."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np

from model.contract.files import sha256_of
from model.contract.precision import FLOAT32
from pipeline.features.runtime import OPENVINO, TORCH, device_of, each_batch, runner
from pipeline.features.torch_on_cpu import by_onednn
from pipeline.weights.table import find, refusal

FRAMES = 8
"""Frames per clip of PyTorchVideo's `i3d_r50` (8x8 setting), spread evenly over the window."""
MEAN, STD = 0.45, 0.225


@dataclass
class I3D:
    """PyTorchVideo's I3D ResNet-50 without its head: pooled 2048-d features.

    Args:
        weights: `kinetics` (the PyTorchVideo model zoo's file, in the weights folder), `untrained`
            (seeded random weights: real shapes and speed, meaningless features) or a path.
        precision: `float32` or `bf16` (autocast; the error is about 0.5 % of the feature scale).
        batch: clips per forward pass; every pass has exactly this many (the last one is padded
            with zeros), because a result must not depend on how inputs were grouped.
        runtime: `torch` or `openvino`.
    """

    DIM: ClassVar[int] = 2048
    SHORT_SIDE_PX: ClassVar[int] = 256
    CROP_PX: ClassVar[int] = 224
    VIDEOS: ClassVar[int] = 4
    """Videos per call."""
    WEIGHTS: ClassVar[str] = "kinetics"
    RUNTIMES: ClassVar[tuple[str, ...]] = (OPENVINO,)

    weights: str = "kinetics"
    precision: str = "float32"
    batch: int = 0
    device: str = ""
    runtime: str = TORCH
    _net: Any = field(default=None, repr=False)

    def clip_frames(self, window_s: Fraction, windows: int) -> int:
        """Return the number of frames of a clip; it does not depend on the clip's length."""
        return FRAMES

    def frame_times(self, start_s: Fraction, window_s: Fraction, windows: int) -> list[Fraction]:
        """Return the times of the frames of one segment: `windows` x 8, each mid-interval."""
        count = windows * FRAMES
        return [start_s + window_s * (2 * i + 1) / (2 * count) for i in range(count)]

    def check(self, window_s: Fraction, windows: int) -> None:
        """Raise FileNotFoundError or ValueError, which names the file, for unusable weights."""
        if self.weights != "untrained":
            I3D(self.weights, device="cpu").setup()

    def weights_id(self) -> str:
        """Return the id of the weights for a result's key: a hash, or the name of the seed."""
        if self.weights == "untrained":
            return "untrained-seed0"
        return sha256_of(weights_path(self.weights))

    def setup(self) -> None:
        """Load the weights and move the network to its device."""
        import torch
        from pytorchvideo.models.hub import i3d_r50

        torch.set_num_threads(1)
        self.device = self.device or device_of(self.runtime)
        self.batch = self.batch or (16 if self.device == "cuda" else 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net: Any = i3d_r50(pretrained=False)
        if self.weights != "untrained":
            path = weights_path(self.weights)
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                net.load_state_dict(state.get("model_state", state))
            except (
                *(RuntimeError, KeyError, TypeError, AttributeError, EOFError),
                UnpicklingError,
            ) as error:
                raise ValueError(
                    f"{path}: not the weights of i3d_r50 from PyTorchVideo: "
                    f"{refusal(error)}; fetch them: pipeline weights fetch i3d_r50"
                ) from None
        net.blocks = net.blocks[:-1]
        net = torch.nn.Sequential(*net.blocks).eval().requires_grad_(False)
        net = net.to(self.device, memory_format=torch.channels_last_3d)
        if (self.device, self.runtime, self.precision) == ("cpu", TORCH, FLOAT32):
            net = by_onednn(net)
        self._net = runner(net, self.runtime, self.precision)

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Return float32 (n, 2048) for uint8 RGB clips (n, 8, 224, 224, 3).

        Source: Carreira and Zisserman 2017 (I3D); PyTorchVideo model zoo for mean and deviation.
        """
        if clips.shape[1:] != (FRAMES, self.CROP_PX, self.CROP_PX, 3):
            raise ValueError(f"clips have shape {clips.shape}, expected (n, 8, 224, 224, 3)")
        none = np.empty((0, self.DIM), dtype=np.float32)
        found = each_batch(self._some, clips, self.batch, self.runtime, self.device)
        return np.concatenate([none, *found])

    def _some(self, clips: np.ndarray) -> np.ndarray:
        """Return features (n, 2048) of at most `batch` clips; a pass is filled up to `batch`."""
        import torch

        full = np.zeros((self.batch, *clips.shape[1:]), dtype=np.uint8)
        full[: len(clips)] = clips
        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.inference_mode(), autocast:
            x = torch.from_numpy(full).to(self.device).permute(0, 4, 1, 2, 3)
            x = (x.float() / 255 - MEAN) / STD
            (x,) = self._net(x.contiguous(memory_format=torch.channels_last_3d))
            return x.float().mean((2, 3, 4)).cpu().numpy()[: len(clips)]


def weights_path(weights: str) -> Path:
    """Return the file of `weights`; the error for a missing one says how to get it."""
    if weights != "kinetics":
        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(f"--weights {weights}: no such file")
        return path
    try:
        return find("i3d_r50")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; or name another file with --weights PATH, or build with --weights untrained "
            "(random features, marked as untrained)"
        ) from None
