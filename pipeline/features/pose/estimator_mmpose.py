"""Estimate the joints of persons with mmpose, top-down: input is a crop, output named joints.

This is the only file that uses mmpose, and only functions that exist in mmpose 1.1 to 1.3. Crops
are normalised here, one batch at a time. The output is decoded by the network's own head.

Legend: n crops, K joints, (w, h) the network's input in px.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Literal

import numpy as np

from model.contract.files import sha256_of
from pipeline.features.motion.body25 import COCO, COCO_WHOLEBODY
from pipeline.weights.table import find, refusal

INSTALL = "uv pip install -c constraints.txt -e '.[mmpose]'"
NAMES = {"hrnet_w32_wholebody": COCO_WHOLEBODY, "hrnet_w32_coco": COCO}
SMALL = "hrnet_small"
"""An HRNet with 1.6 M weights, trained by `python -m pipeline.features.pose.train_small`."""
LAYOUTS = {len(names): names for names in NAMES.values()}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass
class PoseNet:
    """An mmpose top-down network.

    Args:
        weights: `hrnet_w32_wholebody` (133 joints), `hrnet_w32_coco` (17), `untrained` (the first
            one with seeded random weights; its joints are meaningless), the path of a file of one
            of them or of safetensors by `pipeline.features.pose.train_small`, or `CONFIG.py:FILE`
            for any top-down network of an mmpose installation that has 17 or 133 joints.
        precision: `float32` or `bf16` (autocast).
        batch: crops per forward pass. The last pass is padded to this number, because a result must
            not depend on how inputs were grouped.
    """

    WEIGHTS: ClassVar[str] = "hrnet_w32_wholebody"
    INPUT: ClassVar[Literal["crops"]] = "crops"

    weights: str = WEIGHTS
    precision: str = "float32"
    batch: int = 0
    device: str = ""
    names: tuple[str, ...] = ()
    input_px: tuple[int, int] = (0, 0)
    _net: Any = field(default=None, repr=False)

    def check(self) -> None:
        """Raise FileNotFoundError or ValueError if mmpose is missing or the weights are invalid."""
        check_weights(self.weights)

    def weights_id(self) -> str:
        """Return the id of the weights for a result's key: a hash, or the name of the seed."""
        return weights_id(self.weights)

    def setup(self) -> None:
        """Load the weights and move the network to its device."""
        import torch
        from mmcv.cnn import fuse_conv_bn

        torch.set_num_threads(1)
        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.batch = self.batch or (64 if self.device == "cuda" else 16)
        net, self.names, self.input_px = load(self.weights)
        net = fuse_conv_bn(net.eval().requires_grad_(False)).to(self.device)
        self._net = net.to(memory_format=torch.channels_last)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Return float32 (n, K, 3), x and y in px of the crop and score, for uint8 (n, h, w, 3)."""
        import torch

        width, height = self.input_px
        if crops.shape[1:] != (height, width, 3):
            raise ValueError(f"crops have shape {crops.shape}, expected (n, {height}, {width}, 3)")
        joints = np.empty((len(crops), len(self.names), 3), dtype=np.float32)
        mean = torch.tensor(MEAN, device=self.device).view(3, 1, 1)
        std = torch.tensor(STD, device=self.device).view(3, 1, 1)
        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        for start in range(0, len(crops), self.batch):
            part = crops[start : start + self.batch]
            full = np.zeros((self.batch, *crops.shape[1:]), dtype=np.uint8)
            full[: len(part)] = part
            with torch.inference_mode(), autocast:
                x = (torch.from_numpy(full).to(self.device).permute(0, 3, 1, 2) - mean) / std
                x = x.contiguous(memory_format=torch.channels_last)
                out = self.forward(x)
                answers = self._net.head.decode(_first(out, len(part)))
            rows = joints[start : start + len(part)]
            rows[..., :2] = [answer.keypoints[0] for answer in answers]
            rows[..., 2] = [answer.keypoint_scores[0] for answer in answers]
        return joints

    def forward(self, x: Any) -> Any:
        """Return the head's output for normalised crops (n, 3, h, w): heatmaps, not decoded."""
        return self._net.head.forward(self._net.extract_feat(x))


def check_installed() -> None:
    """Raise ValueError if mmpose is missing; the message has the command that installs it."""
    if find_spec("mmpose") is None:
        raise ValueError(
            f"pose estimation needs mmpose, which is not installed; in the project run: {INSTALL}"
        )


def weights_path(weights: str) -> Path:
    """Return the file of `weights`; the error for a missing one says how to get it."""
    if weights in NAMES:
        return find(weights)
    path = Path(weights.rpartition(":")[2])
    if not path.is_file():
        raise FileNotFoundError(
            f"--pose-weights {weights}: no such file; expected a path, CONFIG.py:FILE, untrained "
            "or one of " + ", ".join(NAMES)
        )
    return path


def check_weights(weights: str) -> None:
    """Raise FileNotFoundError or ValueError, which names the file, for unusable weights."""
    check_installed()
    load(weights)


def weights_id(weights: str) -> str:
    """Return the id of the weights for a result's key: a hash, or the name of the seed."""
    if weights == "untrained":
        return "untrained-seed0"
    config, _, _ = weights.rpartition(":")
    files = [weights_path(weights), *([Path(config)] if config else [])]
    return "-".join(map(sha256_of, files))


def load(weights: str) -> tuple[Any, tuple[str, ...], tuple[int, int]]:
    """Return the network, its joint names and input size (w, h); ValueError for an invalid file."""
    import torch
    from safetensors import SafetensorError, safe_open

    if weights == "untrained":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(hrnet(COCO_WHOLEBODY)), COCO_WHOLEBODY, (192, 256)
    path = weights_path(weights)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {}).get("pose", "{}"))
                state = {name: file.get_tensor(name).float() for name in file.keys()}
            if facts.get("architecture") != SMALL:
                raise ValueError(f"its metadata do not name a network of this project: {facts}")
            names, config = tuple(facts["joints"]), small_hrnet(facts["joints"], facts["input_px"])
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
            (head,) = [v for k, v in state.items() if k.endswith("head.final_layer.weight")] or [()]
            names = LAYOUTS.get(len(head), ())
            config = config_file(weights.rpartition(":")[0]) if ":" in weights else hrnet(names)
        if ":" in weights:
            names = LAYOUTS.get(config["head"]["out_channels"], ())
        if not names:
            raise ValueError("it has neither 17 nor 133 joints")
        net = build(config)
        net.load_state_dict(state)
    except (
        *(RuntimeError, KeyError, TypeError, AttributeError, EOFError, ValueError),
        *(UnpicklingError, SafetensorError),
    ) as error:
        raise ValueError(
            f"{path}: not weights of a pose network: {refusal(error)}; fetch them: "
            f"pipeline weights fetch {next(iter(NAMES))}"
        ) from None
    return net, names, tuple(config["head"]["decoder"]["input_size"])


def build(config: dict[str, Any]) -> Any:
    """Return the mmpose module for a model configuration, with random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # warnings about operators that are not compiled and not needed
        from mmpose.models import build_pose_estimator
        from mmpose.utils import register_all_modules

    register_all_modules()
    return build_pose_estimator(config)


def config_file(path: str) -> dict[str, Any]:
    """Return the model of an mmpose configuration file; ValueError if it needs other crops."""
    from mmengine.config import Config

    config = Config.fromfile(path).model
    decoder, source = config.head.decoder, config.data_preprocessor
    if decoder.type == "UDPHeatmap" or tuple(source.mean) != MEAN or tuple(source.std) != STD:
        raise ValueError(
            f"{path}: needs UDP crops or another colour scale; only mmpose's default is supported"
        )
    config.backbone.init_cfg = None  # it would download weights; the file already has all of them
    return config


def hrnet(names: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of HRNet-w32 (Sun et al. 2019) for 192 x 256 px.

    133 joints are decoded by DarkPose.
    """
    stages = {"stage1": _stage(1, 4, (64,), "BOTTLENECK")}
    for number, modules in ((2, 1), (3, 4), (4, 3)):
        stages[f"stage{number}"] = _stage(modules, 4, (32, 64, 128, 256)[:number], "BASIC")
    return _topdown(stages, names, (192, 256), 2.0, len(names) == len(COCO_WHOLEBODY), 11)


def small_hrnet(names: Sequence[str], input_px: Sequence[int]) -> dict[str, Any]:
    """Return the configuration of a small HRNet-w20, which a CPU trains in minutes.

    Each stage has one short module.
    """
    stages = {"stage1": _stage(1, 2, (32,), "BASIC")}
    for number in (2, 3, 4):
        stages[f"stage{number}"] = _stage(1, 2, (20, 40, 80, 160)[:number], "BASIC")
    return _topdown(stages, names, input_px, 1.5, True, 7)


def _stage(modules: int, blocks: int, channels: tuple[int, ...], block: str) -> dict[str, Any]:
    return {
        "num_modules": modules,
        "num_branches": len(channels),
        "block": block,
        "num_blocks": (blocks,) * len(channels),
        "num_channels": channels,
    }


def _topdown(
    stages: dict[str, Any],
    names: Sequence[str],
    input_px: Sequence[int],
    sigma: float,
    dark: bool,
    blur: int,
) -> dict[str, Any]:
    """Return a top-down configuration; heatmaps have a quarter of the input's width and height."""
    decoder = {
        "type": "MSRAHeatmap",
        "input_size": tuple(input_px),
        "heatmap_size": tuple(side // 4 for side in input_px),
        "sigma": sigma,
        "unbiased": dark,
        "blur_kernel_size": blur,
    }
    head = {
        "type": "HeatmapHead",
        "in_channels": stages["stage4"]["num_channels"][0],
        "out_channels": len(names),
        "deconv_out_channels": None,
        "loss": {"type": "KeypointMSELoss", "use_target_weight": True},
        "decoder": decoder,
    }
    source = {"type": "PoseDataPreprocessor", "mean": MEAN, "std": STD, "bgr_to_rgb": True}
    return {
        "type": "TopdownPoseEstimator",
        "data_preprocessor": source,
        "backbone": {"type": "HRNet", "in_channels": 3, "extra": stages},
        "head": head,
        "test_cfg": {"flip_test": False},
    }


def _first(out: Any, count: int) -> Any:
    """Return the first `count` outputs of a head (a tensor or a tuple of tensors) as float32."""
    if isinstance(out, tuple):
        return tuple(_first(part, count) for part in out)
    return out[:count].float()
