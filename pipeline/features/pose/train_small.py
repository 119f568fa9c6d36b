"""Train the small pose networks on synthetic dancers.

As a command: `python -m pipeline.features.pose.train_small`.

These networks recognise only synthetic dancers. With them the pose stage can be tried without
published weights, and tested against exact positions. docs/guide/poses.md has the commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.contract.terminal import print_anything
from pipeline.sources.synthetic.body import J
from pipeline.sources.synthetic.stills import stills

JOINTS = {"nose": "head", "left_big_toe": "left_foot", "right_big_toe": "right_foot"} | {
    f"{side}_{part}": f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
}
"""The joints of the small network, and the SMPL joint for each; the nose is SMPL's head."""
INPUT_PX = (96, 128)
SIGMA = 1.5
NOTE = "trained on synthetic dancers only"


def truth_of(points: np.ndarray) -> np.ndarray:
    """Select the positions (..., 15, 2) of `JOINTS` from SMPL's joints (..., 24, 2)."""
    return points[..., [J[name] for name in JOINTS.values()], :]


def crops_of(count: int, seed: int, jitter: float = 0.12) -> tuple[np.ndarray, np.ndarray]:
    """Return crops of dancers, uint8 (n, h, w, 3), and their joints (n, 15, 2) in crop px."""
    from pipeline.features.pose.crops import crop, crop_scale

    rng = np.random.default_rng([8, seed])
    crops, places = [], []
    for still in stills(count, seed):
        for box, points in zip(still.boxes, truth_of(still.points), strict=True):
            side = np.tile(box[2:] - box[:2], 2)
            shaken = (box + rng.uniform(-jitter, jitter, 4) * side)[None]
            corner, scale = crop_scale(shaken, INPUT_PX)
            crops.append(crop(still.picture, shaken, INPUT_PX)[0])
            places.append((points - corner[0]) / scale[0])
        if len(crops) >= count:
            break
    return np.stack(crops[:count]), np.stack(places[:count]).astype(np.float32)


def train_joints(
    pictures: int, epochs: int, seed: int, start: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Train the small HRNet to output each joint as a Gaussian; return it and its metadata."""
    import torch

    from pipeline.features.pose.estimator_mmpose import MEAN, SMALL, STD, build, load, small_hrnet

    crops, places = crops_of(pictures, seed)
    net = load(str(start))[0] if start else build(small_hrnet(list(JOINTS), INPUT_PX))
    net = net.train().to(memory_format=torch.channels_last)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    steps = torch.stack(torch.meshgrid(*map(torch.arange, _heatmap_px()), indexing="xy"))

    def loss_of(index: np.ndarray) -> Any:
        light = 1 + 0.2 * (2 * torch.rand(len(index), 1, 1, 1) - 1)
        x = (torch.from_numpy(crops[index]).permute(0, 3, 1, 2) * light - mean) / std
        heat = net.head.forward(net.extract_feat(x.contiguous(memory_format=torch.channels_last)))
        place = torch.from_numpy(places[index])[..., None, None] / 4
        wanted = torch.exp(-((steps - place) ** 2).sum(2) / (2 * SIGMA**2))
        return ((heat - wanted) ** 2).mean() * 100

    _fit(net, loss_of, len(crops), epochs, 32, 2e-3 if start else 3e-3)
    return net, {"architecture": SMALL, "joints": list(JOINTS), "input_px": INPUT_PX, "note": NOTE}


def train_persons(
    pictures: int, epochs: int, seed: int, start: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Train the small FCOS to detect dancers; return it and its metadata."""
    import torch

    from pipeline.features.pose.detector_torchvision import PERSON, SMALL, load, small_fcos

    seen = list(stills(pictures, seed))
    net = (load(str(start)) if start else small_fcos()).train()

    def loss_of(index: np.ndarray) -> Any:
        part = [seen[i] for i in index]
        inputs = [torch.from_numpy(s.picture).permute(2, 0, 1).float() / 255 for s in part]
        boxes = [torch.from_numpy(s.boxes).float() for s in part]
        targets = [
            {"boxes": b, "labels": torch.full((len(b),), PERSON, dtype=torch.int64)} for b in boxes
        ]
        return sum(net(inputs, targets).values())

    _fit(net, loss_of, len(seen), epochs, 16, 1.5e-3)
    return net, {"architecture": SMALL, "note": NOTE}


def _heatmap_px() -> Iterator[int]:
    return (side // 4 for side in INPUT_PX)


def _fit(net: Any, loss_of: Any, count: int, epochs: int, batch: int, rate: float) -> None:
    """Train with AdamW and a one-cycle learning rate; print the mean loss of each epoch."""
    import torch

    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-4)
    per_epoch = count // batch
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * per_epoch)
    for epoch in range(epochs):
        order, losses = rng.permutation(count), []
        for step in range(per_epoch):
            loss = loss_of(order[step * batch : (step + 1) * batch])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            cycle.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}", flush=True)


def save(path: Path, net: Any, kind: str, facts: dict[str, Any]) -> None:
    """Write the weights as safetensors in half precision, with `facts` as metadata."""
    from safetensors.torch import save as packed

    from model.contract.files import write_atomic

    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in net.state_dict().items()
    }
    write_atomic(path, packed(state, {kind: json.dumps(facts)}))


def main(argv: Sequence[str] | None = None) -> int:
    """Train one of the two networks and write it."""
    import torch

    parser = argparse.ArgumentParser(
        prog="python -m pipeline.features.pose.train_small", description=__doc__
    )
    parser.add_argument("what", choices=["joints", "persons"])
    parser.add_argument("--out", type=Path, required=True, help="safetensors file")
    parser.add_argument(
        "--pictures", type=int, default=6000, help="number of training crops or pictures"
    )
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="continue from the weights in this file")
    options = parser.parse_args(argv)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    train, kind = {"joints": (train_joints, "pose"), "persons": (train_persons, "detector")}[
        options.what
    ]
    net, facts = train(options.pictures, options.epochs, options.seed, options.start)
    save(options.out, net, kind, facts)
    print(f"written: {options.out} ({options.out.stat().st_size / 1e6:.1f} MB), {NOTE}")
    return 0


if __name__ == "__main__":
    print_anything()
    sys.exit(main())
