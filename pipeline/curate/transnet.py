"""TransNetV2: for each frame, how likely it belongs to the transition between two shots.

The network of T. Souček and J. Lokoč, "TransNet V2: An effective deep network architecture for fast
shot transition detection" (arXiv 2008.04838), in the sizes that they published. Its modules have
the names of the published weights (`pipeline weights fetch transnetv2`).

Legend: B batch, T frames, C channels, H 27 and W 48 the size of a frame, n frames of a video.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize, pad, relu

from pipeline.curate.detector import WEIGHTS
from pipeline.weights.table import find, refusal

SIZE_PX = (48, 27)
"""Width and height of a frame, whatever its shape was."""
WINDOW, STEP = 100, 50
"""The network sees 100 frames at once; the answers to the middle 50 count."""
MARGIN = (WINDOW - STEP) // 2
NEIGHBOURS = 50
"""A frame is compared with as many frames before it and after it."""
DILATIONS = (1, 2, 4, 8)
FILTERS = (16, 32, 64)


class TransNetV2(nn.Module):
    """Three stacks of dilated convolutions, and two comparisons of each frame with its neighbours.

    Called with uint8 (B, T, 27, 48, 3) RGB, it returns two logits per frame, each float32 (B, T):
    that this is the one middle frame of a transition, and that it is any frame of one.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *(4 * filters for filters in FILTERS))
        self.SDDCNN = nn.ModuleList(map(Stack, inputs, FILTERS))
        self.frame_sim_layer = FrameSimilarity(sum(inputs[1:]))
        self.color_hist_layer = ColourHistograms()
        seen = inputs[-1] * (SIZE_PX[1] // 8) * (SIZE_PX[0] // 8) + 2 * 128
        self.fc1 = nn.Linear(seen, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = frames.permute(0, 4, 1, 2, 3).float() / 255
        stages = []
        for stack in self.SDDCNN:
            x = stack(x)
            stages.append(x.mean((3, 4)))
        places = x.permute(0, 2, 3, 4, 1).flatten(2)
        likeness = self.frame_sim_layer(torch.cat(stages, 1).transpose(1, 2))
        joined = torch.cat([self.color_hist_layer(frames), likeness, places], 2)
        y = relu(self.fc1(joined))
        return self.cls_layer1(y)[..., 0], self.cls_layer2(y)[..., 0]


class Stack(nn.Module):
    """Two dilated blocks with a shortcut, (B, C, T, H, W); H and W are halved."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([Dilated(inputs, filters), Dilated(4 * filters, filters)])
        self.pool = nn.AvgPool3d((1, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = relu(self.DDCNN[0](x))
        return self.pool(first + relu(self.DDCNN[1](first)))


class Dilated(nn.Module):
    """Convolutions over space, then over time at four dilations beside each other."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", Convolution(inputs, filters, dilation))
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.get_submodule(f"Conv3D_{dilation}")(x) for dilation in DILATIONS]
        return self.bn(torch.cat(branches, 1))


class Convolution(nn.Module):
    """A 3x3 convolution over space, then one of three frames over time."""

    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        space = nn.Conv3d(inputs, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        time = nn.Conv3d(2 * filters, filters, (3, 1, 1), dilation=(dilation, 1, 1),
                         padding=(dilation, 0, 0), bias=False)  # fmt: skip
        self.layers = nn.Sequential(space, time)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class FrameSimilarity(nn.Module):
    """Compare the features (B, T, C) of each frame with its neighbours': (B, T, 128)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, 128)
        self.fc = nn.Linear(2 * NEIGHBOURS + 1, 128)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return relu(self.fc(likeness(self.projection(features))))


class ColourHistograms(nn.Module):
    """Compare the colours of each frame, in 8 x 8 x 8 bins, with its neighbours': (B, T, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * NEIGHBOURS + 1, 128)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        coarse = (frames >> 5).long()
        bins = (coarse[..., 0] << 6) + (coarse[..., 1] << 3) + coarse[..., 2]
        counts = torch.zeros(*bins.shape[:2], 512, device=frames.device)
        counts.scatter_add_(2, bins.flatten(2), torch.ones_like(bins, dtype=torch.float).flatten(2))
        return relu(self.fc(likeness(counts)))


def likeness(vectors: torch.Tensor) -> torch.Tensor:
    """Return the cosine between each frame's vector and its neighbours': (B, T, 101).

    `vectors` is (B, T, C). Entry 50 is the frame itself; it is 0 beyond the first and last frame.
    """
    unit = normalize(vectors, dim=2)
    every = pad(unit @ unit.transpose(1, 2), (NEIGHBOURS, NEIGHBOURS))
    return torch.stack(
        [every[:, t, t : t + 2 * NEIGHBOURS + 1] for t in range(every.shape[1])], dim=1
    )


def load_published() -> TransNetV2:
    """Return the network with the published weights, for one thread.

    Raises FileNotFoundError or ValueError, with advice, if they are not there or not right.
    """
    torch.set_num_threads(1)  # each worker has a core
    return load(find(WEIGHTS))


def load(path: Path) -> TransNetV2:
    """Return the network with the weights of a file.

    Raises ValueError if they are not those of this network.
    """
    net = TransNetV2()
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{path}: {refusal(error)}; fetch {WEIGHTS} again") from None
    return net.eval()


def small_frames(frames: np.ndarray) -> np.ndarray:
    """Return RGB frames (n, h, w, 3) in the size of the network, uint8 (n, 27, 48, 3)."""
    import cv2

    return np.stack([cv2.resize(f, SIZE_PX, interpolation=cv2.INTER_AREA) for f in frames])


@torch.inference_mode()
def transitions(
    net: TransNetV2, frames: np.ndarray, first: int = 0, stop: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return how likely each frame is the middle of a transition, and any frame of one.

    Args:
        net: in evaluation mode.
        frames: uint8 (n, 27, 48, 3), RGB. The first and last one are repeated where the network
            wants to see frames beyond them.
        first: the first frame for which the answer is needed.
        stop: the frame after the last one; None: n.

    Returns:
        Two arrays float32 (stop - first,), probabilities from 0 to 1.
    """
    stop = len(frames) if stop is None else stop
    answers: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for start in range(first, stop, STEP):
        seen = np.clip(np.arange(start - MARGIN, start - MARGIN + WINDOW), 0, len(frames) - 1)
        for answer, logits in zip(answers, net(torch.from_numpy(frames[seen])[None]), strict=True):
            answer.append(torch.sigmoid(logits[0, MARGIN : MARGIN + STEP]).numpy())
    middle, within = (np.concatenate(answer)[: stop - first] for answer in answers)
    return middle, within
