"""What MoveNet and BlazePose share: a TensorFlow.js graph, found by name and run in batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from model.contract.files import sha256_of
from pipeline.features.runtime import OPENVINO, TORCH, device_of, runner
from pipeline.weights.table import find

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class GraphNetwork:
    """A published network whose outputs are read from its TensorFlow.js graph.

    Args:
        weights: a name of NAMES (from the weights folder), or the path of the graph's JSON file,
            the weights beside it.
        precision: `float32` or `bf16` (autocast).
        batch: pictures per forward pass; the last pass is filled up, because a result must not
            depend on how inputs were grouped. 0 for BATCHES.
        runtime: `torch` or `openvino`.
    """

    NAMES: ClassVar[tuple[str, ...]] = ()
    OUTPUTS: ClassVar[tuple[str, ...]] = ()
    """The graph's nodes whose values are wanted."""
    BATCHES: ClassVar[tuple[int, int]] = (4, 4)
    """Pictures per forward pass on a CPU, and on a GPU."""
    RUNTIMES: ClassVar[tuple[str, ...]] = (OPENVINO,)

    weights: str = ""
    precision: str = "float32"
    batch: int = 0
    device: str = ""
    runtime: str = TORCH
    _net: Any = field(default=None, repr=False)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, saying what to do, where it cannot be used."""
        self._load()

    def weights_id(self) -> str:
        """Return what identifies the weights in a result's key: a hash of their file."""
        return sha256_of(self._path().with_suffix(".bin"))

    def setup(self) -> None:
        """Load the weights and move the network to its device."""
        import torch

        torch.set_num_threads(1)
        self.device = self.device or device_of(self.runtime)
        self.batch = self.batch or self.BATCHES[self.device == "cuda"]
        net = self._load().eval().requires_grad_(False).to(self.device)
        self._net = runner(net, self.runtime, self.precision)

    def heads(self, pictures: np.ndarray, divisor: float) -> list[Tensor]:
        """Return OUTPUTS, float32 (n, C, h, w), of at most `batch` pictures, uint8 (n, H, W, 3).

        The network sees the values divided by `divisor`.
        """
        import torch

        full = np.zeros((self.batch, *pictures.shape[1:]), dtype=np.uint8)
        full[: len(pictures)] = pictures
        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.inference_mode(), autocast:
            x = torch.from_numpy(full).to(self.device).permute(0, 3, 1, 2).float()
            return [head[: len(pictures)].float() for head in self._net(x / divisor)]

    def _path(self) -> Path:
        """Return the JSON file that `weights` names, or raise an error that says how to get it."""
        if self.weights in self.NAMES:
            return find(self.weights).with_suffix(".json")
        path = Path(self.weights)
        if path.suffix != ".json" or not path.is_file():
            raise FileNotFoundError(
                f"--pose-weights {self.weights}: no such file; expected the path of a .json, its "
                ".bin beside it, or one of " + ", ".join(self.NAMES)
            )
        return path

    def _load(self) -> Any:
        from pipeline.features.pose.tfjs import Graph

        return Graph(self._path(), self.OUTPUTS)
