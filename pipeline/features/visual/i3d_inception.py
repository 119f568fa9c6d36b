"""Two-stream Inception-I3D features of a window: one stream for RGB, one for optical flow.

The authors of the paper name github.com/piergiaj/pytorch-i3d as their extractor and released arrays
of 2048 values per 2 s. They do not say how they selected frames. The inputs here are those of the
training of the published weights (github.com/google-deepmind/kinetics-i3d, "Sample data and
preprocessing"): 25 frames a second, shorter side 256, centre 224 x 224, values in [-1, 1]; flow
clipped at 20 px.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from model.contract.files import sha256_of
from pipeline.features.runtime import OPENVINO, TORCH, device_of, runner
from pipeline.features.visual.optical_flow import Flow
from pipeline.weights.table import find, lookup

FPS = 25
RGB, FLOW = "i3d_rgb", "i3d_flow"


@dataclass
class TwoStream:
    """Inception-I3D on RGB (1024 values) and on optical flow (1024 values), concatenated.

    Args:
        weights: `kinetics` (the published files, by name), `untrained` (seeded random weights:
            real shapes and speed, meaningless features) or a folder with the three files under
            their published names.
        flow: the optical flow's model, `raft_large` or `raft_small`.
        precision: `float32` or `bf16` (autocast of the two I3D streams; the flow stays float32).
        batch: clips per forward pass; every pass has exactly this many (the last one is padded
            with zeros), because a result must not depend on how inputs were grouped.
        runtime: `torch` or `openvino`, for the two I3D streams; the flow is torch's.
    """

    DIM: ClassVar[int] = 2048
    SHORT_SIDE_PX: ClassVar[int] = 256
    CROP_PX: ClassVar[int] = 224
    VIDEOS: ClassVar[int] = 1
    """Videos per call: a clip has fifty frames, so one video is enough work and memory."""
    WEIGHTS: ClassVar[str] = "kinetics"
    FLOWS: ClassVar[bool] = True
    """It uses optical flow."""
    RUNTIMES: ClassVar[tuple[str, ...]] = (OPENVINO,)

    weights: str = "kinetics"
    flow: str = "raft_large"
    precision: str = "float32"
    batch: int = 0
    device: str = ""
    runtime: str = TORCH
    _nets: tuple[Any, Any] | None = field(default=None, repr=False)
    _flow: Flow | None = field(default=None, repr=False)

    def clip_frames(self, window_s: Fraction, windows: int) -> int:
        """Return the frames of one clip: T at 25 a second, and one more for the last flow."""
        return round(FPS * window_s / windows) + 1

    def frame_times(self, start_s: Fraction, window_s: Fraction, windows: int) -> list[Fraction]:
        """Return the times of one segment's frames, clip after clip.

        A clip has T equal intervals. Frame t, and the flow from frame t to t + 1, describe
        interval t, so both streams cover the same time. The last frame of a clip is the first of
        the next clip.
        """
        intervals = self.clip_frames(window_s, windows) - 1
        clip_s = window_s / windows
        return [
            start_s + clip_s * (k + Fraction(t, intervals))
            for k in range(windows)
            for t in range(intervals + 1)
        ]

    def check(self, window_s: Fraction, windows: int) -> None:
        """Raise FileNotFoundError or ValueError if clips are too short or the weights invalid."""
        from pipeline.features.visual.inception import MIN_FRAMES

        frames = self.clip_frames(window_s, windows) - 1
        if frames < MIN_FRAMES:
            raise ValueError(
                f"--visual-windows {windows}: clips of {frames} frames, i3d_inception needs at "
                f"least {MIN_FRAMES}; use at most {int(FPS * window_s / MIN_FRAMES)}"
            )
        if self.weights != "untrained":
            TwoStream(self.weights, self.flow, device="cpu").setup()

    def weights_id(self) -> str:
        """Return the id of the weights for a result's key: hashes, or the name of the seed."""
        if self.weights == "untrained":
            return "untrained-seed0"
        return " ".join(f"{name} {sha256_of(path)}" for name, path in self.paths().items())

    def paths(self) -> dict[str, Path]:
        """Return the three weight files by their names in `pipeline weights list`.

        Raises FileNotFoundError, which says how to get missing files.
        """
        names = (RGB, FLOW, self.flow)
        if self.weights == "kinetics":
            try:
                return {name: find(name) for name in names}
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{error}; i3d_inception needs {', '.join(names)}: name a folder with these "
                    "files by --weights DIR, or build with --weights untrained (random features, "
                    "marked as untrained)"
                ) from None
        paths = {name: Path(self.weights) / lookup(name).file for name in names}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"--weights {self.weights}: {', '.join(missing)} not found; i3d_inception needs a "
                "folder with its three files under their published names"
            )
        return paths

    def setup(self) -> None:
        """Load the three networks and move them to their device."""
        import torch

        from pipeline.features.visual import inception

        torch.set_num_threads(1)
        self.device = self.device or device_of(self.runtime)
        self.batch = self.batch or (4 if self.device == "cuda" else 1)
        if self.weights == "untrained":
            nets, path = (inception.untrained(3), inception.untrained(2)), None
        else:
            paths = self.paths()
            nets = inception.load(3, paths[RGB]), inception.load(2, paths[FLOW])
            path = paths[self.flow]
        self._flow = Flow(self.flow, path, self.device)
        self._flow.setup()
        form = torch.channels_last_3d
        still: list[Any] = [net.eval().requires_grad_(False) for net in nets]
        # Any above: torch's annotation of `to` lacks the memory's format.
        rgb, flow = (net.to(self.device, memory_format=form) for net in still)
        self._nets = (
            runner(rgb, self.runtime, self.precision),
            runner(flow, self.runtime, self.precision),
        )

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Return float32 (n, 2048), RGB then flow, for uint8 RGB clips (n, T + 1, S, S, 3).

        T is at least 9. S is a multiple of 8 and at least 128 (the pipeline uses 224). The flow is
        computed clip by clip; at most `batch` flows are in memory.
        """
        if clips.ndim != 5 or clips.shape[4] != 3 or clips.shape[1] < 10:
            raise ValueError(f"clips have shape {clips.shape}, expected (n, 10 or more, S, S, 3)")
        assert self._flow is not None and self._nets is not None, "`setup` comes first"
        features = np.empty((len(clips), self.DIM), dtype=np.float32)
        intervals, *size = clips.shape[1] - 1, *clips.shape[2:4]
        for start in range(0, len(clips), self.batch):
            part = clips[start : start + self.batch]
            frames = np.zeros((self.batch, intervals, *size, 3), dtype=np.uint8)
            frames[: len(part)] = part[:, :-1]
            flows = np.zeros((self.batch, intervals, *size, 2), dtype=np.float32)
            for flow, clip in zip(flows[: len(part)], part, strict=True):
                flow[:] = self._flow(clip)
            rgb = self._run(self._nets[0], frames)
            both = np.concatenate([rgb, self._run(self._nets[1], flows)], axis=1)
            features[start : start + self.batch] = both[: len(part)]
        return features

    def _run(self, net: Any, x: np.ndarray) -> np.ndarray:
        """Return float32 (B, 1024) for (B, T, H, W, C); uint8 values are scaled to [-1, 1]."""
        import torch

        bf16 = self.precision == "bf16"
        autocast = torch.autocast(self.device, dtype=torch.bfloat16, enabled=bf16)
        with torch.inference_mode(), autocast:
            values = torch.from_numpy(x).to(self.device)
            values = values.float() / 127.5 - 1 if x.dtype == np.uint8 else values
            values = values.permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)
            (features,) = net(values)
            return features.float().cpu().numpy()
