"""A feature: mean and spread of the picture's brightness."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from model.contract.options import option
from pipeline.features.base import SegmentArray
from pipeline.media.reader import FrameRequest, read_frames


@dataclass(frozen=True)
class Brightness(SegmentArray):
    """Mean and spread of the picture's brightness, 0 to 255."""

    name: ClassVar[str] = "brightness"
    shape: ClassVar[tuple[int, ...]] = (2,)

    looks: int = option(4, "frames looked at in each segment", flag="bright-looks", type=int)

    def check(self, window_s):
        if self.looks < 1:
            raise ValueError(f"--bright-looks {self.looks}: expected 1 or more")

    def compute(self, video: Path, windows, loaded):
        times_s = [
            start_s + (stop_s - start_s) * i / self.looks
            for start_s, stop_s in windows
            for i in range(self.looks)
        ]
        frames = read_frames(video, {"all": FrameRequest(times_s, 32)})["all"]
        values = frames.reshape(len(windows), -1).astype(np.float32)
        return np.stack([values.mean(1), values.std(1)], axis=1)
