"""Read a TensorFlow.js graph model and run it with torch; operators of convolutional pose networks.

A graph model is a JSON file of nodes (TensorFlow's GraphDef) and of the names, types and shapes of
the weights, in the order of their values in a second file (TensorFlow.js, "Graph model format").
Only the nodes that the wanted outputs need are kept. The rest, such as decoding for one picture,
costs nothing.

Legend: n pictures, C channels, H height, W width.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

STORED = {"float32": "float32", "float16": "float16", "int32": "int32"}
"""Types of weights in the file: that of the quantisation if there is one, else the weight's own."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu_,
    "Relu6": partial(torch.clamp_, min=0, max=6),
}


class Graph(torch.nn.Module):
    """A network of a graph model, for inference.

    Args:
        path: the JSON file; the weights lie beside it under its name with `.bin`.
        outputs: names of the nodes whose values are wanted.

    Raises:
        ValueError: the file is no graph model, lacks an output, has an operator that is not known
            here, or the weights' file has another length than the graph names.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        try:
            model = json.loads(path.read_text(encoding="utf-8"))
            nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
            groups = model["weightsManifest"]
            listed = [weight for group in groups for weight in group["weights"]]
        except (ValueError, KeyError, TypeError) as error:
            kind = type(error).__name__
            raise ValueError(f"{path}: no TensorFlow.js graph model ({kind})") from None
        if missing := [name for name in outputs if name not in nodes]:
            raise ValueError(f"{path}: the graph has no output {missing[0]!r}")
        consts = _weights(path.with_suffix(".bin"), listed)
        self.outputs = tuple(outputs)
        self.input = ""
        self.steps: list[tuple[str, Callable[..., Tensor], tuple[str, ...]]] = []
        self._padded: dict[str, tuple[str, tuple[int, int]]] = {}
        """Of each step that pads evenly: its input, and the padding of H and of W."""
        for name in _order(nodes, outputs):
            node = nodes[name]
            inputs = tuple(_plain(text) for text in node.get("input", ()))
            if node["op"] == "Placeholder":
                self.input = name
            elif node["op"] != "Const":
                self._add(path, name, node, inputs, consts)
        used = {text for _, _, inputs in self.steps for text in inputs}
        self.steps = [step for step in self.steps if step[0] in used or step[0] in self.outputs]
        last = {text: i for i, (_, _, ins) in enumerate(self.steps) for text in ins}
        self._free = [
            [text for text in used if last[text] == i and text not in self.outputs]
            for i in range(len(self.steps))
        ]

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs, each (n, C, H, W), for pictures (n, 3, H, W) as the graph wants them.

        An output that the graph flattens is (n, C, 1, 1).
        """
        values = {self.input: pictures.contiguous(memory_format=torch.channels_last)}
        for (name, run, inputs), free in zip(self.steps, self._free, strict=True):
            values[name] = run(*[values[text] for text in inputs])
            for text in free:
                del values[text]
        return tuple(values[name] for name in self.outputs)

    def _add(
        self,
        path: Path,
        name: str,
        node: Mapping[str, Any],
        inputs: tuple[str, ...],
        consts: Mapping[str, Tensor],
    ) -> None:
        """Append the step of one node; its constants become buffers, so that `.to` moves them."""
        op, attr = node["op"], node.get("attr", {})
        fixed = [consts[text] for text in inputs if text in consts]
        moving = tuple(text for text in inputs if text not in consts)
        run: Callable[..., Tensor]
        if op in ("_FusedConv2D", "Conv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative"):
            kernel, *rest = fixed
            convolution = _Convolution("epthwise" in op, kernel, rest[0] if rest else None, attr)
            if moving[0] in self._padded and not convolution.same:  # it pads without a copy
                text, convolution.padding = self._padded[moving[0]]
                moving = (text,)
            run = convolution
            self.add_module(f"step{len(self.steps)}", run)
        elif op in ("AddV2", "Add", "Sub", "Mul"):
            run = torch.mul if op == "Mul" else torch.sub if op == "Sub" else torch.add
            if fixed:
                run = _Constant(run, fixed[0])
                self.add_module(f"step{len(self.steps)}", run)
        elif op in ("Relu", "Relu6"):
            run = torch.relu if op == "Relu" else partial(torch.clamp, min=0, max=6)
        elif op == "Sigmoid":
            run = torch.sigmoid
        elif op == "Pad":
            pads = _pads(fixed[0])
            run = partial(F.pad, pad=pads)
            left, right, top, bottom, *channels = pads
            if (left, top, any(channels)) == (right, bottom, False):
                self._padded[name] = moving[0], (top, left)
        elif op == "MaxPool":
            if _text(attr["padding"]) != "VALID":
                raise ValueError(f"{path}: {name}: MaxPool is padded; expected VALID")
            run = partial(
                F.max_pool2d, kernel_size=_two(attr["ksize"]), stride=_two(attr["strides"])
            )
        elif op == "ResizeBilinear":
            if not attr.get("half_pixel_centers", {}).get("b"):
                raise ValueError(f"{path}: {name}: resizes by corners; expected by pixel centres")
            run, moving = _twice, moving[:1]
        elif op in ("Identity", "Cast", "Reshape"):
            run, moving = _same, moving[:1]
        else:
            raise ValueError(f"{path}: {name}: operator {op} is not known here")
        self.steps.append((name, run, moving))


class _Convolution(torch.nn.Module):
    """A convolution, its bias and its activation, as TensorFlow fuses them."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, depthwise: bool, kernel: Tensor, bias: Tensor | None, attr: Mapping[str, Any]
    ) -> None:
        super().__init__()
        height, width, channels, out = kernel.shape
        if depthwise:
            weight = kernel.permute(2, 3, 0, 1).reshape(channels * out, 1, height, width)
        else:
            weight = kernel.permute(3, 2, 0, 1)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.groups = channels if depthwise else 1
        self.strides = _two(attr["strides"])
        self.same = _text(attr["padding"]) == "SAME"
        self.padding = (0, 0)
        """If it is not `same`: how much the picture is padded on each side, along H and W."""
        fused = attr.get("fused_ops", {}).get("list", {}).get("s", [])
        names = [base64.b64decode(text).decode("ascii") for text in fused]
        self.activation = next((ACTIVATIONS[name] for name in names if name in ACTIVATIONS), None)

    def forward(self, x: Tensor) -> Tensor:
        padding = self.padding
        if self.same:
            (top, bottom), (left, right) = (
                _same_pads(x.shape[axis], self.weight.shape[axis], self.strides[axis - 2])
                for axis in (2, 3)
            )
            if top == bottom and left == right:
                padding = (top, left)
            else:
                x = F.pad(x, (left, right, top, bottom))
        x = F.conv2d(x, self.weight, self.bias, self.strides, padding, groups=self.groups)
        return self.activation(x) if self.activation else x


class _Constant(torch.nn.Module):
    """An operation with a constant second operand, of one value or one a channel."""

    value: Tensor

    def __init__(self, run: Callable[..., Tensor], value: Tensor) -> None:
        super().__init__()
        self.run = run
        self.register_buffer("value", value.reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.value)


def _same(x: Tensor) -> Tensor:
    return x


def _twice(x: Tensor) -> Tensor:
    """Return (n, C, 2 H, 2 W): the only resizing that these networks do."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding before and after: the odd one after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pads(table: Tensor) -> list[int]:
    """Return torch's order of paddings of a table (4, 2) for n, H, W, C."""
    (_, rows, columns, channels) = table.tolist()
    return [*columns, *rows, *channels]


def _two(attr: Mapping[str, Any]) -> tuple[int, int]:
    _, height, width, _ = (int(text) for text in attr["list"]["i"])
    return height, width


def _text(attr: Mapping[str, Any]) -> str:
    return base64.b64decode(attr["s"]).decode("ascii")


def _plain(text: str) -> str:
    return text.lstrip("^").partition(":")[0]


def _order(nodes: Mapping[str, Mapping[str, Any]], outputs: Sequence[str]) -> list[str]:
    """Return the names of the nodes that the outputs need, each after its inputs.

    Inputs that give the size of a resize or a reshape are left out.
    """
    order: list[str] = []
    done: set[str] = set()
    stack = list(reversed(outputs))
    while stack:
        name = stack[-1]
        inputs = [_plain(text) for text in nodes[name].get("input", ())]
        if nodes[name]["op"] in ("ResizeBilinear", "Reshape"):
            inputs = inputs[:1]
        waiting = [text for text in inputs if text not in done]
        if name in done or not waiting:
            stack.pop()
            if name not in done:
                done.add(name)
                order.append(name)
        else:
            stack += waiting
    return order


def _weights(path: Path, listed: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the constants by name, in float32 or int64."""
    import numpy as np

    data, at = path.read_bytes(), 0
    found: dict[str, Tensor] = {}
    for weight in listed:
        count = math.prod(weight["shape"])
        stored = weight.get("quantization", {}).get("dtype", weight["dtype"])
        if stored not in STORED:
            raise ValueError(f"{path}: {weight['name']}: type {stored!r} is not known here")
        kind = np.dtype(STORED[stored])
        if at + count * kind.itemsize > len(data):
            raise ValueError(f"{path}: {len(data):,} bytes, fewer than its graph names")
        values = np.frombuffer(data, kind.newbyteorder("<"), count, at)
        wide = np.float32 if weight["dtype"] == "float32" else np.int64
        found[weight["name"]] = torch.from_numpy(values.astype(wide).reshape(weight["shape"]))
        at += count * kind.itemsize
    if at != len(data):
        raise ValueError(f"{path}: {len(data):,} bytes, expected {at:,}")
    return found
