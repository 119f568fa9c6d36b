"""The motion encoder and the visual module of arch temporal, on the time axis of the music.

Paper, section 3.1. The authors' convolutions slide over feature columns, and their result has no
time axis. Here convolutions slide along time, so that a movement keeps its position in time.
"""

from __future__ import annotations

from torch import Tensor, nn

from model.families.aligned import Standardise, hold_time, resample_time
from model.families.d2m_gan.layers import Conv, Down, residuals

MOTION_RATE_HZ = 16.0
"""The motion encoder halves the frame rate until it is at most this."""


class MotionEncoder(nn.Module):
    """Maps motion (B, T, D), frames of `step_s` seconds, to (B, width, length) on the code grid."""

    def __init__(
        self, features: int, step_s: float, channels: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        layers: list[nn.Module] = [Conv(features, channels, 7), residuals(channels, dilations)]
        width = channels
        while 1 / step_s > MOTION_RATE_HZ:
            layers += [Down(width, 2 * channels), residuals(2 * channels, dilations)]
            width, step_s = 2 * channels, 2 * step_s
        self.layers, self.step_s, self.width = nn.Sequential(*layers), step_s, width

    def forward(self, motion: Tensor, length: int, length_step_s: float) -> Tensor:
        """Map motion (B, T, D) to (B, width, length), with steps of `length_step_s` seconds."""
        x = self.layers(self.standardise(motion).transpose(1, 2))
        return resample_time(x, self.step_s, length, length_step_s)


class VisualModule(nn.Module):
    """Maps visual features (B, W, D), steps of `step_s` seconds, to (B, channels, length).

    With `channels` 0 the features are passed on unchanged, with width D.
    """

    def __init__(self, features: int, step_s: float, channels: int) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.project = Conv(features, channels, 1) if channels else nn.Identity()
        self.step_s, self.width = step_s, channels or features

    def forward(self, visual: Tensor, length: int, length_step_s: float) -> Tensor:
        """Map features (B, W, D) to (B, width, length), with steps of `length_step_s` seconds."""
        x = self.project(self.standardise(visual).transpose(1, 2))
        return hold_time(x, self.step_s, length, length_step_s)
