"""Optical flow between consecutive frames, by torchvision's RAFT, as input of Inception-I3D.

Sources: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020;
clipping and scale from github.com/google-deepmind/kinetics-i3d ("Sample data and preprocessing"),
which uses TV-L1 flow. RAFT is faster and more exact, but I3D was not trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from pipeline.weights.table import refusal

LIMIT_PX = 20
"""Movement is clipped to this many pixels per frame; the result is divided by it."""
MIN_SIDE_PX, MULTIPLE_PX = 128, 8
"""RAFT needs these because of its four-level pyramid at an eighth of the size."""


@dataclass
class Flow:
    """RAFT over the frames of one clip.

    Args:
        model: `raft_large` or `raft_small` (about a quarter of the computation, less exact).
        path: its published weight file, or None for seeded random weights.
        device: `cpu` or `cuda`.
        pairs: frame pairs per forward pass; every pass has exactly this many (the last is padded
            with zeros), because a result must not depend on how many frames a clip has.
    """

    model: str
    path: Path | None
    device: str = "cpu"
    pairs: int = 0
    _net: Any = field(default=None, repr=False)

    def setup(self) -> None:
        """Load the weights. Raises ValueError, which names the file, if they do not fit."""
        import torch
        from torchvision.models import optical_flow

        self.pairs = self.pairs or (16 if self.device == "cuda" else 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = getattr(optical_flow, self.model)(weights=None)
        if self.path is not None:
            try:
                net.load_state_dict(torch.load(self.path, map_location="cpu", weights_only=True))
            except (RuntimeError, TypeError, AttributeError, EOFError, UnpicklingError) as error:
                raise ValueError(
                    f"{self.path}: not the weights of {self.model} from torchvision: "
                    f"{refusal(error)}; fetch them: pipeline weights fetch {self.model}"
                ) from None
        self._net = net.eval().requires_grad_(False).to(self.device)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return float32 (T, H, W, 2) in [-1, 1] for uint8 RGB frames (T + 1, H, W, 3).

        Field t is the movement of each pixel from frame t to frame t + 1: to the right, then down,
        in units of 20 pixels. H and W are multiples of 8, at least 128.
        """
        import torch

        height, width = frames.shape[1:3]
        if min(height, width) < MIN_SIDE_PX or height % MULTIPLE_PX or width % MULTIPLE_PX:
            raise ValueError(
                f"frames of {width}x{height} px: RAFT needs multiples of {MULTIPLE_PX}, at least "
                f"{MIN_SIDE_PX}"
            )
        count = len(frames) - 1
        flows = np.empty((count, height, width, 2), dtype=np.float32)
        both = np.zeros((2, self.pairs, height, width, 3), dtype=np.uint8)
        with torch.inference_mode():
            for start in range(0, count, self.pairs):
                found = min(self.pairs, count - start)
                both[:, found:] = 0
                both[0, :found] = frames[start : start + found]
                both[1, :found] = frames[start + 1 : start + 1 + found]
                x = torch.from_numpy(both).to(self.device).permute(0, 1, 4, 2, 3)
                first, second = (x.float() / 127.5 - 1).contiguous()
                flow = self._net(first, second)[-1].clamp(-LIMIT_PX, LIMIT_PX) / LIMIT_PX
                flows[start : start + found] = flow[:found].permute(0, 2, 3, 1).cpu().numpy()
        return flows
