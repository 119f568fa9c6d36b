"""Detect persons in frames with a torchvision detector.

Legend: n frames, H height, W width, P persons.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np

from model.contract.files import sha256_of
from pipeline.features.pose.base import MIN_SCORE
from pipeline.features.runtime import OPENVINO, TORCH, Compiled, device_of
from pipeline.weights.table import find, refusal

NAMES = ("fasterrcnn_mobilenet", "fasterrcnn_resnet50")
SMALL = "fcos_small"
"""An FCOS with 0.8 M weights, trained by `python -m pipeline.features.pose.train_small`."""
PERSON = 1
"""The class of persons in COCO."""
SMALL_SIDE_PX = 160


@dataclass
class Detector:
    """Detects the boxes of persons in frames.

    Args:
        weights: `fasterrcnn_mobilenet` or `fasterrcnn_resnet50` (COCO, from the weights folder),
            `untrained` (seeded random weights of the first one; its boxes are meaningless), or a
            path: a torchvision file of one of them, or safetensors of
            `pipeline.features.pose.train_small`.
        precision: `float32` or `bf16` (autocast).
        runtime: `torch`, or `openvino` for the backbone, which is most of the work; torch selects
            the boxes and looks at each.
    """

    RUNTIMES: ClassVar[tuple[str, ...]] = (OPENVINO,)

    weights: str = NAMES[0]
    precision: str = "float32"
    device: str = ""
    runtime: str = TORCH
    _net: Any = field(default=None, repr=False)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError, which names the file, for unusable weights."""
        check_weights(self.weights)

    def weights_id(self) -> str:
        """Return the id of the weights for a result's key: a hash, or the name of the seed."""
        return weights_id(self.weights)

    def setup(self) -> None:
        """Load the weights and move the network to its device."""
        import torch

        torch.set_num_threads(1)
        self.device = self.device or device_of(self.runtime)
        self._net = load(self.weights).eval().requires_grad_(False).to(self.device)
        if self.runtime == OPENVINO:
            self._net.backbone = compiled_backbone(self._net.backbone, self.precision)

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """Return for each RGB frame, uint8 (n, H, W, 3), float32 (P, 5): x0, y0, x1, y1, score."""
        import torch

        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.inference_mode(), autocast:
            pictures = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 255
            answers = self._net(list(pictures))
        found = []
        for answer in answers:
            person = (answer["labels"] == PERSON) & (answer["scores"] >= MIN_SCORE)
            rows = torch.cat([answer["boxes"], answer["scores"][:, None]], 1)[person]
            found.append(rows.float().cpu().numpy())
        return found


def load(weights: str) -> Any:
    """Return the torchvision module of `weights`; ValueError for an invalid file."""
    import torch
    from safetensors import SafetensorError, safe_open

    if weights == "untrained":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return faster_rcnn(NAMES[0])
    path = weights_path(weights)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {}).get("detector", "{}"))
                state = {name: file.get_tensor(name).float() for name in file.keys()}
            if facts.get("architecture") != SMALL:
                raise ValueError(f"its metadata do not name a detector of this project: {facts}")
            net = small_fcos()
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            net = faster_rcnn(NAMES["backbone.body.layer1.0.conv1.weight" in state])
        net.load_state_dict(state)
    except (
        *(RuntimeError, KeyError, TypeError, AttributeError, EOFError, ValueError),
        *(UnpicklingError, SafetensorError),
    ) as error:
        raise ValueError(
            f"{path}: not weights of a person detector: {refusal(error)}; fetch them: "
            f"pipeline weights fetch {NAMES[0]}"
        ) from None
    return net


def weights_path(weights: str) -> Path:
    """Return the file of `weights`; the error for a missing one says how to get it."""
    if weights in NAMES:
        return find(weights)
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"--detector {weights}: no such file; expected a path, untrained or one of "
            + ", ".join(NAMES)
        )
    return path


def check_weights(weights: str) -> None:
    """Raise FileNotFoundError or ValueError, which names the file, for unusable weights."""
    load(weights)


def weights_id(weights: str) -> str:
    """Return the id of the weights for a result's key: a hash, or the name of the seed."""
    if weights == "untrained":
        return "untrained-seed0"
    return sha256_of(weights_path(weights))


def faster_rcnn(name: str) -> Any:
    """Return torchvision's Faster R-CNN without weights; nothing is downloaded."""
    from torchvision.models import detection

    build = {
        NAMES[0]: detection.fasterrcnn_mobilenet_v3_large_fpn,
        NAMES[1]: detection.fasterrcnn_resnet50_fpn_v2,
    }[name]
    return build(weights=None, weights_backbone=None, min_size=480, max_size=960)


def compiled_backbone(backbone: Any, precision: str) -> Any:
    """Return a backbone that OpenVINO runs, for any number and size of pictures."""
    from torch import Tensor, nn

    class Listed(nn.Module):
        """The maps of a backbone in a tuple; `names` are theirs, none if there is one alone."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.names = backbone, list[str]()

        def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
            maps = self.backbone(pictures)
            if isinstance(maps, Tensor):
                return (maps,)
            self.names = list(maps)
            return tuple(maps.values())

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out_channels = backbone.out_channels
            self.listed = Listed()
            self.run = Compiled(self.listed, precision, free=(0, 2, 3))

        def forward(self, pictures: Tensor) -> Tensor | dict[str, Tensor]:
            maps = self.run(pictures.float())
            return dict(zip(self.listed.names, maps, strict=True)) if self.listed.names else maps[0]

    return Backbone()


def small_fcos() -> Any:
    """Return a one-level FCOS (Tian et al. 2019) with one class, for synthetic pictures."""
    from torch import nn
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    widths = (3, 16, 32, 64, 96)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        for stride, channels in ((2, before), (1, after)):
            convolution = nn.Conv2d(channels, after, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    backbone = nn.Sequential(*layers)
    # FCOS reads this number; torch's annotation knows no attributes but tensors and modules.
    backbone.out_channels = widths[-1]  # type: ignore[assignment]
    return FCOS(
        backbone,
        num_classes=PERSON + 1,
        min_size=SMALL_SIDE_PX,
        max_size=3 * SMALL_SIDE_PX,
        anchor_generator=AnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),)),
    )
